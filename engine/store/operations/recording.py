"""What the features do with the outcome of a message, in the transaction that records it.

`engine.store.operations.record_outcome` has the steps of all features go through the same moments together:

    decide    what goes out, and the state
    tell      the state is decided: the note beside it
    stored    the row of the state is written
    hold      the documents that go out are known: which of them wait for a person
    queued    their deliveries are queued
    ended     what an earlier outcome of the message had brought is gone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.content.order_results import TubeResults
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.records import Decision, HoldReason, MessageState, Routed
from engine.model.message import Issue
from engine.model.orders import LineAnswer
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.succession.judge.words import Judgement, Memory

NOTHING_KNOWN = Memory()


@dataclass(slots=True, kw_only=True)
class Recording:
    """One message whose outcome is being recorded: what is known of it, and what the steps make of that.

    Attributes:
        first: the message, or the original that it is an edit of.
        before: its state until now; None: it had no outcome.
        made: the documents as the mapping made them. ``routes``: as they go out.
        waiting: codes of its results that wait in a document of their own; the others go on.
        held: why each of them is held, or None; complete once all have held theirs.
        rejected_before: the message with the same bytes that a person has rejected or dismissed; 0: none.
        facts: place of a document, from 1 -> the decisions about it; None: nothing was looked at.
        note: more words beside the outcome, sealed with it.
        results: for the row of its state; None: none.
        tubes: its results, each with whether it repeats one that was accepted.
        rename: has the documents name the orders of other results; the new ones, or None where that changes nothing.
            None: they name none.
        late: a newer message may have the same orders. ``known_order``: others have them.
        answers: to each of its order lines; None: it brought none.
        judgement: about its results; None: there is none. ``memory``: what was in force before it.
        marks: flags of its deliveries.
    """

    batch: Batch
    id: int
    channel: str
    received_us: int
    outcome: Outcome[Any]
    decision: Decision
    first: int
    before: MessageState | None
    made: Sequence[Routed]
    routes: Sequence[Routed]
    rejected_before: int
    state: MessageState
    reason: ReasonCode | None
    detail: str
    issues: Sequence[Issue]
    tubes: Sequence[TubeResults]
    waiting: frozenset[str] = frozenset()
    held: Sequence[HoldReason | None] = ()
    facts: dict[int, DocumentFacts] | None = None
    note: dict[str, Any] = field(default_factory=dict)
    results: bytes | None = None
    rename: Callable[[Sequence[TubeResults]], Sequence[Routed] | None] | None = None
    late: bool = False
    known_order: bool = False
    answers: tuple[LineAnswer, ...] | None = None
    judgement: Judgement | None = None
    memory: Memory = NOTHING_KNOWN
    marks: int = 0

    @property
    def controls_of(self) -> str:
        """The channel whose controls count."""
        return self.outcome.controls_of or self.channel

    @property
    def is_edit(self) -> bool:
        return self.first != self.id


class Step:
    """What one feature does with one outcome."""

    def __init__(self, now: Recording) -> None:
        self.now = now
        self.batch = now.batch

    def decide(self) -> None: ...
    def tell(self) -> None: ...
    def stored(self) -> None: ...
    def hold(self) -> None: ...
    def queued(self) -> None: ...
    def ended(self) -> None: ...
