"""What a message measured of patients, by its facts: what critical values and hold rules ask about, whatever goes out
of the message.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from engine.mapping.functions.channel import are_runs_apart
from engine.mapping.functions.controls import NUMBERS, ORDERS, listed
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
    unpacked,
)
from engine.model.content.facts import Result as Fact
from engine.model.content.of_patients import of_patients
from engine.model.content.order_results import has_results
from engine.model.content.results import Result, decimal_in, instant_of, results_of
from engine.model.errors import ConfigError, ContentError, UnreadableResultsError
from engine.model.message import Document, MapContext, Parsed
from engine.model.packing import unpack
from engine.model.routes import Program
from engine.model.values import changed

logger = logging.getLogger("labrelay.processing")

FHIR = "application/fhir+json"
_NO_RESULT = frozenset({LEFT_OUT, DOCUMENT, PICTURE, DATA})
_HASH_BYTES = 12
_DAY = len("2026-03-01")


class Reading:
    """The facts of one message: read when they are first asked for, and once.

    Attributes:
        taken: whether a reader takes the message; known once the facts are.
        failed: it does, and the facts cannot be read.
    """

    def __init__(
        self,
        parsed: Parsed,
        context: Callable[[], MapContext],
        reader: Callable[[Parsed], Program | None] | None,
    ) -> None:
        self._parsed, self._context_of, self._reader = parsed, context, reader
        self._facts: Facts | None = None
        self._is_read = False
        self.taken = self.failed = False

    @property
    def facts(self) -> Facts | None:
        """None: no reader takes the message, it has no results, or they cannot be read."""
        if not self._is_read:
            self._is_read = True
            self.context = changed(self._context_of(), packs=False)
            if self._reader is not None:
                self._read(self._reader)
        return self._facts

    def _read(self, reader_of: Callable[[Parsed], Program | None]) -> None:
        try:
            reader = reader_of(self._parsed)
            if reader is None:
                return
            self.taken = True
            read = reader.apply(self._parsed, self.context)
            self._facts = unpacked(read.documents[0].body) if read.documents else None
            return
        except (ConfigError, ContentError) as error:
            detail = str(error) if isinstance(error, ConfigError) else error.reason.value
        except Exception as error:
            detail = type(error).__name__
        self.taken = self.failed = True
        logger.error("facts cannot be read", extra={"channel": self.context.channel, "detail": detail})

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
    return _beside(controls, known, parsed)


def _beside(
    controls: Collection[int], known: Iterable[tuple[Person, Order, Fact]], parsed: Parsed
) -> Iterator[tuple[Person, Order, Fact]]:
    name = "OBX" if parsed.format == "hl7v2" else "R"
    apart = {one.ordinal for one in parsed.segments if one.position in controls and one.name == name}
    return (one for one in known if one[-1].place not in apart)


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
    known = list(measured(facts, parsed, context) if controls is None else _beside(controls, facts.results(), parsed))
    heads = {result.head for _, _, result in known}
    runs: Counter[str] = Counter()
    found: list[Result] = []
    for person, order, result in known:
        if result.kind in _NO_RESULT or (result.place in heads and result.value.sent is None):
            continue
        run = _run(person, order, result, context, is_hl7=parsed.format == "hl7v2")
        runs[run] += bool(run)
        found += _results(person, result, run if runs[run] < 2 else f"{run} {runs[run]}")
    return found


def _run(person: Person, order: Order, result: Fact, context: MapContext, *, is_hl7: bool) -> str:
    """The same for a correction; another day is another run, where numbers are given again."""
    number, tube = numbers_of(order, result)
    if number is None:
        return ""
    channel = "" if context.results_of == "site" else context.channel
    # As in ids: a correction may be measured on the day after.
    day = None if context.specimen_ids == "unique" else (order.collected or result.at or "")[:_DAY]
    code = order.code if is_hl7 else None  # in ASTM it lists the tests of one session
    stated = result.stated if are_runs_apart(context.settings) else None
    measure = result.measure
    said = code, measure.test, measure.sub, result.kind, day, stated
    return hashed(context.key, person.subject, channel, number, tube, *said)


def _results(person: Person, result: Fact, run: str) -> Iterator[Result]:
    """One result, and one for each of its components."""
    measure, value = result.measure, result.value
    common: dict[str, Any] = {
        "flags": (*(measure.meant or ()), *((value.call,) if value.call else ())),
        "status": measure.state or "",
        "at_us": instant_of(result.at or ""),
        "subject": person.subject or "",
        "sex": person.gender or "",
        "born": born if len(born := person.birthday or "") == _DAY else "",
    }
    codes = _coded((measure.own if result.misfit else measure.codes) or ())
    parts = [part.partition("|") for part in value.parts or ()]
    if not parts or parts[0][0]:  # coded answers are a result each
        yield Result(codes=codes, run=run, **_value(result, measure, value), **common)
    for name, _, text in parts:
        yield Result(
            codes=(("", name),) if name else codes, text=text, run=f"{run}.{name}" if run and name else run, **common
        )


def _coded(codes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each with its system."""
    return tuple((system, code) for system, _, code in (one.partition("|") for one in codes))


def _value(result: Fact, measure: Measure, value: Value) -> dict[str, Any]:
    if value.meant is None:
        return {"text": None if value.missing else _words(measure, value)}
    named = (value.unit,) if value.unit else (measure.unit,) if result.misfit else (measure.ucum, measure.named)
    units = tuple(dict.fromkeys(one for one in named if one))
    low, high = (decimal_in(end) for end in result.limits) if result.limits and not value.unit else (None, None)
    comparator, number = value.comparator or "", decimal_in(value.meant)
    text = None if number is None else f"{comparator}{value.meant}"
    return {"value": number, "comparator": comparator, "text": text, "units": units, "low": low, "high": high}


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
