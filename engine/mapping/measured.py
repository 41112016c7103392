"""What a message measured of patients, by its facts: what critical values and hold rules ask about, whatever goes out
of the message.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from engine.mapping.functions.channel import are_runs_apart
from engine.mapping.functions.controls import NUMBERS, ORDERS
from engine.model.content.computed import COMPUTED, sources_by_test, sources_of
from engine.model.content.facts import (
    DATA,
    DOCUMENT,
    LEFT_OUT,
    PICTURE,
    Facts,
    Measure,
    Order,
    Person,
    Value,
    plain_codes,
)
from engine.model.content.facts import Result as Fact
from engine.model.content.order_results import has_results
from engine.model.content.quality_controls import listed, of_patients
from engine.model.content.results import Result, decimal_in, instant_of, results_of
from engine.model.errors import ConfigError, ContentError, UnreadableResultsError
from engine.model.message import Document, MapContext, Parsed
from engine.model.packing import unpack
from engine.model.routes import Program
from engine.model.texts.reasons import ReasonCode

logger = logging.getLogger("labrelay.processing")

FHIR = "application/fhir+json"
_NO_RESULT = frozenset({LEFT_OUT, DOCUMENT, PICTURE, DATA})
_HASH_BYTES = 12
_DAY = len("2026-03-01")


class Reading:
    """The facts of one message: read when they are first asked for, and once.

    Attributes:
        taken: whether a reader takes the message; known once the facts are. by: its name and hash, ``name@hash``.
        failed: it does, and the facts cannot be read; for this ``reason``. fault: it in words for the log; empty of
            training, where nothing is wrong.
    """

    def __init__(
        self, parsed: Parsed, context: Callable[[], MapContext], reader: Callable[[Parsed], Program | None] | None
    ) -> None:
        self._parsed, self._context_of, self._reader = parsed, context, reader
        self._context: MapContext | None = None
        self._facts: Facts | None = None
        self._is_read = False
        self.taken = self.failed = False
        self.reason = ReasonCode.MAPPING_FAULT
        self.by = self.fault = ""

    @property
    def context(self) -> MapContext:
        """What is known of the message beside itself."""
        if self._context is None:
            self._context = self._context_of()
        return self._context

    @property
    def facts(self) -> Facts | None:
        """None: no reader takes the message, it has no results, or they cannot be read."""
        if not self._is_read:
            self._is_read = True
            if self._reader is not None:
                self._read(self._reader)
        return self._facts

    def _read(self, reader_of: Callable[[Parsed], Program | None]) -> None:
        try:
            reader = reader_of(self._parsed)
            if reader is None:
                return
            self.taken, self.by = True, f"{reader.name}@{reader.content_hash[:12]}"
            self._facts = reader.facts_in(self._parsed, self.context)
            return
        except ContentError as error:
            self.reason, detail = error.reason, error.reason.value
        except ConfigError as error:
            detail = str(error)
        except Exception as error:
            detail = type(error).__name__
        self.taken = self.failed = True
        self.fault = detail if detail != ReasonCode.NOT_PRODUCTION.value else ""

    def log_fault(self) -> None:
        """Of a message that goes out without facts; a dead letter says it itself."""
        if self.fault:
            logger.error("facts cannot be read", extra={"channel": self.context.channel, "detail": self.fault})

    def measured(self, controls: Collection[int] = ()) -> Iterator[tuple[Person, Order, Fact]]:
        """As the function `measured`; nothing without facts."""
        return iter(()) if self.facts is None else measured(self.facts, self._parsed, self.context, controls)

    def results(
        self, document: Document, controls: Collection[int] | None = None, *, written: bool = False
    ) -> list[Result] | None:
        """The results that hold rules are asked about; None: they cannot be read.

        Args:
            document: what goes out; it is read where no reader takes the message, and it is FHIR.
            controls: as for `results_in`.
            written: what a document in FHIR says counts, and not what its message says.
        """
        if written and document.media_type == FHIR:
            return _written(document)
        if self.facts is not None:
            return results_in(self.facts, self._parsed, self.context, controls)
        if self.taken:
            return None if self.failed else []
        if document.media_type != FHIR:
            return None if has_results(self._parsed) else []
        return _written(document)


def _written(document: Document) -> list[Result] | None:
    with suppress(UnreadableResultsError, ValueError):
        return results_of(unpack(document.body) if document.packed else document.body)
    return None


def measured(
    facts: Facts, parsed: Parsed, context: MapContext, controls: Collection[int] = ()
) -> Iterator[tuple[Person, Order, Fact]]:
    """The results of patients.

    Args:
        controls: positions of those that a mapping's filter took as a control's.
    """
    numbers, orders = (listed(context.settings, setting) for setting in (NUMBERS, ORDERS))
    known = of_patients(facts, is_hl7=parsed.format == "hl7v2", numbers=numbers, orders=orders)
    return _beside(controls, known, parsed) if controls else known


def _beside(
    controls: Collection[int], known: Iterable[tuple[Person, Order, Fact]], parsed: Parsed
) -> Iterator[tuple[Person, Order, Fact]]:
    apart = places_of(controls, parsed)
    return (one for one in known if one[-1].place not in apart)


def places_of(positions: Collection[int], parsed: Parsed) -> set[int]:
    """The places of results at these positions."""
    if not positions:
        return set()
    name = "OBX" if parsed.format == "hl7v2" else "R"
    return {one.ordinal for one in parsed.segments if one.position in positions and one.name == name}


def hashed(key: bytes, *parts: str | None) -> str:
    """A pseudonym under the site's key."""
    return blake2b(repr(parts).encode(), key=key, digest_size=_HASH_BYTES).hexdigest()


def numbers_of(order: Order, result: Fact) -> tuple[str | None, str | None]:
    """The number that a result is known by, and that of its tube."""
    tube = result.tube or next((one.number for one in order.samples if one.number), None)
    return order.filler or order.placer or tube, tube


def results_in(
    facts: Facts, parsed: Parsed, context: MapContext, controls: Collection[int] | None = None
) -> list[Result]:
    """The results that hold rules are asked about. A head that only groups others is none.

    Args:
        controls: positions of those that the mapping took as a control's: all others go out. None without a mapping.
    """
    return [one for *_, found in told_in(facts, parsed, context, controls, beside=True) for one in found]


def told_in(
    facts: Facts, parsed: Parsed, context: MapContext, controls: Collection[int] | None = None, *, beside: bool = False
) -> Iterator[tuple[Person, Order, Fact, Sequence[Result]]]:
    """As `results_in`: each result as the message says it, with those that rules are asked about.

    Args:
        beside: also what is left out by the code table.
    """
    known = list(measured(facts, parsed, context) if controls is None else _beside(controls, facts.results(), parsed))
    heads = {result.head for _, _, result in known}
    name = _Runs(context, is_hl7=parsed.format == "hl7v2")
    times: dict[str | None, int | None] = {None: None}
    tubes: dict[object, int] = {}
    by_test = sources_by_test(context.settings.get(COMPUTED))
    for person, order, result in known:
        is_beside = beside and result.kind == LEFT_OUT
        if (result.kind in _NO_RESULT and not is_beside) or (result.place in heads and result.value.sent is None):
            continue
        if result.at not in times:
            times[result.at] = instant_of(result.at or "")
        number, tube = numbers_of(order, result)
        of = tubes.setdefault((id(person), tube or number or id(order)), len(tubes) + 1)
        run = "" if is_beside else name.of(person, order, result)
        sources = sources_of(plain_codes(result.measure), by_test) if beside else ()
        common = {
            "at_us": times[result.at],
            "tube": of,
            "beside": is_beside,
            "dilution": decimal_in(result.dilution),
            "made_of": tuple(sorted(sources)),
        }
        yield person, order, result, [*_results(person, result, run, common)]


class _Runs:
    """Pseudonyms of the results of one message: the same for a correction; another day is another run, where numbers
    are given again.
    """

    def __init__(self, context: MapContext, *, is_hl7: bool) -> None:
        self._context, self._is_hl7 = context, is_hl7
        self._channel = "" if context.results_of == "site" else context.channel
        self._is_day_told = context.specimen_ids != "unique"
        self._are_apart = are_runs_apart(context.settings)
        self._orders: dict[tuple[int, str | None, str | None], str] = {}
        self._given: Counter[str] = Counter()

    def of(self, person: Person, order: Order, result: Fact) -> str:
        """Empty where it has no number."""
        # As in ids: a correction may be measured on the day after.
        day = (order.collected or result.at or "")[:_DAY] if self._is_day_told else None
        at = id(order), result.tube, day
        around = self._orders.get(at)
        if around is None:
            around = self._orders[at] = self._of_order(person, order, result, day)
        if not around:
            return ""
        measure, stated = result.measure, result.stated if self._are_apart else None
        run = f"{around} {(measure.test, measure.sub, result.kind, stated)}"
        self._given[run] += 1
        return run if self._given[run] < 2 else f"{run} {self._given[run]}"

    def _of_order(self, person: Person, order: Order, result: Fact, day: str | None) -> str:
        number, tube = numbers_of(order, result)
        if number is None:
            return ""
        code = order.code if self._is_hl7 else None  # in ASTM it lists the tests of one session
        return hashed(self._context.key, person.subject, self._channel, number, tube, code, day)


class _Told(NamedTuple):
    """What results of one measure have in common."""

    codes: tuple[tuple[str, str], ...]
    units: tuple[str, ...]
    status: str


@lru_cache(maxsize=4096)
def _told(measure: Measure, misfit: bool | None) -> _Told:
    codes = (measure.own if misfit else measure.codes) or ()
    units = (measure.unit,) if misfit else (measure.ucum, measure.named)
    return _Told(_coded(codes), _each_once(units), measure.state or "")


def _results(person: Person, result: Fact, run: str, told_of: Mapping[str, Any]) -> Iterator[Result]:
    """One result, and one for each of its components."""
    value, told = result.value, _told(result.measure, result.misfit)
    common: dict[str, Any] = {
        "flags": (*result.flags, value.call) if value.call else result.flags,
        "status": told.status,
        **told_of,
        "subject": person.subject or "",
        "sex": person.gender or "",
        "born": born if len(born := person.birthday or "") == _DAY else "",
    }
    parts = [part.partition("|") for part in value.parts or ()]
    if not parts or parts[0][0]:  # coded answers are a result each
        yield Result(codes=told.codes, run=run, **_value(result, value, told), **common)
    for name, _, text in parts:
        codes = (("", name),) if name else told.codes
        yield Result(codes=codes, text=text, run=f"{run}.{name}" if run and name else run, **common)


def _coded(codes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each with its system."""
    return tuple((system, code) for system, _, code in (one.partition("|") for one in codes))


def _each_once(units: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in units if one))


def _value(result: Fact, value: Value, told: _Told) -> dict[str, Any]:
    if value.meant is None:
        return {"text": None if value.missing else _words(result.measure, value)}
    number = decimal_in(value.meant)
    low = high = None
    if result.limits and not value.unit:
        low, high = decimal_in(result.limits[0]), decimal_in(result.limits[1])
    comparator = value.comparator or ""
    return {
        "value": number,
        "comparator": comparator,
        "text": None if number is None else f"{comparator}{value.meant}",
        "units": (value.unit,) if value.unit else told.units,
        "low": low,
        "high": high,
    }


def _words(measure: Measure, value: Value) -> str | None:
    """The words of a value; a number that stays text keeps its unit."""
    if value.numerator and value.denominator:
        return f"{value.numerator}:{value.denominator}"
    if value.low or value.high:
        return "-".join(end for end in (value.low, value.high) if end)
    words = value.words
    if words and measure.unit and not value.code and any(map(str.isdigit, words)):
        return f"{words} {measure.unit}"
    return words
