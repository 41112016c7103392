"""Distinguish numbers that restart, by the patient of an order and the time of measurement.

Counters restart, so the natural key of an order, specimen, report or observation also holds the patient and the local
day of measurement (the day of receipt, where no time is sent). Without a patient it holds the channel and the time to
the second; where no such time is sent, the message itself. It also holds the message where the same bytes came before
and nothing shows that they are a repeat. ``specimen_ids: unique`` switches this off for orders and specimens with a
number. With ``day`` the channel and the day of measurement are enough without a patient, too.
"""

from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from engine.mapping.message.message_context import MessageContext
from engine.model.message import Group, Segment

SEPARATOR = "\x1f"  # between the parts of a key
OF_A_DAY = f"{SEPARATOR}day{SEPARATOR}"  # in a key without a patient, where a number and its day say whose it is
_MINUTE_DIGITS = 12  # of a time as it is sent: 202603010930
_TOLD_BY: dict[str, tuple[Any, ...]] = {"hl7v2": ("OBX", 3, 4, 14), "astm": ("R", 3, 13)}  # code, sub-id, time


class KeyScope:
    """The extension of the keys of one message.

    Attributes:
        unique: numbers of orders and specimens never restart.
        of_a_day: within a day a number belongs to one specimen, also without a patient.
        apart: text that sets this message apart from one of the same bytes; usually empty.
    """

    def __init__(self, run: MessageContext) -> None:
        self._run = run
        self._days: dict[str, str] = {}  # times of this message -> their days
        self._alone: dict[str, str] = {}  # likewise, of results without a patient
        self._group: Group | None = None  # the last one that was asked for its orders, and these
        self._orders: list[Segment] = []
        self.unique = run.context.specimen_ids == "unique"
        # The same bytes with a time of measurement are the same results: `engine.features.results.rows.comparing`
        # knows them by their ids.
        self.apart = "" if run.context.apart and self._is_timed() else run.context.apart
        self.of_a_day = run.context.specimen_ids == "day" and not self.apart

    def orders(self, group: Group) -> list[Segment]:
        """The orders in a group and inside it. The number and the time of an order are looked for in them."""
        if self._group is not group:
            self._group, self._orders = group, inside(group, self._run.identity.order)
        return self._orders

    def order_time(self, group: Group) -> str:
        """The time of measurement of an order: its own, else that of its first result, else the message's."""
        fields = self._run.identity
        for segment in group.segments.get(fields.order) or self.orders(group):
            if text := self._time_in(segment, fields.order_time):
                return text
        for segment in inside(group, fields.result):
            if text := self._time_in(segment, fields.result_time):
                return text
        return self._run.times.message_time

    def _time_in(self, segment: Segment, fields: tuple[int, ...]) -> str:
        """The time in the first of these fields that holds one."""
        run = self._run
        for number in fields:
            raw = segment.get(number)
            text = run.text(raw) if raw else None
            if text and run.times.datetime(text):
                if run.trace is not None:
                    run.trace.source(segment, number)
                return text
        return ""

    def _is_timed(self) -> bool:
        """Whether an order or a result says to the minute when it was measured."""
        fields = self._run.identity
        return any(
            len(self._time_in(segment, numbers)) >= _MINUTE_DIGITS
            for name, numbers in ((fields.order, fields.order_time), (fields.result, fields.result_time))
            for segment in inside(self._run.root, name)
        )

    def tell_time(self, group: Group, result: Segment | None) -> None:
        """Note in the trace the field behind the time in an id: that of ``result``, or of the order at hand."""
        if self.unique or (result is not None and self._time_in(result, self._run.identity.result_time)):
            return
        if self.order_time(group) == self._run.times.message_time and self._run.parsed.segments:
            self._run.trace.source(self._run.parsed.segments[0], 7 if self._run.hl7 else 14)

    def of(self, patient: str | None, time: str) -> str:
        """The extension of a key that may restart."""
        if self.unique:
            return ""
        if self.of_a_day and patient is None:
            context = self._run.context
            return f"{OF_A_DAY}{'' if context.results_of == 'site' else context.channel}{SEPARATOR}{self.day(time)}"
        if patient is None or self.apart:
            return self.alone(time)
        return f"{SEPARATOR}{patient}{SEPARATOR}{self.day(time)}"

    def alone(self, raw: str) -> str:
        """As `of`, where no patient is named: the channel and the time to the second."""
        if self.unique:
            return ""
        found = self._alone.get(raw)
        if found is None:
            found = self._alone[raw] = self._alone_at(raw)
        return found

    def _alone_at(self, raw: str) -> str:
        run = self._run
        text = "" if self.apart else (run.text(raw) if raw else None) or run.times.message_time
        if text and run.times.instant(text):
            return f"{SEPARATOR}{run.context.channel}{SEPARATOR}{run.times.second(text)}"
        return f"{SEPARATOR}{run.context.channel}{SEPARATOR}{self.this_message()}"

    def report_alone(self, group: Group, time: str) -> str:
        """As `alone`, of a report: the same order may come in several messages, and no list of one is another's, so
        what it has results of, and when they were measured, is part of what it is."""
        if self.unique:
            return ""
        name, *numbers = _TOLD_BY[self._run.parsed.format]
        told = [
            [segment.fields[number] for number in numbers if len(segment.fields) > number]
            for segment in inside(group, name)
        ]
        return f"{self.alone(time)}{SEPARATOR}{told}"

    def day(self, time: str) -> str:
        """The local day of measurement; of receipt, where the message has no day."""
        day = self._days.get(time)
        if day is not None:
            return day
        day, received = self._run.times.day(time), self._run.context.received_at
        if not day and received is not None:
            day = f"{received.astimezone(ZoneInfo(self._run.context.timezone)):%Y%m%d}"
        self._days[time] = day
        return day

    def this_message(self) -> str:
        """A text that no other message has: a result without any owner in the message is a separate one."""
        context = self._run.context
        received = "" if context.received_at is None else context.received_at.isoformat()
        apart = f"{SEPARATOR}{self.apart}" if self.apart else ""
        return f"{context.payload_hash}{SEPARATOR}{received}{apart}"


def inside(group: Group, name: str) -> list[Segment]:
    """All segments of a name in a group and the groups inside it, in the order of the message."""
    found: list[Segment] = []
    waiting = [group]
    while waiting:
        here = waiting.pop()
        if name in here.segments:
            found += here.segments[name]
        for groups in here.groups.values():
            waiting += [inner for inner in groups if inner.groups or name in inner.segments]
    found.sort(key=attrgetter("position"))
    return found
