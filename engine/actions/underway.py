"""Run actions: each is recorded before it starts and when it has ended, and may continue after its caller stopped
waiting.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.actions.replay_messages import Reclaim, Replays, Waits
from engine.actions.selection import Selection, counted_at
from engine.model.clock import Clock, SystemClock
from engine.model.errors import IntegrityError, LabRelayError
from engine.model.message import Stored
from engine.model.records import DeadLetter, Decision, Recorded
from engine.model.values import changed
from engine.processing.process import ChannelRoutes, process, routed_by
from engine.store.journal import Journal
from engine.store.operations import audit, record_outcome
from engine.store.queries.contents import stored_message

logger = logging.getLogger("labrelay.actions")


AT_ONCE = 1000  # rows closed or released in one transaction
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
        waits: why a replay has to wait for a lane (`engine.actions.replay_messages`); None where this process sends
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
        self.replays = Replays(journal, waits=waits, reclaim=reclaim)
        self._running: set[asyncio.Task[dict[str, int]]] = set()
        self.reprocessing: set[str] = set()  # channels

    async def give_up(self, acts: Iterable[int]) -> None:
        """Record the end of actions that a crash cut short. Their progress is unknown: a person must repeat them."""
        for act in acts:
            await self.journal.run(audit.end, act, {"interrupted": True})
            logger.warning("an act was cut short by the last stop; give its command again", extra={"act": act})

    async def stop(self) -> None:
        """Cancel running actions; the next start records them as cut short."""
        await self.replays.stop()
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
                raise LabRelayError(
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


def counted(now_us: int, chosen: Sequence[DeadLetter]) -> dict[str, Any]:
    """The answer of a dry run: the count and its time, for the selection of the action that follows."""
    return {**answer(len(chosen), None, {}), "counted_us": counted_at(now_us, chosen)}


async def process_again(acts: Acts, message: int, decision: Decision) -> Recorded | None:
    """Map a message again and record the outcome, as `engine.store.operations.record_outcome` describes.

    Returns: None where nothing was recorded: the message is damaged (`labrelay verify` names it), its channel is not
        configured any more, or another act was quicker.
    """
    try:
        stored = await asyncio.to_thread(stored_message, acts.journal, message)
    except IntegrityError:
        return None
    channel = acts.channels().get(stored.channel)
    if channel is None:
        return None
    # In a thread: analyzers are answered meanwhile.
    outcome = await asyncio.to_thread(process, stored, channel)
    routed = [routed_by(route, document) for document, route in outcome.documents]
    recorded = await acts.journal.run(
        record_outcome.record,
        stored.id,
        outcome,
        routed,
        decision=changed(
            decision, accept_conflict=decision.accept_conflict and channel.context.specimen_ids != "unique"
        ),
    )
    if recorded.already:
        return None
    if recorded.state == "mapped":
        for destination in {name for document in routed for name in document.destinations}:
            acts.reclaim(stored.channel, destination)
    return recorded
