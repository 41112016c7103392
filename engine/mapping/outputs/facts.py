"""Facts of a message (`to: results/1`): collected by generated code, written as `engine.model.content.facts` reads
them."""

from collections.abc import Sequence
from typing import Any, cast

import orjson

from engine.mapping.message.key_scope import KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.read_cache import MEASURES_KEPT
from engine.mapping.outputs.collected import MessageParts
from engine.model.content.facts import Facts, Lot, Order, Person
from engine.model.content.reagents import reagents_in
from engine.model.message import Group, Unmapped
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

_RESULTS = -1  # of an order: its last member; of a person its orders


class FactsParts(MessageParts):
    """The facts of one message.

    Attributes:
        written: a document is made of them; else nothing is made but the facts.
        head: members of `engine.model.content.facts.Facts` before its people.
        people: each as the members of a `Person`, its orders likewise; samples and results are made.
    """

    def __init__(self, run: MessageContext, *, written: bool = True) -> None:
        self._run = run
        self.written = written
        self._keys: MessageParts | None = None
        self.results = self.dropped = 0
        self.made = {}
        self.scope = cast(KeyScope, None)  # both are named by the code of each mapping, and used by none of facts
        if written:
            super().__init__(run)
        self.head: list[Any] = [None] * 5
        self.people: list[list[Any]] = []

    # -- called by generated code ----------------------------------------------------------------------------------

    def lasting(self, number: str | None, authority: str | None) -> bool:
        """Whether a patient's number is one person's for good."""
        context = self._run.context
        return number is not None and (context.patient_numbers == "lasting" or authority in context.namespaces)

    def subject(self, identifier: Json | None, group: Group, person: list[str]) -> str | None:
        """The id that FHIR's Patient of this number has."""
        if identifier is None:
            return None
        if (keys := self._keys) is None:
            keys = self._keys = MessageParts(self._run)
        patient = keys.whose(identifier, group, person, noted=False)
        return keys.identity("Patient", keys.patient_key(patient, group))

    def keep(self, memory: dict[Any, Any], key: Any, made: Any, before: tuple[int, int, int]) -> None:
        """Keep a measure for the next result that is written alike.

        Args:
            before: the numbers of warnings, of codes without a row, and of results without one, before it was made.
        """
        run = self._run
        noted, unmapped, without_row = before
        if run.noted - noted != len(run.unmapped) - unmapped:
            return
        told = (run.unmapped[unmapped:], len(run.without_row) > without_row) if run.noted != noted else None
        if len(memory) >= MEASURES_KEPT:
            memory.clear()
        memory[key] = made, told

    def tell_again(self, told: tuple[list[Unmapped], bool]) -> None:
        """The codes that no table has, for one more result."""
        run = self._run
        unmapped, without_row = told
        run.noted += len(unmapped)
        run.unmapped += unmapped
        if without_row and run.at is not None:
            run.without_row.append(run.at.position)

    # -- what is counted -------------------------------------------------------------------------------------------

    @property
    def observations(self) -> int:
        return sum(len(order[_RESULTS]) for person in self.people for order in person[_RESULTS])

    @property
    def something(self) -> bool:
        """A message without results has no facts."""
        return self.observations > 0

    def has(self, kind: str) -> bool:
        return True

    def check_drops(self, before: tuple[int, int]) -> None:
        """Nothing is dropped here."""


def facts_written(facts: Facts) -> bytes:
    """As `engine.model.content.facts.unpacked` reads them."""
    return orjson.dumps(tuple(facts), default=tuple)


def facts_made(run: MessageContext, making: FactsParts) -> Facts:
    """The facts of one message.

    Raises:
        ContentError: COUNT_MISMATCH, a result is in them twice.
    """
    if run.parsed.segments and making.observations != len(run.accounted):
        raise run.dead(ReasonCode.COUNT_MISMATCH, "a result is twice in the facts")
    lots = [Lot(one.lot, one.name, one.expires, one.tests) for one in reagents_in(run.parsed)]
    return Facts._make((*making.head, tuple(map(_person, making.people)), tuple(lots)))


def _person(members: Sequence[Any]) -> Person:
    *own, orders = members
    return Person._make((*own, tuple(map(_order, orders))))


def _order(members: Sequence[Any]) -> Order:
    *own, samples, results = members
    return Order._make((*own, tuple(samples), tuple(results)))
