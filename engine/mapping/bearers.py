"""Who bears the patient numbers of a message, and how far each of them reaches.

    lasting   one person's for good, says the site (`patient_numbers`, `namespaces`): names a Patient by itself
    counter   begins anew, or is given again: names a Patient of this channel, order and day, never an Identifier

The name is part of no key: a corrected spelling must not make another Patient. It is compared instead
(`engine.persons`): each number goes to the journal with the record of who bears it here.
"""

from hashlib import blake2b
from typing import Any

from engine.mapping.key_scope import SEPARATOR, inside
from engine.mapping.run import Run
from engine.message import Bearer, Group
from engine.persons import CONFLICT, Person, compare
from engine.reasons import Reason

Json = dict[str, Any]

COUNTER = f"counter{SEPARATOR}"
OTHER = f"other{SEPARATOR}"  # a person of their own under a number that lasts (`MapContext.others`)


def token(state: blake2b, text: str) -> bytes:
    """16 bytes that stand for a key where the key itself must not be kept; ``state`` has the site's key in it."""
    state = state.copy()
    state.update(text.encode("utf-8", "surrogatepass"))
    return state.digest()


class Bearers:
    """The patient numbers of one message.

    Attributes:
        found: what the journal compares: a number, and who bears it.
        told_apart: numbers, (system, value), that stand for another person than their first bearer here.
    """

    __slots__ = ("_fields", "_group", "_known", "_number", "_persons", "_run", "_state", "found", "told_apart")

    def __init__(self, run: Run, state: blake2b) -> None:
        """``state``: of `token`. What a message made is let go at once: nothing here may lead back to its owner."""
        self._run = run
        self._state = state
        self._fields: list[str] = []
        self._group: Group | None = None  # the last one that was asked for its order, and what it was
        self._number = ""
        self._known: tuple[Person, bytes, bytes] | None = None
        self._persons: dict[bytes, list[Person]] = {}
        self.found: dict[tuple[bytes, bytes], Bearer] = {}
        self.told_apart: set[tuple[str | None, str]] = set()

    def lasts(self, identifier: Json) -> bool:
        """Whether a patient number is one person's for good."""
        run = self._run
        number = (identifier.get("system"), identifier["value"])
        return number in run.lasting or (run.context.patient_numbers == "lasting" and number not in run.counted)

    def stands_alone(self, identifier: Json) -> bool:
        """Whether an Identifier of a Patient is no counter: a number of another kind says itself what it is."""
        number = (identifier.get("system"), identifier["value"])
        return number not in self._run.counted and number not in self.told_apart

    def counter(self, number: str) -> str:
        """What keys of results hold in the place of a patient number that is a counter: it is this channel's."""
        return f"{COUNTER}{self._run.context.channel}{SEPARATOR}{number}"

    def order_number(self, group: Group) -> str:
        """The number of the first order in a group; empty where there is none."""
        if self._group is not group:
            self._group, self._number = group, self._first_number(group)
        return self._number

    def _first_number(self, group: Group) -> str:
        fields = self._run.identity
        for segment in inside(group, fields.order):
            for number in self._run.numbers_in(segment, fields.order_number):
                return number
        return ""

    def person(self, number: bytes, fields: list[str]) -> int:
        """Which person of a number is meant: 1, or one whom a person has told apart from the first."""
        others = self._run.context.others
        return others.get(number + self._record(fields)[2], 1) if others else 1

    def note(self, number: bytes, fields: list[str], *, lasts: bool, master: bool = False) -> bytes:
        """Note who bears a number, by the fields of the PID or P at hand; the hash of the whole record.

        Args:
            number: the keyed hash that it is known by: of a counter, with its order and day.

        Raises:
            ContentError: it stands for two persons in this message.
        """
        person, packed, whole = self._record(fields)
        if person.says_nothing:
            return b""
        if (number, whole) not in self.found:
            others = self._persons.setdefault(number, [])
            if any(compare(person, other) == CONFLICT for other in others):
                text = "one patient number stands for two persons in this message"
                raise self._run.dead(Reason.IDENTITY_CONFLICT, text)
            others.append(person)
            of = self.person(number, fields)
            self.found[number, whole] = Bearer(
                number=number, whole=whole, record=packed, lasting=lasts, person=1 if master else of, master=master
            )
        return whole

    def whole(self, fields: list[str]) -> bytes:
        """The hash of the whole record; empty where it says nothing."""
        person, _, whole = self._record(fields)
        return b"" if person.says_nothing else whole

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
        self._fields = fields
        self._known = known = person, packed, token(self._state, f"person{SEPARATOR}{packed.decode()}")
        return known
