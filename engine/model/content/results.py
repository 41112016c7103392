"""The results in a document, as hold rules read them. Pure.

A result is an Observation of a FHIR Bundle, or a component of one. An Observation that only groups others
(``hasMember`` and no value of its own) is no result. Numbers stay the decimals that were written.

Names for the components of a value of ASTM (R-4), as the setting ``r4`` of a channel or pack gives them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Protocol

import orjson

from engine.model.errors import UnreadableResultsError

MEMORY_US = 90 * 86_400_000_000  # earlier values and controls are remembered so long; no rule may ask for more
MAX_NUMBER = 80  # characters; the mapping writes at most 60 digits
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = re.compile(rb'"value":(-?[0-9][0-9.eE+-]*)')
_CONDITIONAL = re.compile(rb'"method":"PUT","url":"([A-Za-z]+\?[^"]+)"')
WITHDRAWN = frozenset({"cancelled", "entered-in-error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result.

    Attributes:
        codes: system and code of each coding, in order; one without a code has the text alone, under no system.
        value: the number; None where the result is words, or nothing.
        comparator: ``<``, ``<=``, ``>``, ``>=`` before the number, or empty.
        text: the result as it is written; None where there is none (a failed measurement).
        units: the unit's code and text; empty where the number has none.
        flags: codes of the interpretation, or its text where it has no code.
        low, high: the reference range, where there is exactly one and it has the value's unit.
        at_us: when it was measured; None where the document does not say.
        subject: pseudonym of the patient, the same in every document (a keyed hash); empty where none is named.
        run: pseudonym of the Observation; a correction has the same one. Empty where it has no id.
        sex: ``Patient.gender``. born: ``Patient.birthDate``, where it is a whole date.
        dilution: factor of it; None where that is not known.
        tube: which of the specimens of its message it is of, from 1; 0: that is not said.
        made_of: codes of the tests that it is computed from.
        beside: it is no result by the code table; rules are not asked for it, and others of its tube may ask it.
    """

    codes: tuple[tuple[str, str], ...] = ()
    value: Decimal | None = None
    comparator: str = ""
    text: str | None = None
    units: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    status: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    at_us: int | None = None
    subject: str = ""
    run: str = ""
    sex: str = ""
    born: str = ""
    dilution: Decimal | None = None
    tube: int = 0
    beside: bool = False
    made_of: tuple[str, ...] = ()

    @property
    def test(self) -> str:
        """Its first code, which it is counted under; empty without one."""
        return self.codes[0][1] if self.codes else ""

    @property
    def name(self) -> str:
        """The name for people: its codes, which identify no patient."""
        return ", ".join(dict.fromkeys(code for _, code in self.codes)) or "a result without a code"

    @property
    def unit(self) -> str:
        """The unit in the form used to compare values."""
        return self.units[0] if self.units else ""


class EarlierResults(Protocol):
    """Earlier results, as rules query them. The journal answers; tests and commands supply their own."""

    def value(self, result: Result, within_us: int) -> Decimal | None:
        """The last value of this patient with one of the result's codes and its unit, measured before it, at most
        ``within_us`` before; None where there is none."""

    def days(self, result: Result, within_us: int) -> Decimal | None:
        """How long before it that one was measured."""

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        """Whether a control material's last run for one of these tests failed on this channel within ``within_us``;
        None where none was judged in that time."""


def results_of(body: bytes) -> list[Result]:
    """The results of a FHIR Bundle, in its order.

    Raises:
        UnreadableResultsError: it is none.
    """
    try:
        bundle = _parsed(body)
        resources = {entry.get("fullUrl", ""): entry["resource"] for entry in bundle.get("entry", ())}
        tubes = {"": 0}
        return [
            result
            for url, resource in _observations(bundle)
            for result in _of_observation(url, resource, resources, tubes)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableResultsError(type(error).__name__) from error


def conditional_updates(body: bytes) -> frozenset[bytes]:
    """Searches under which a transaction replaces what a server has (``PUT Patient?identifier=...``)."""
    return frozenset(_CONDITIONAL.findall(body))


def issues(body: bytes) -> frozenset[bytes]:
    """The identifier of a document, whose receiver shows its newest issue alone; of other content none."""
    bundle = orjson.loads(body) if b'"type":"document"' in body else {}
    return frozenset([orjson.dumps(bundle.get("identifier"))] if bundle.get("type") == "document" else [])


def _parsed(body: bytes) -> dict[str, Any]:
    """The Bundle, its numbers as they were written.

    Quotes are put around them first, for no fast parser keeps digits. Inside of a text every quote has a backslash, so
    that nothing else looks like a member of that name; and a mapping's output has no blanks.
    """
    bundle = orjson.loads(_NUMBER.sub(rb'"value":"\1"', body))
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise ValueError("no Bundle")
    return bundle


def _observations(bundle: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in bundle.get("entry", ()):
        resource = entry["resource"]
        if resource["resourceType"] == "Observation":
            yield entry.get("fullUrl", ""), resource


def _run(url: str, resource: dict[str, Any]) -> str:
    return str(resource.get("id") or url.removeprefix("urn:uuid:"))


def _of_observation(
    url: str, resource: dict[str, Any], resources: dict[str, Any], tubes: dict[str, int]
) -> Iterator[Result]:
    subject = resource.get("subject", {}).get("reference", "")
    patient = resources.get(subject, {})
    born = patient.get("birthDate", "")
    common = {
        "status": resource.get("status", ""),
        "at_us": instant_of(resource.get("effectiveDateTime") or resource.get("effectiveInstant") or ""),
        "subject": subject.removeprefix("urn:uuid:"),
        "sex": patient.get("gender", ""),
        "born": born if _DATE.fullmatch(born) else "",
        "tube": tubes.setdefault(resource.get("specimen", {}).get("reference", ""), len(tubes)),
    }
    run, flags = _run(url, resource), _flags(resource)
    components = resource.get("component", ())
    if _has_value(resource) or not (components or resource.get("hasMember")):
        yield _valued(resource, flags, run, common)
    for number, component in enumerate(components, start=1):
        yield _valued(component, _flags(component) or flags, f"{run}.{number}" if run else "", common)


def _has_value(part: dict[str, Any]) -> bool:
    return any(name.startswith("value") for name in part) or "dataAbsentReason" in part


def _valued(part: dict[str, Any], flags: tuple[str, ...], run: str, common: dict[str, Any]) -> Result:
    """The result in an Observation or one of its components."""
    codes = _codes(part.get("code", {}))
    quantity = part.get("valueQuantity")
    if quantity is None:
        return Result(codes=codes, flags=flags, run=run, text=_words(part), **common)
    value = decimal_in(quantity.get("value"))
    units = tuple(dict.fromkeys(quantity[name] for name in ("code", "unit") if quantity.get(name)))
    low, high = _range(part, units)
    comparator = quantity.get("comparator", "")
    return Result(
        codes=codes,
        value=value,
        comparator=comparator,
        text=None if value is None else f"{comparator}{quantity['value']}",
        units=units,
        flags=flags,
        low=low,
        high=high,
        run=run,
        **common,
    )


def _words(part: dict[str, Any]) -> str | None:
    for name in ("valueString", "valueInteger", "valueDateTime", "valueTime"):
        if part.get(name):
            return str(part[name])
    if "valueBoolean" in part:
        return "true" if part["valueBoolean"] else "false"
    if (concept := part.get("valueCodeableConcept")) is not None:
        first: dict[str, Any] = next(iter(concept.get("coding", ())), {})
        return str(concept.get("text") or first.get("display") or first.get("code") or "") or None
    if (ratio := part.get("valueRatio")) is not None:
        sides = [side.get("comparator", "") + str(side["value"]) for side in (ratio["numerator"], ratio["denominator"])]
        return ":".join(sides)
    if (between := part.get("valueRange")) is not None:
        return "-".join(str(between[end]["value"]) for end in ("low", "high") if end in between)
    return None


def _range(part: dict[str, Any], units: tuple[str, ...]) -> tuple[Decimal | None, Decimal | None]:
    ranges = part.get("referenceRange", ())
    if len(ranges) != 1:
        return None, None
    ends = [ranges[0].get(end, {}) for end in ("low", "high")]
    for end in ends:
        theirs = {end[name] for name in ("code", "unit") if end.get(name)}
        if theirs and units and theirs.isdisjoint(units):
            return None, None
    return decimal_in(ends[0].get("value")), decimal_in(ends[1].get("value"))


def _codes(concept: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = [(coding.get("system", ""), coding["code"]) for coding in concept.get("coding", ()) if coding.get("code")]
    if not found and concept.get("text"):
        found.append(("", concept["text"]))
    return tuple(found)


def _flags(part: dict[str, Any]) -> tuple[str, ...]:
    found = []
    for concept in part.get("interpretation", ()):
        codes = [coding["code"] for coding in concept.get("coding", ()) if coding.get("code")]
        found += codes or ([concept["text"]] if concept.get("text") else [])
    return tuple(found)


def decimal_in(text: Any) -> Decimal | None:
    """A number as it was written; None where there is none, or an endless one."""
    if text is not None and not isinstance(text, str):
        raise TypeError("a number with blanks before it: not written by a mapping")
    if text is None or len(text) > MAX_NUMBER:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def instant_of(text: str) -> int | None:
    """Microseconds since 1970 of a FHIR dateTime; of a day its beginning, in UTC; None of less than a day."""
    try:
        if _DATE.fullmatch(text):
            text += "T00:00:00+00:00"
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if instant.tzinfo is None else (instant - _EPOCH) // _MICROSECOND


def age_days(result: Result, now_us: int) -> int | None:
    """The patient's age at the measurement (at ``now_us``, where its time is not known); None if unknown."""
    if not result.born:
        return None
    at = _EPOCH + timedelta(microseconds=now_us if result.at_us is None else result.at_us)
    try:
        days = (at.date() - date.fromisoformat(result.born)).days
    except ValueError:
        return None
    return days if days >= 0 else None


def age_years(result: Result, now_us: int) -> int | None:
    """As `age_days`, in whole years."""
    if age_days(result, now_us) is None:
        return None
    at = (_EPOCH + timedelta(microseconds=now_us if result.at_us is None else result.at_us)).date()
    born = date.fromisoformat(result.born)
    return at.year - born.year - ((at.month, at.day) < (born.month, born.day))


def from_json(given: dict[str, Any]) -> Result:
    """A result that `orjson` wrote, with numbers as text (``default=str``): JSON has no decimals and no tuples."""
    numbers = {name: Decimal(given[name]) for name in ("value", "low", "high", "dilution") if given[name] is not None}
    texts = {name: tuple(given[name]) for name in ("units", "flags", "made_of")}
    return Result(**{**given, **numbers, **texts, "codes": tuple(map(tuple, given["codes"]))})


VALUE, CALL, FLAG, LEFT_OUT = "value", "call", "flag", "-"


@lru_cache(maxsize=64)
def component_names(setting: str) -> tuple[str, ...]:
    """The names in their order (``call^value``); none where the setting is empty."""
    return tuple(name.strip() for name in setting.split("^")) if setting else ()
