"""Run actions: each is recorded before it starts and when it has ended, and may continue after its caller stopped
waiting.

How an operation that queues deliveries yields to new messages.

The next message of a replay is queued only while the lanes concerned are empty, so that a new message of an analyzer
finds at most one delivery of the replay before it, and waits no longer than for that. It also waits while messages wait
for their mapping, while the journal's writer has a queue, while a destination is unreachable and while a lane is paused
or held: a server that has just come back gets new results first.

An operation must end even under constant live load: having yielded for `YIELDS_S`, its next message is queued anyway,
unless a delivery of its own is still under way. So it sends at least two messages a second, or as many as the lane
carries one at a time, and a live message still finds at most one of them before it. For a lane that is paused, held or
without a server it waits without this limit: nothing of it is queued there.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.actions.operations import BulkAct, Operations, Reclaim
from engine.actions.selection import Pages, Selection, counted, frozen
from engine.model import errors
from engine.model.journal.records import Decision, Recorded, Routed
from engine.model.message import Stored
from engine.model.process.clock import Clock, SystemClock
from engine.model.routes import ChannelRoutes, Processed, routed_by
from engine.model.values import changed
from engine.processing.process import process
from engine.store.journal import Journal
from engine.store.operations import audit, record_outcome
from engine.store.operations.bulk import Lanes, Member
from engine.store.queries.bulk import operation_if, sends_now
from engine.store.queries.reader import Reader, stored_message

POLL_S = 0.1  # interval of checks whether a lane is free, where no event comes earlier
YIELDS_S = 0.5  # at a stretch to live messages; then one message is queued

LIVE_FIRST = "live messages go first"  # the one reason to wait that has a time limit

Waits = Callable[[str, str], str]  # (channel, destination) -> why nothing may be queued there now, or ""


class Yielding:
    """Lets operations of one journal wait for their lanes.

    Args:
        waits: called for each lane of a message before it is queued.
    """

    def __init__(self, journal: Reader, waits: Waits) -> None:
        self._journal = journal
        self._waits = waits
        self._moved = asyncio.Event()
        self._why: dict[int, str] = {}

    def moved(self) -> None:
        """A delivery has ended: one lane has less to do."""
        self._moved.set()

    def why(self, operation: int) -> str:
        """Why an operation waits now, or empty."""
        return self._why.get(operation, "")

    async def turn(self, operation: int, lanes: Collection[tuple[str, str]]) -> None:
        """Wait until an operation may queue its next message in these lanes."""
        now = asyncio.get_running_loop().time
        until = now() + YIELDS_S
        try:
            while why := next((why for lane in sorted(lanes) if (why := self._waits(*lane))), ""):
                self._why[operation] = why
                if why != LIVE_FIRST:
                    until = now() + YIELDS_S
                elif now() >= until and not await asyncio.to_thread(sends_now, self._journal, operation):
                    return
                self._moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._moved.wait()
        finally:
            self._why.pop(operation, None)


logger = logging.getLogger("labrelay.actions")


DEFAULT_RATE = 50.0  # messages per second of a replay, well below a lane's capacity, so that live results go first
ATTEMPT_ENDS_WITHIN_S = 15.0  # less than a command waits for its answer
LOOK_AGAIN_S = 0.02
ANSWER_WITHIN_S = 20.0  # a longer action continues in the daemon, and the command is informed


class Acts:
    """The environment of every action: the journal, the site as far as it runs, and the actions under way.

    Args:
        channels: returns the compiled routes in force, by channel; called at each use, since a reload replaces them.
        reclaim: (channel, destination): rows of a lane became waiting; a daemon's worker must read them.
        accept: a message became durable and waits to be processed; a daemon's intake takes it.
        attempts: message -> destinations with an attempt under way to deliver it; none without a daemon.
        waits: why a replay has to wait for a lane (`engine.actions.underway`); None where this process sends
            nothing.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        channels: Callable[[], Mapping[str, ChannelRoutes]],
        reclaim: Reclaim = lambda channel, destination: None,
        accept: Callable[[Stored], None] = lambda stored: None,
        clock: Clock | None = None,
        attempts: Callable[[int], Sequence[str]] = lambda message: (),
        waits: Waits | None = None,
    ) -> None:
        self.attempts = attempts
        self.journal = journal
        self.channels = channels
        self.reclaim = reclaim
        self.accept = accept
        self.now_us = (clock or SystemClock()).now_us
        self.yielding = Yielding(journal, waits) if waits is not None else None
        self.operations = Operations(journal, reclaim=reclaim, paced=waits is not None)
        self._running: set[asyncio.Task[dict[str, int]]] = set()
        self.beginning = asyncio.Lock()  # of a reprocessing

    async def give_up(self, acts: Iterable[int]) -> None:
        """Record the end of actions that a crash cut short. Their progress is unknown: a person must repeat them."""
        for act in acts:
            await self.journal.run(audit.end, act, {"interrupted": True})
            logger.warning("an act was cut short by the last stop; give its command again", extra={"act": act})

    async def stop(self) -> None:
        """Cancel running actions; the next start records them as cut short."""
        await self.operations.stop()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def act(
        self,
        actor: str,
        verb: str,
        selection: Selection,
        count: int,
        dry_run: bool,
        work: Callable[[], Any],
        **more: Any,
    ) -> dict[str, Any]:
        if dry_run or not count:
            return answer(count, None, {})
        act = await self.journal.run(
            audit.begin, actor, verb, {"selection": selection.to_json(), "count": count, **more}
        )
        task = asyncio.create_task(self._finish(act, work))
        self._running.add(task)
        task.add_done_callback(lambda ended: self._ended(act, ended))
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        return answer(count, act, task.result() if done else {}, going_on=not done)

    async def let_attempts_end(self, *messages: int) -> list[str]:
        """Wait until no attempt to deliver one of these messages is under way; return the destinations of those waited
        for.

        Raises:
            LabRelayError: one takes too long.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + ATTEMPT_ENDS_WITHIN_S
        awaited: set[str] = set()
        while under_way := {message: to for message in messages if (to := self.attempts(message))}:
            awaited.update(*under_way.values())
            if loop.time() > until:
                message, to = next(iter(under_way.items()))
                raise errors.LabRelayError(
                    f"an attempt to deliver message {message} to {', '.join(to)} is under way, and cannot be called "
                    f"back; nothing was changed. How it ends: labrelay messages show {message}; then give the command "
                    "again"
                )
            await asyncio.sleep(LOOK_AGAIN_S)
        return sorted(awaited)

    def _ended(self, act: int, task: asyncio.Task[dict[str, int]]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A waiting caller gets the error, too; an action in the background has only this line.
            logger.error("an act failed", extra={"act": act, "detail": type(error).__name__})

    async def _finish(self, act: int, work: Callable[[], Any]) -> dict[str, int]:
        outcome: dict[str, int] = await work()
        await self.journal.run(audit.end, act, outcome)
        return outcome


def answer(count: int, act: int | None, done: Mapping[str, int], *, going_on: bool = False) -> dict[str, Any]:
    return {"count": count, "act": act, "done": dict(done), "going_on": going_on}


async def begin_bulk_act(
    acts: Acts,
    act: BulkAct,
    verb: str,
    pages: Pages,
    selection: Selection,
    *,
    actor: str,
    reason: str,
    dry_run: bool,
    within_s: float,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Count the letters of a selection, or freeze them as an operation and begin it.

    Args:
        pages: `dead_letters` or `held_results`.
        within_s: how long to wait for its end; after that it continues.
        more: of what the person has decided; kept with the operation.

    Returns:
        Of a dry run, `engine.actions.selection.Counted`; its ``last`` and ``counted_us`` belong in the selection of the
        action that follows. Else ``operation``, its number (None: nothing was selected), and its ``stage`` are
        there, too.
    """
    last, now_us = acts.journal.last_id, acts.now_us()
    if dry_run:
        found = await asyncio.to_thread(counted, acts.journal, pages, selection, last=last, now_us=now_us)
        return {**answer(found.count, None, {}), **asdict(found)}
    members, newest_us = await asyncio.to_thread(frozen, acts.journal, pages, selection)
    what = {"selection": selection.to_json(), "count": len(members), **more} | ({"reason": reason} if reason else {})
    return await begin_operation(
        acts,
        act,
        verb,
        members,
        last=last if selection.last is None else selection.last,
        counted_us=max(now_us, newest_us) if selection.counted_us is None else selection.counted_us,
        actor=actor,
        what=what,
        within_s=within_s,
    )


async def begin_operation(
    acts: Acts, act: BulkAct, verb: str, members: Sequence[Member], *, within_s: float, **frozen: Any
) -> dict[str, Any]:
    """Begin an operation on these members, as `Operations.start` does, and wait for its end; see `begin_bulk_act`."""
    number = await acts.operations.start(act, verb, members, **frozen) if members else None
    return await operation_so_far(acts, number, len(members), within_s)


async def operation_so_far(acts: Acts, number: int | None, count: int, within_s: float) -> dict[str, Any]:
    """The answer to an act that has begun an operation (None: nothing was selected)."""
    if number is None:
        return {**answer(0, None, {}), "operation": None, "stage": None}
    ended, order = await acts.operations.wait(number, within_s), None
    with suppress(errors.StoreError):  # it has begun: a person who got an error would begin it once more
        order = await asyncio.to_thread(operation_if, acts.journal, number)
    done = order.outcomes if ended and order is not None else {}
    stage = order.stage if order is not None else ("ended" if ended else "running")
    return {**answer(count, number, done, going_on=not ended), "operation": number, "stage": stage}


class Again(NamedTuple):
    """A message that was mapped again.

    Attributes:
        config: the configuration that mapped it, as `record_outcome.record` takes it.
        lanes: that it has new work for where it is ``mapped``.
    """

    message: int
    outcome: Processed
    routed: Sequence[Routed]
    decision: Decision
    config: str
    lanes: Lanes


async def map_again(acts: Acts, message: int, decision: Decision) -> Again | None:
    """Map a message again; None where it is not kept any more.

    Raises:
        LeftOutError: it is damaged (`labrelay verify` names it) or erased, or its channel is not configured any more.
    """
    try:
        stored = await asyncio.to_thread(stored_message, acts.journal, message)
    except errors.AbsentError:
        return None
    except errors.ErasedError:
        raise errors.LeftOutError("erased") from None
    except errors.IntegrityError:
        raise errors.LeftOutError("damaged") from None
    channel, config = acts.channels().get(stored.channel), acts.journal.upkeep.config_hash
    if channel is None:
        raise errors.LeftOutError("no_channel")
    # In a thread: analyzers are answered meanwhile.
    outcome = await asyncio.to_thread(process, stored, channel)
    routed = [routed_by(route, document) for document, route in outcome.documents]
    accepts = decision.accept_conflict and channel.context.specimen_ids != "unique"
    lanes = frozenset((stored.channel, name) for document in routed for name in document.destinations)
    return Again(stored.id, outcome, routed, changed(decision, accept_conflict=accepts), config, lanes)


async def process_again(acts: Acts, message: int, decision: Decision) -> Recorded | None:
    """Map a message again and record the outcome, as `engine.store.operations.record_outcome` describes; None as for
    `map_again`, and where another act was quicker; raises as it does.
    """
    again = await map_again(acts, message, decision)
    if again is None:
        return None
    try:
        recorded = await acts.journal.run(
            record_outcome.record,
            again.message,
            again.outcome,
            again.routed,
            decision=again.decision,
            config=again.config,
        )
    except errors.ReconfiguredError:
        return await process_again(acts, message, decision)
    if recorded.already:
        return None
    if recorded.state == "mapped":
        for channel, destination in sorted(again.lanes):
            acts.reclaim(channel, destination)
    return recorded
