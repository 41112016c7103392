"""Times of a message that cannot be (`engine.succession.judge.clock`), as mappings read them. Pure.

left out    `event_time` and `instant` read none (`MapContext.impossible`), so no document and no count has it; a
            comment of its result names it. A site's own mapping may read a field otherwise: there it is empty
corrected   by `clock_offset`, where it can be then: what the laboratory states
issued      an order whose result has lost its time: when its message was received
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.mapping.values.local_time import LocalTimes, silent
from engine.model.content.facts import Facts
from engine.model.message import Group, MapContext, Parsed, Segment
from engine.model.texts.units import duration_text
from engine.succession.judge.clock import is_wrong
from engine.succession.judge.reading import wrong_times

# Fields of times, by segment. Those of a sample may lie years back: of a tissue, of a frozen serum.
_MEASURED = {"MSH": (7,), "OBR": (8, 22), "OBX": (14, 19), "H": (14,), "O": (23,), "R": (13, 12)}
_SAMPLED = {"OBR": (7, 14), "SPM": (17, 18), "O": (8, 15)}
_ISSUED = {"OBR": 22, "O": 23}
_COMMENTS = {"OBX": ("NTE", ["NTE", "1", ""]), "R": ("C", ["C", "C", "1", "I"])}
_DAY = len("2026-03-01")
LEFT_OUT = "The sender gives a time that cannot be right; it was left out: {}"
CORRECTED = "The sender gives a time that cannot be right: {}; it was corrected by {}, as the laboratory states"


class Readable(NamedTuple):
    """A message, as the judge reads it, shipped mappings, and those of the site.

    Attributes:
        impossible: the times that mappings leave out, as sent.
        early: a result was measured before its sample was taken, or its patient born.
    """

    judged: Parsed
    shipped: Parsed
    own: Parsed
    impossible: frozenset[str] = frozenset()
    early: bool = False


def readable(parsed: Parsed, facts: Facts | None, context: MapContext) -> Readable:
    """The message itself, where each time of its results can be right.

    Args:
        facts: of the message, as it is.
    """
    if facts is None or context.received_at is None or not parsed.segments:
        return Readable(parsed, parsed, parsed)
    wrong = wrong_times(facts, context.received_at)
    if not (wrong.measured or wrong.drawn):
        return Readable(parsed, parsed, parsed, early=wrong.early)
    if context.clock_offset:
        by = timedelta(seconds=context.clock_offset)
        parsed = _Changing(parsed, context, is_old=wrong.measured, by=by).changed()
    changing = _Changing(parsed, context, is_old=wrong.measured)
    shipped = changing.changed()
    return Readable(parsed, shipped, changing.emptied(shipped), frozenset(changing.impossible))


class _Changing:
    """Args:
    is_old: the clock of the analyzer is wrong, so that an old time of a sample is its, too.
    by: how far it is off; None: what cannot be is left out.
    """

    def __init__(self, parsed: Parsed, context: MapContext, *, is_old: bool, by: timedelta | None = None) -> None:
        assert context.received_at is not None
        self._parsed, self._is_old, self._by = deepcopy(parsed), is_old, by
        self._received = context.received_at.astimezone(ZoneInfo(context.timezone))
        header = parsed.segments[0].get(7 if parsed.format == "hl7v2" else 14)
        self._times = LocalTimes(header, context.timezone, silent)
        self.impossible: set[str] = set()

    def changed(self) -> Parsed:
        lost: dict[str, str] = {}  # by segment: the time of the last one that is changed
        notes: dict[int, str] = {}  # position of a result -> the time
        order: Segment | None = None
        for segment in self._parsed.segments:
            name = segment.name
            order = segment if name in _ISSUED else order
            measured = self._change(segment, _MEASURED)
            lost[name] = self._change(segment, _SAMPLED, may_be_old=not self._is_old) or measured
            if name in _COMMENTS and (text := measured or lost.get("OBR") or lost.get("O") or lost.get("SPM")):
                notes[segment.position] = text
                if order is not None and self._by is None:
                    _set(order, _ISSUED[order.name], f"{self._received:%Y%m%d%H%M%S%z}")
        self._comment(self._parsed.root, notes)
        return self._parsed

    def emptied(self, parsed: Parsed) -> Parsed:
        """With no text in the fields of these times."""
        parsed = deepcopy(parsed)
        for segment in parsed.segments:
            for number, text in (*self._fields(segment, _SAMPLED), *self._fields(segment, _MEASURED)):
                if text in self.impossible:
                    segment.fields[number] = ""
        return parsed

    def _fields(self, segment: Segment, numbers: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[int, str]]:
        cut = self._parsed.delimiters
        for number in numbers.get(segment.name, ()):
            first = segment.get(number).partition(cut.repetition or "~")[0]
            yield number, first.partition(cut.component or "^")[0].strip()

    def _change(self, segment: Segment, numbers: Mapping[str, tuple[int, ...]], *, may_be_old: bool = False) -> str:
        """The first time that is left out or corrected, as sent; empty: none."""
        changed = ""
        for number, text in self._fields(segment, numbers):
            at = self._times.datetime(text) if text else None
            if at is None or not is_wrong(at, self._received, taken=may_be_old):
                continue
            if self._by is None:
                self.impossible.add(text)
            elif len(at) >= _DAY and (right := self._corrected(at, self._by)):
                segment.fields[number] = right
            else:
                continue
            changed = changed or text
        return changed

    def _corrected(self, at: str, by: timedelta) -> str:
        """A FHIR dateTime, later or earlier by so much, as HL7 writes it; empty: neither can be."""
        for span in (by, -by):
            if len(at) > _DAY:
                moment = datetime.fromisoformat(at) + span
                text, right = moment.isoformat(), f"{moment:%Y%m%d%H%M%S%z}"
            else:
                day = date.fromisoformat(at) + span
                text, right = day.isoformat(), f"{day:%Y%m%d}"
            if not is_wrong(text, self._received):
                return right
        return ""

    def _comment(self, group: Group, notes: dict[int, str]) -> None:
        for groups in group.groups.values():
            for inner in groups:
                self._comment(inner, notes)
        for name, (comment, fields) in _COMMENTS.items():
            for result in group.segments.get(name, ()):
                if text := notes.get(result.position):
                    by = self._by
                    words = CORRECTED.format(text, duration_text(by.total_seconds())) if by else LEFT_OUT.format(text)
                    added = Segment(comment, [*fields, words], result.position, result.ordinal)
                    group.segments.setdefault(comment, []).append(added)


def _set(segment: Segment, number: int, text: str) -> None:
    segment.fields += [""] * (number + 1 - len(segment.fields))
    segment.fields[number] = text
