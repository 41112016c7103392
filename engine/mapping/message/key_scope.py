"""Distinguish numbers that restart, by the patient of an order and the time of measurement.

Counters restart, so the natural key of an order, specimen, report or observation also holds the patient and the local
day of measurement (the day of receipt, where no time is sent). Without a patient it holds the channel and the time to
the second; where no such time is sent, the message itself. It also holds the message where the same bytes came before
and nothing shows that they are a repeat. ``specimen_ids: unique`` switches this off for orders and specimens with a
number. With ``day`` the channel and the day of measurement are enough without a patient, too.

The persons behind the patient numbers of a message, and the range in which each number is unique.

    lasting   one person's for good, by the site's settings (`patient_numbers`, `namespaces`): names a Patient by itself
    counter   restarts, or is given again: names a Patient of this channel, order and day, never an Identifier

The person's name is not part of a key: a corrected spelling must not make another Patient. It is compared instead
(`engine.model.persons`): each number goes to the journal with the record of its bearer here.
"""

from collections.abc import Iterable
from hashlib import blake2b
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from engine.mapping.message.certain_numbers import names_alone, tube_number
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Bearer, Group, Segment
from engine.model.persons import CONFLICT, Person, compare
from engine.model.texts.reasons import ReasonCode

SEPARATOR = "\x1f"  # between the parts of a key
OF_A_DAY = f"{SEPARATOR}day{SEPARATOR}"  # in a key without a patient, where a number and its day say whose it is
_MINUTE_DIGITS = 12  # of a time as it is sent: 202603010930
_TOLD_BY: dict[str, tuple[Any, ...]] = {"hl7v2": ("OBX", 3, 4, 14), "astm": ("R", 3, 13)}  # code, sub-id, time


class KeyScope:
    """The extension of the keys of one message.

    Attributes:
        unique: numbers of orders and specimens never restart.
        of_a_day: within a day a number belongs to one specimen, also without a patient.
        named: who is named in the place of a patient number; usually empty.
        is_unsure: what is in the place of a number is none: without a patient, only its message has such a result.
        apart: text that sets this message apart from one of the same bytes; usually empty.
    """

    def __init__(self, run: MessageContext) -> None:
        self._run = run
        self._days: dict[str, str] = {}  # times of this message -> their days
        self._alone: dict[str, str] = {}  # likewise, of results without a patient
        self._group: Group | None = None  # the last one that was asked for its orders, and these
        self._orders: list[Segment] = []
        self.named = names_alone(run)
        self.is_unsure = run.parsed.cleared is not None or self.named != ""
        self.unique = run.context.specimen_ids == "unique" and not self.named
        # The same bytes with a time of measurement are the same results: `engine.features.results.rows.applying`
        # knows them by their ids.
        self.apart = "" if run.context.apart and self._is_timed() else run.context.apart
        self.of_a_day = run.context.specimen_ids == "day" and not self.apart and not self.named

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
            return f"{SEPARATOR}{run.context.channel}{SEPARATOR}{run.times.second(text)}{self.named}"
        return f"{SEPARATOR}{run.context.channel}{SEPARATOR}{self.this_message()}"

    def is_alone(self, key: str) -> bool:
        """Whether a key is of this message's results without a patient."""
        return any(text in key for text in self._alone.values())

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
        received = self._run.context.received_at
        return f"{self._run.context.payload_hash}{SEPARATOR}{received.isoformat() if received else ''}" + (
            f"{SEPARATOR}{self.apart}" if self.apart else ""
        )

    def these_bytes(self) -> str:
        """A text that no other message has, unless it is the same one again."""
        return f"{self._run.context.payload_hash}{SEPARATOR}{self.apart}"


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


Json = dict[str, Any]

COUNTER = f"counter{SEPARATOR}"
_PERSON = f"person{SEPARATOR}".encode()
OTHER = f"other{SEPARATOR}"  # a person of their own under a number that lasts (`MapContext.others`)


class Bearers:
    """The patient numbers of one message.

    Attributes:
        found: for the journal to compare: a number, and the person behind it.
        told_apart: numbers, (system, value), that belong to another person than their first bearer here.
    """

    def __init__(self, run: MessageContext, state: blake2b, scope: KeyScope) -> None:
        """Hold no reference to the objects of a message, so that they are freed at once.

        Args:
            state: of the keyed hash that has read the site's key.
        """
        self._run = run
        self._scope = scope
        self._state = state
        self._fields: list[str] = []
        self._group: Group | None = None  # the last one that was asked for its order, and what it was
        self._number = ""
        self._known: tuple[Person, bytes, bytes] | None = None
        self._noted = b""  # the number that the last record was noted for
        self._said = b""  # the hash of that record; empty where it says nothing
        self._persons: dict[bytes, list[Person]] = {}
        self.found: dict[tuple[bytes, bytes], Bearer] = {}
        self.told_apart: set[tuple[str | None, str]] = set()

    def lasts(self, identifier: Json) -> bool:
        """Whether a patient number is one person's for good."""
        run = self._run
        number = (identifier.get("system"), identifier["value"])
        return number in run.lasting or (run.context.patient_numbers == "lasting" and number not in run.counted)

    @property
    def all_stand_alone(self) -> bool:
        """Whether no number of the message is a counter, or another person's."""
        return not (self._run.counted or self.told_apart)

    def stands_alone(self, identifier: Json) -> bool:
        """Whether an Identifier of a Patient is no counter: a number of another kind says itself what it is."""
        number = (identifier.get("system"), identifier["value"])
        return number not in self._run.counted and number not in self.told_apart

    def counter(self, number: str) -> str:
        """The part of result keys that replaces a patient number which is a counter: it belongs to this channel."""
        return f"{COUNTER}{self._run.context.channel}{SEPARATOR}{number}"

    def order_number(self, group: Group) -> str:
        """The number of the first order in a group; empty where there is none."""
        if self._group is not group:
            self._group, self._number = group, self._first_number(group)
        return self._number

    def _first_number(self, group: Group) -> str:
        fields = self._run.identity
        for segment in self._scope.orders(group):
            texts: Iterable[str | None] = self._run.numbers_in(segment, fields.order_number)
            if segment.name == "O":
                texts = (tube_number(self._run, segment.get(at), f"O-{at}") for at in fields.order_number)
            if number := next(filter(None, texts), ""):
                return number
        return ""

    def person(self, number: bytes, fields: list[str]) -> int:
        """Which person of a number is meant: 1, or another one that a user has distinguished from the first."""
        others = self._run.context.others
        return others.get(number + self._record(fields)[2], 1) if others else 1

    def note(self, number: bytes, fields: list[str], *, lasts: bool, master: bool = False) -> bytes:
        """Note the person behind a number, from the fields of the PID or P at hand; return the hash of the whole
        record.

        Args:
            number: its keyed hash; of a counter, with its order and day.

        Raises:
            ContentError: two persons have this number in this message.
        """
        if fields is self._fields and number == self._noted:
            return self._said
        person, packed, whole = self._record(fields)
        if not self._said:
            return b""
        if (number, whole) not in self.found:
            others = self._persons.setdefault(number, [])
            if others and any(compare(person, other) == CONFLICT for other in others):
                text = "one patient number belongs to two persons in this message"
                raise self._run.dead(ReasonCode.IDENTITY_CONFLICT, text)
            others.append(person)
            of = self.person(number, fields)
            self.found[number, whole] = Bearer(
                number=number, whole=whole, record=packed, lasting=lasts, person=1 if master else of, master=master
            )
        self._noted = number
        return whole

    def whole(self, fields: list[str]) -> bytes:
        """The hash of the whole record; empty where it says nothing."""
        self._record(fields)
        return self._said

    def _record(self, fields: list[str]) -> tuple[Person, bytes, bytes]:
        """The record that the fields give, packed, and its hash; the last one is kept, for it is asked again."""
        if fields is self._fields and self._known is not None:
            return self._known
        run, places = self._run, self._run.identity
        count = len(fields)
        name = fields[places.name] if count > places.name else ""
        birth = fields[places.birth_date] if count > places.birth_date else ""
        sex = fields[places.sex] if count > places.sex else ""
        names = [[run.text(part) or "" for part in one.split(run.C, 3)[:3]] for one in name.split(run.R)]
        person = Person.of(names, run.text(birth) or "", run.text(sex) or "")
        packed = person.packed()
        state = self._state.copy()
        state.update(_PERSON + packed)
        whole = state.digest()
        self._fields, self._noted = fields, b""
        self._said = b"" if person.says_nothing else whole
        self._known = known = person, packed, whole
        return known
