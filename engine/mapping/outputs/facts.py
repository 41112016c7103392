"""Facts of a message (`to: results/1`): collected by generated code, written as `engine.model.facts` reads them."""

from typing import Any

import orjson

from engine.mapping.message_context import MessageContext
from engine.mapping.outputs.collected import MessageParts
from engine.mapping.read_cache import MEASURES_KEPT
from engine.model.message import Segment
from engine.model.reagents import reagents_in
from engine.model.reasons import ReasonCode

_RESULTS = -1  # of an order: its last member; of a person its orders


class FactsParts(MessageParts):
    """The facts of one message.

    Attributes:
        head: members of `engine.model.facts.Facts` before its people.
        people: each as the members of a `Person`, its orders and their results likewise.
    """

    def __init__(self, run: MessageContext) -> None:
        super().__init__(run)
        self.head: list[Any] = [None] * 5
        self.people: list[list[Any]] = []

    # -- called by generated code ----------------------------------------------------------------------------------

    def lasting(self, number: str | None, authority: str | None) -> bool:
        """Whether a patient's number is one person's for good."""
        context = self._run.context
        return number is not None and (context.patient_numbers == "lasting" or authority in context.namespaces)

    def keep(self, memory: dict[Any, Any], key: Any, made: Any) -> None:
        """Keep a measure for the next result that is told alike."""
        if len(memory) >= MEASURES_KEPT:
            memory.clear()
        memory[key] = made

    def place(self, segments: list[Segment] | None) -> int:
        """The number of a segment among those of its name; 0 where there is none."""
        return segments[0].ordinal if segments else 0

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


def assemble(run: MessageContext, making: FactsParts) -> bytes:
    """The facts of one message.

    Raises:
        ContentError: COUNT_MISMATCH, a result is in them twice.
    """
    if run.parsed.segments and making.observations != len(run.accounted):
        raise run.dead(ReasonCode.COUNT_MISMATCH, "a result is twice in the facts")
    lots = [(one.lot, one.name, one.expires, one.tests) for one in reagents_in(run.parsed)]
    return orjson.dumps((*making.head, making.people, lots))
