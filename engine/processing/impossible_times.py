"""Messages without the times that cannot be (`engine.succession.judge.clock`), as mappings read them. Pure.

left out    no document and no count uses it; a comment of its result names it
corrected   by `clock_offset`, where it can be then: what the laboratory states
issued      an order whose result has lost its time: when its message was received
"""

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
    """A message, as the judge reads it, and as mappings do."""

    judged: Parsed
    mapped: Parsed


def readable(parsed: Parsed, facts: Facts | None, context: MapContext) -> Readable:
    """Twice the message itself, where each time of its results can be right.

    Args:
        facts: of the message, as it is.
    """
    if facts is None or context.received_at is None or not parsed.segments:
        return Readable(parsed, parsed)
    wrong = wrong_times(facts, context.received_at)
    if not any(wrong):
        return Readable(parsed, parsed)
    if context.clock_offset:
        parsed = _Changing(parsed, context, is_old=wrong.measured, by=timedelta(seconds=context.clock_offset)).changed()
    return Readable(parsed, _Changing(parsed, context, is_old=wrong.measured).changed())


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

    def changed(self) -> Parsed:
        lost: dict[str, str] = {}  # by segment: the time of the last one that is changed
        notes: dict[int, str] = {}  # position of a result -> the time
        order: Segment | None = None
        for segment in self._parsed.segments:
            name = segment.name
            order = segment if name in _ISSUED else order
            lost[name] = self._change(segment, _SAMPLED.get(name, ()), may_be_old=not self._is_old)
            measured = self._change(segment, _MEASURED.get(name, ()))
            if name in _COMMENTS and (text := measured or lost.get("OBR") or lost.get("O") or lost.get("SPM")):
                notes[segment.position] = text
                if order is not None and self._by is None:
                    _set(order, _ISSUED[order.name], f"{self._received:%Y%m%d%H%M%S%z}")
        self._comment(self._parsed.root, notes)
        return self._parsed

    def _change(self, segment: Segment, numbers: tuple[int, ...], *, may_be_old: bool = False) -> str:
        """The first time that is changed, as sent; empty: none."""
        cut, changed = self._parsed.delimiters, ""
        ends = cut.repetition or "~", cut.component or "^"
        for number in numbers:
            text = segment.get(number).partition(ends[0])[0].partition(ends[1])[0].strip()
            at = self._times.datetime(text) if text else None
            if at is None or not is_wrong(at, self._received, taken=may_be_old):
                continue
            right = "" if self._by is None else self._corrected(at, self._by)
            if right or self._by is None:
                segment.fields[number] = right
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
                    words = LEFT_OUT.format(text) if self._by is None else _words(text, self._by)
                    added = Segment(comment, [*fields, words], result.position, result.ordinal)
                    group.segments.setdefault(comment, []).append(added)


def _words(text: str, by: timedelta) -> str:
    return CORRECTED.format(text, duration_text(by.total_seconds()))


def _set(segment: Segment, number: int, text: str) -> None:
    segment.fields += [""] * (number + 1 - len(segment.fields))
    segment.fields[number] = text
