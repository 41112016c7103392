"""Replays under way: send stored documents again, behind all new work.

A replay yields. Its next message is queued only while the lanes concerned are empty, so that a new message of an
analyzer finds at most one delivery of the replay before it, and waits no longer than for that. It also waits while
messages wait for their mapping, while the journal's writer has a queue, while a destination is unreachable and while a
lane is paused or held: a server that has just come back gets new results first. ``rate`` is a limit on top.

A replay must end even under constant live load: having yielded for `YIELDS_S`, its next message is queued anyway,
unless one of its own is still under way. So it sends at least two messages a second, or as many as the lane carries one
at a time, and a live message still finds at most one of them before it. For a lane that is paused, held or without a
server it waits without this limit: nothing of it is queued there.

The journal keeps its position (`engine.store.operations.replays`): it can be stopped at any moment, by anything, and
resumed there. Each resumption is an action of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from engine.model.errors import LabRelayError, StoreError
from engine.model.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import audit, replays
from engine.store.queries.messages import lanes_of
from engine.store.queries.replays import unfinished_replay

logger = logging.getLogger("labrelay.actions")

POLL_S = 0.1  # interval of checks whether a lane is free, where no event comes earlier
YIELDS_S = 0.5  # at a stretch to live messages; then one message is queued
LAST_S = 30.0  # at the end its last deliveries may take so long; after that they are reported as waiting
STORE_RETRY_S = 1.0
AT_ONCE = 200  # messages of a step where this process sends nothing
DELIVERED = frozenset({"delivered"})
ENDED_KEPT = 20  # outcomes of the latest replays, for late questions

LIVE_FIRST = "live messages go first"  # the one reason to wait that has a time limit

Waits = Callable[[str, str], str]  # (channel, destination) -> why nothing may be queued there now, or ""
Reclaim = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The task of a replay.

    Attributes:
        destinations: documents that went to these; None: to any.
        to: another destination, or empty: the original ones.
        takes: the media type that ``to`` takes, or empty: any.
        states: states of a document at its destination for which it is sent.
        newer: messages that go along with older ones; of these, delivered documents are sent.
        rate: messages per second, at most.
    """

    destinations: frozenset[str] | None
    to: str = ""
    takes: str = ""
    states: frozenset[str]
    newer: frozenset[int] = frozenset()
    rate: float


@dataclass(slots=True)
class ReplayRun:
    """One replay under way, or recently ended."""

    number: int
    act: int
    total: int
    done: int
    deliveries: int
    failed: int
    began: float
    done_before: int
    superseded: int = 0
    overtaken: int = 0
    unnoted: int = 0  # of `failed`
    outstanding: set[int] = field(default_factory=set)
    waits: str = ""
    state: str = "running"  # stopped, ended, failed
    halted: asyncio.Event = field(default_factory=asyncio.Event)

    def outcome(self) -> dict[str, int]:
        counts = {"messages": self.done, "deliveries": self.deliveries}
        more = {"failed": self.failed, "superseded": self.superseded, "overtaken": self.overtaken}
        more["waiting"] = len(self.outstanding)
        return counts | {name: count for name, count in more.items() if count}

    def progress(self, now: float) -> dict[str, Any]:
        """For the waiting person; ``rate`` in messages per second, ``left_s`` None while unknown."""
        since = max(now - self.began, 1e-3)
        rate = (self.done - self.done_before) / since
        return {
            "number": self.number,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "failed": self.failed,
            "rate": round(rate, 1),
            "left_s": round((self.total - self.done) / rate) if rate else None,
            "waits": self.waits,
            "outcome": self.outcome(),
        }


class Replays:
    """All replays of one journal.

    Args:
        waits: called before each message for each of its lanes. None: this process sends nothing, so replays wait for
            no lane and learn no results.
        reclaim: rows of a lane became waiting.
    """

    def __init__(self, journal: Journal, *, waits: Waits | None, reclaim: Reclaim) -> None:
        self._journal = journal
        self._waits = waits
        self._reclaim = reclaim
        self._runs: dict[int, ReplayRun] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._taken_up: set[int] = set()  # about to be in `_tasks`
        self._moved = asyncio.Event()

    async def start(self, chosen: Sequence[int], order: Order, *, actor: str, what: dict[str, Any]) -> int:
        """Begin a replay; return its number."""
        last = self._journal.last_id
        number = await self._journal.run(replays.begin, actor=actor, what=what, total=len(chosen), last=last)
        self._run(ReplayRun(number, number, len(chosen), 0, 0, 0, self._now(), 0), chosen, order)
        return number

    async def resume(self, number: int, chosen: Sequence[int], order: Order, *, actor: str) -> None:
        """Resume a replay that is not under way; ``chosen`` are the messages behind its position."""
        found = unfinished_replay(self._journal, number)
        if found is None:
            raise LabRelayError(f"replay {number} is not unfinished; `labrelay replay --unfinished` lists those")
        if number in self._taken_up or self.is_running(number):
            raise LabRelayError(f"replay {number} is being taken up already; `labrelay replay --unfinished` shows it")
        self._taken_up.add(number)
        try:
            act = await self._journal.run(audit.begin, actor, "replay", {"resumed": number, "behind": found.position})
        finally:
            self._taken_up.discard(number)
        run = ReplayRun(number, act, found.total, found.done, found.deliveries, found.failed, self._now(), found.done)
        run.total = found.done + len(chosen)  # some may have been deleted from the journal meanwhile
        self._run(run, chosen, order)

    def is_running(self, number: int) -> bool:
        return number in self._tasks

    def progress(self, number: int) -> dict[str, Any]:
        """Raises LabRelayError where this process knows no such replay."""
        run = self._runs.get(number)
        if run is None:
            raise LabRelayError(f"replay {number} is not under way; go on with: labrelay replay --resume {number}")
        return run.progress(self._now())

    async def halt(self, number: int) -> dict[str, Any]:
        """Stop a replay between two messages; it can be resumed."""
        task = self._tasks.get(number)
        if task is not None:
            # Not cancelled: the deliveries of a step must still be announced to their lanes.
            self._runs[number].halted.set()
            self._moved.set()
            await asyncio.wait({task})
        return self.progress(number)

    async def wait(self, number: int, within_s: float) -> bool:
        """Whether it ended within ``within_s``; raises the error that it failed with."""
        task = self._tasks.get(number)
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=within_s)
        if done:
            task.result()
        return bool(done)

    async def stop(self) -> None:
        """Cut all replays short: the process ends. The next start records that, and a person resumes them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def settled(self, delivery: int, reason: ReasonCode | None) -> None:
        """A delivery has ended: perhaps one of a replay, and in any case one lane has less to do."""
        self._moved.set()
        for run in self._runs.values():
            if delivery in run.outstanding:
                run.outstanding.discard(delivery)
                if reason is ReasonCode.SUPERSEDED:
                    run.superseded += 1
                elif reason is ReasonCode.OVERTAKEN:
                    run.overtaken += 1
                elif reason is not None:
                    run.failed += 1
                    run.unnoted += 1

    # -- one replay --------------------------------------------------------------------------------------------

    def _run(self, run: ReplayRun, chosen: Sequence[int], order: Order) -> None:
        self._runs[run.number] = run
        for number in [number for number in self._runs if number not in self._tasks][:-ENDED_KEPT]:
            del self._runs[number]
        task = self._tasks[run.number] = asyncio.create_task(self._replay(run, chosen, order))
        task.add_done_callback(lambda ended: self._ended(run, ended))

    def _ended(self, run: ReplayRun, task: asyncio.Task[None]) -> None:
        del self._tasks[run.number]
        error = None if task.cancelled() else task.exception()
        run.state = "failed" if error is not None else "stopped" if task.cancelled() or run.halted.is_set() else "ended"
        run.waits = ""
        if error is not None:
            logger.error("a replay failed", extra={"act": run.act, "detail": type(error).__name__})

    async def _replay(self, run: ReplayRun, chosen: Sequence[int], order: Order) -> None:
        if self._waits is None:
            for at in range(0, len(chosen), AT_ONCE):
                await self._step(run, chosen[at : at + AT_ONCE], order)
        else:
            next_at = self._now()
            for message in chosen:
                if not await self._may_go_on(run, message, order, next_at):
                    await self._journal.run(audit.end, run.act, {"stopped": True, **run.outcome()})
                    return
                await self._step(run, [message], order)
                # Time lost by waiting is not caught up on: that would be a burst.
                next_at = max(next_at, self._now()) + 1.0 / order.rate
            await self._last_ones(run)
        run.halted.clear()  # too late
        await self._journal.run(replays.end, run.number, run.act, run.outcome())

    async def _may_go_on(self, run: ReplayRun, message: int, order: Order, not_before: float) -> bool:
        """Wait for the rate, then until the lanes of a message are free. False: it was stopped."""
        assert self._waits is not None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(not_before):
                await run.halted.wait()
        lanes = await asyncio.to_thread(lanes_of, self._journal, message)
        if order.to:
            lanes = {(channel, order.to) for channel, _ in lanes}
        elif order.destinations is not None:
            lanes = {lane for lane in lanes if lane[1] in order.destinations}
        yields_until = self._now() + YIELDS_S
        while not run.halted.is_set() and (why := self._why_not(lanes)):
            run.waits = why
            if why != LIVE_FIRST:
                yields_until = self._now() + YIELDS_S
            elif self._now() >= yields_until and not run.outstanding:
                break
            await self._something_moves(POLL_S)
        run.waits = ""
        return not run.halted.is_set()

    def _why_not(self, lanes: set[tuple[str, str]]) -> str:
        assert self._waits is not None
        return next((why for lane in sorted(lanes) if (why := self._waits(*lane))), "")

    async def _step(self, run: ReplayRun, messages: Sequence[int], order: Order) -> None:
        for along, part in groupby(messages, order.newer.__contains__):
            await self._queue(run, [*part], order, DELIVERED if along else order.states)

    async def _queue(self, run: ReplayRun, messages: Sequence[int], order: Order, states: frozenset[str]) -> None:
        noted, run.unnoted = run.unnoted, 0
        step = await self._journal.run(
            replays.step,
            run.number,
            messages,
            destinations=order.destinations,
            to=order.to,
            takes=order.takes,
            states=states,
            failed=noted,
        )
        run.done += len(messages)
        run.deliveries += len(step.deliveries)
        if self._waits is not None:
            run.outstanding.update(step.deliveries)
        for channel, destination in sorted(step.lanes):
            await self._announce(channel, destination)

    async def _announce(self, channel: str, destination: str) -> None:
        while True:
            try:
                self._reclaim(channel, destination)
                return
            except StoreError:  # unreadable just now: nothing is lost, and the lane is not announced yet
                await asyncio.sleep(STORE_RETRY_S)

    async def _last_ones(self, run: ReplayRun) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while run.outstanding and not run.halted.is_set():
                    run.waits = "its last deliveries"
                    await self._something_moves(POLL_S)

    async def _something_moves(self, within_s: float) -> None:
        self._moved.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._moved.wait()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
