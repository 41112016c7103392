"""The persons behind the patient numbers of a message, and the range in which each number is unique.

    lasting   one person's for good, by the site's settings (`patient_numbers`, `namespaces`): names a Patient by itself
    counter   restarts, or is given again: names a Patient of this channel, order and day, never an Identifier

The person's name is not part of a key: a corrected spelling must not make another Patient. It is compared instead
(`engine.model.persons`): each number goes to the journal with the record of its bearer here.
"""

from hashlib import blake2b
from typing import Any

from engine.mapping.message.key_scope import SEPARATOR, KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Bearer, Group
from engine.model.persons import CONFLICT, Person, compare
from engine.model.texts.reasons import ReasonCode

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
            for number in self._run.numbers_in(segment, fields.order_number):
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
