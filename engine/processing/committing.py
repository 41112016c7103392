"""Hand the outcomes of messages to the store, with the places of their deliveries in memory, until they are durable."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.delivery.lane import Lane
from engine.delivery.worker import DestinationWorker
from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.records import Recorded, Routed
from engine.model.message import Stored
from engine.model.outcome import Outcome
from engine.model.routes import Processed, routed_by
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.receiving.outcomes import Outcomes
from engine.store.operations import record_outcome

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.processing")

COMMITTING = 512  # outcomes handed to the journal and not durable yet ...
COMMITTING_BYTES = 16 * 1024 * 1024  # ... and their documents together, before no further message is taken
# Errors of the statement itself, however often it is tried; other errors are those of a disk or a lock.
_OF_A_STATEMENT = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError)


@dataclass(slots=True)
class IntakeCounts:
    """Since start, by channel: outcomes, dead letters by reason, results without a row in their code table."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    reagents: Counter[str] = field(default_factory=Counter)


@value()
class _Place:
    """The destination of one delivery of a message, and whether it has a place in memory there."""

    worker: DestinationWorker
    lane: Lane
    size: int
    reserved: bool

    def give_back(self) -> None:
        if self.reserved:
            self.worker.give_back(self.lane, self.size)


class Commits:
    """Outcomes on their way into the store.

    Attributes:
        workers: by destination.
        under_way: how many outcomes are not durable yet.
        all_durable: set while there are none.
    """

    def __init__(
        self,
        journal: "Journal",
        *,
        outcomes: Outcomes | None,
        mapped: Callable[[Stored, Processed, Recorded], None] | None,
        ended: Callable[[Stored, bool], None],
        again: Callable[[int], None],
    ) -> None:
        """
        Args:
            outcomes, mapped: as `engine.processing.intake.Intake` has them.
            ended: called with a message whose outcome is under way no more, and whether there were too many until then.
            again: called with the number of a message whose outcome could not be stored.
        """
        self._journal = journal
        self._outcomes = outcomes
        self._mapped = mapped
        self._ended = ended
        self._again = again
        self._bytes = 0
        self._before: dict[str, int] = {}  # channel -> the last of its messages whose outcome is being committed
        self.workers: Mapping[str, DestinationWorker] = {}
        self.under_way = 0
        self.all_durable = asyncio.Event()
        self.all_durable.set()
        self.counts = IntakeCounts()

    @property
    def is_busy(self) -> bool:
        """Whether no further message is to be taken now."""
        return self.under_way >= COMMITTING or self._bytes >= COMMITTING_BYTES

    def commit(self, stored: Stored, outcome: Processed, *, in_turn: bool = True) -> None:
        """Hand an outcome to the store.

        Args:
            in_turn: only after the channel's message before it. Not needed where nothing is to be sent.
        """
        routed: list[Routed] = []
        places: list[_Place] = []
        try:
            for document, route in outcome.documents:
                claimed = []
                for name in route.to:
                    worker = self.workers[name]
                    lane = worker.lane(stored.channel)
                    place = _Place(worker, lane, len(document.body), worker.reserve(lane, len(document.body)))
                    places.append(place)
                    claimed.append(place.reserved)
                routed.append(routed_by(route, document, claimed=tuple(claimed)))
            future = self._journal.run(
                record_outcome.record,
                stored.id,
                outcome,
                routed,
                after=self._before.get(stored.channel, 0) if in_turn else 0,
                rejected_before=stored.rejected_before,
            )
        except BaseException:
            self._give_back(places)
            raise
        self._before[stored.channel] = max(stored.id, self._before.get(stored.channel, 0))
        size = sum(len(document.body) for document, _ in outcome.documents)
        self.under_way += 1
        self._bytes += size
        self.all_durable.clear()
        future.add_done_callback(lambda done: self._committed(stored, outcome, places, size, done))

    def _committed(
        self, stored: Stored, outcome: Processed, places: "list[_Place]", size: int, done: "asyncio.Future[Recorded]"
    ) -> None:
        busy = self.is_busy
        self.under_way -= 1
        self._bytes -= size
        if not self.under_way:
            self.all_durable.set()
        if self._before.get(stored.channel) == stored.id:
            del self._before[stored.channel]
        self._ended(stored, busy)
        error = done.exception()
        if error is not None:
            self._give_back(places)
            self._not_committed(stored, outcome, error)
            return
        recorded = done.result()
        if not recorded.already:
            self._count(stored.channel, recorded, len(outcome.unmapped))
            self.counts.reagents[stored.channel] += len(outcome.reagents)
            if self._outcomes is not None:
                deliveries = len(recorded.deliveries) + recorded.waiting
                self._outcomes.processed(stored.id, deliveries, dead=recorded.state == "dead")
            if self._mapped is not None:
                self._mapped(stored, outcome, recorded)
        if recorded.already or recorded.is_other or recorded.state != "mapped":
            self._give_back(places)
            return
        claimed = iter(recorded.deliveries)
        for number, place in enumerate(places):
            if number in recorded.held:
                place.give_back()
            elif place.reserved:
                place.worker.committed(place.lane, next(claimed), place.size)
            else:
                place.worker.left_in_store(place.lane)

    def _not_committed(self, stored: Stored, outcome: Processed, error: BaseException) -> None:
        if isinstance(error, StoreError) and not _is_lasting(error):
            if not error.fatal:
                # The row still has no outcome, and the store lets no newer message of its channel have one before it:
                # read again from there.
                self._again(stored.id)
            return
        logger.error(
            "an outcome cannot be written", extra={"channel": stored.channel, "journal_id": stored.id}, exc_info=error
        )
        if outcome.reason is ReasonCode.MAPPING_FAULT:
            return  # that fails, too: it waits, stored, for the next start
        try:  # P2 and P7: an error of ours makes a dead letter, and the next message is not affected
            self.commit(stored, Outcome("dead", ReasonCode.MAPPING_FAULT, type(error).__name__), in_turn=False)
        except StoreError:
            self._again(stored.id)

    @staticmethod
    def _give_back(places: "list[_Place]") -> None:
        for place in places:
            place.give_back()

    def _count(self, channel: str, recorded: Recorded, unmapped: int) -> None:
        counts = self.counts
        repeat = recorded.reason is ReasonCode.REPEAT
        counts.ended[channel, "repeat" if repeat else recorded.state] += 1
        if recorded.state == "dead" and recorded.reason is not None:
            counts.dead[channel, recorded.reason.value] += 1
        if unmapped:
            counts.unmapped[channel] += unmapped


def _is_lasting(error: StoreError) -> bool:
    """Whether a message would fail the same way again: because of damage in a row that it needs, or of its own
    content.
    """
    return isinstance(error, IntegrityError) or isinstance(error.__cause__, _OF_A_STATEMENT)
