"""Carry out operations of people on many letters, in slices; their state is in the journal
(`engine.store.operations.bulk`).

An operation belongs to the site and not to the one who began it: it goes on after a log-out, and after a restart of the
daemon. It yields to live messages: after each slice it pauses for as long as the slice took, which is the longer the
more the journal's writer has to do.

To add a bulk act:

1. write the function of a slice: ``async (operation, members) -> Slice``. It prepares (it may read, and map in a
   thread); the ``work`` of its slice changes the journal, and counts an outcome for each member. It gets members in
   ascending order, and may take fewer of them than it was offered, in their order. A `LeftOutError` is the outcome of
   the first.
2. begin it by `begin_bulk_act` (`engine.actions.underway`), and declare it as the ``slices`` of its act: a restart
   takes it up there.
3. give each new outcome its line in `KINDS`, and its words in `engine/web/pages/doing.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from engine.model.errors import DamagedError, IntegrityError, LabRelayError, LeftOutError, StoreError
from engine.model.site.actor import Actor
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import bulk
from engine.store.operations.bulk import Done, Fault, Member, Operation
from engine.store.queries.bulk import members_from, operation_if, running_operations

logger = logging.getLogger("labrelay.actions")

SLICE = 50  # members in one transaction: some milliseconds
LONGEST_PAUSE_S = 0.5
TRIES, TRY_AGAIN_S = 5, 1.0  # of one member, until it is counted as failed

Kind = Literal["done", "failed", "skipped"]
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("requeued", "processed", "dismissed", "released", "rejected", "superseded"), "done"),
    **dict.fromkeys(("still_dead", "number_conflicts", "failed"), "failed"),
    **dict.fromkeys(("conflicts", "incomplete", "overtaken", "unanswered", "too_old", "damaged", "erased"), "skipped"),
    **dict.fromkeys(("no_channel", "no_document", "unchanged", "outdated", "withdrawn", "dead"), "skipped"),
    **dict.fromkeys(("unsettled", "undelivered", "gone", "configuration_changed", "skipped"), "skipped"),
}

Reclaim = Callable[[str, str], None]


class Slice(NamedTuple):
    """The next members of an operation.

    Attributes:
        members: how many of those offered.
        work: called in the writer's transaction; see `engine.store.operations.bulk.step`.
        payload: bytes that it brings; with any it is not tried while the disk is full.
        pause_s: until the next one; None: as long as it took.
    """

    members: int
    work: Callable[[Batch], Done]
    payload: int = 0
    pause_s: float | None = None


BulkAct = Callable[[Operation, Sequence[Member]], Awaitable[Slice]]


@dataclass(slots=True)
class _Run:
    order: Operation
    position: int
    at_once: int = SLICE
    tries: int = 0
    pause_s: float | None = None


class Operations:
    """The operations of one journal that this process carries out.

    Args:
        reclaim: (channel, destination): rows of a lane became waiting.
        paced: live messages go first; False where this process receives none.
    """

    def __init__(self, journal: Journal, *, reclaim: Reclaim, paced: bool) -> None:
        self._journal = journal
        self._reclaim = reclaim
        self._paced = paced
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._announcing: set[int] = set()

    async def start(
        self,
        act: BulkAct,
        verb: str,
        members: Sequence[Member],
        *,
        last: int,
        counted_us: int,
        actor: str,
        what: dict[str, Any],
    ) -> int:
        """Begin an operation; return its number.

        Raises:
            RefusedError: too many are under way.
        """
        number = await self._journal.run(
            bulk.begin, verb, members, last=last, counted_us=counted_us, actor=actor, what=what
        )
        order = Operation(
            number=number, verb=verb, stage="running", last=last, counted_us=counted_us, total=len(members),
            outcomes={}, actor=str(actor), by=actor.by if isinstance(actor, Actor) else {}, at_us=counted_us, what=what,
        )  # fmt: skip
        self._run(order, act)
        return number

    def take_up(self, acts: Mapping[str, BulkAct]) -> frozenset[int]:
        """Go on with those that the last stop has cut short; return their numbers."""
        found = running_operations(self._journal)
        for order in found:
            if order.verb in acts:
                self._run(order, acts[order.verb])
            else:
                self._run(replace(order, damaged=True, fault="own_row"), acts["retry"])
        return frozenset(order.number for order in found)

    async def wait(self, number: int, within_s: float) -> bool:
        """Whether it ended within ``within_s``; raises the error that it failed with."""
        task = self._tasks.get(number)
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=within_s)
        if done and not task.cancelled():
            task.result()
        return bool(done)

    async def cancel(self, number: int, *, actor: str) -> Operation:
        """End an operation; what it has done so far stays.

        Raises:
            LabRelayError: there is none, or it has ended.
        """
        cancelled = await self._journal.run(bulk.cancel, number, actor=actor)
        found = await asyncio.to_thread(operation_if, self._journal, number)
        if found is None:
            raise LabRelayError(f"there is no operation {number}; `labrelay operations list` has them all")
        if not cancelled:
            raise LabRelayError(f"operation {number} has ended before")
        if number in self._tasks and number not in self._announcing:
            self._tasks[number].cancel()  # it may wait for long
        return found

    async def stop(self) -> None:
        """The process ends; the next start takes them up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, order: Operation, act: BulkAct) -> None:
        task = self._tasks[order.number] = asyncio.create_task(self._carry_out(_Run(order, order.position), act))
        task.add_done_callback(lambda ended: self._ended(order.number, ended))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an operation stopped", extra={"act": number, "detail": type(error).__name__})

    async def _carry_out(self, run: _Run, act: BulkAct) -> None:
        loop = asyncio.get_running_loop()
        number = run.order.number
        while True:
            began = loop.time()
            try:
                members = () if (fault := _fault(run)) else await self._next(run)
                done = await self._step(run, act, members) if members else None
                if done is None:  # it has ended; or a part of it is damaged or lost
                    fault = fault or ("own_row" if members else "letters")
                    if await self._journal.run(bulk.abandon, number, fault):
                        logger.error("an operation has failed", extra={"act": number, "detail": fault})
                    return
            except Exception as error:
                await self._after(error, run)
                continue
            run.at_once, run.tries = SLICE, 0
            self._announcing.add(number)
            for channel, destination in sorted(done.lanes):
                await self._announce(channel, destination)
            self._announcing.discard(number)
            if self._paced:
                await asyncio.sleep(min(loop.time() - began, LONGEST_PAUSE_S) if run.pause_s is None else run.pause_s)

    async def _next(self, run: _Run) -> Sequence[Member]:
        """The next members; none where it has ended, or they are lost or damaged."""
        at_most = min(run.at_once, run.order.total - run.position)
        return await asyncio.to_thread(members_from, self._journal, run.order.number, run.position, at_most)

    async def _step(self, run: _Run, act: BulkAct, members: Sequence[Member]) -> Done | None:
        """Deal with the next members; one that fails again and again is counted as failed."""
        try:
            slice_ = await act(run.order, members) if run.tries < TRIES else Slice(1, bulk.counts("failed"))
        except LeftOutError as left:
            slice_ = Slice(1, bulk.counts(left.outcome))
        done = await self._journal.run(
            bulk.step, run.order.number, run.position, slice_.members, slice_.work, payload=slice_.payload
        )
        run.position += slice_.members
        run.pause_s = slice_.pause_s
        return done

    async def _after(self, error: Exception, run: _Run) -> None:
        """After a step that failed: its members one by one, and each a few times. Nothing of it was stored."""
        if isinstance(error, StoreError) and error.fatal:
            raise error
        if run.at_once > 1:
            run.at_once = 1
            return
        if not isinstance(error, StoreError) or isinstance(
            error, DamagedError | IntegrityError
        ):  # else any member would fail
            run.tries += 1
        logger.warning("a step of an operation failed", extra={"act": run.order.number, "detail": type(error).__name__})
        await asyncio.sleep(TRY_AGAIN_S)

    async def _announce(self, channel: str, destination: str) -> None:
        while True:
            try:
                self._reclaim(channel, destination)
                return
            except StoreError:  # unreadable just now: nothing is lost, and the lane is not announced yet
                await asyncio.sleep(TRY_AGAIN_S)


def _fault(run: _Run) -> Fault:
    """Why an operation cannot go on; empty where it can."""
    if run.order.damaged:  # in whose name, or how far it is, is not known
        return run.order.fault
    return "steps" if run.tries > TRIES else ""


def actor_of(order: Operation) -> Actor:
    """The person who began it, for the audit rows of its steps."""
    return Actor(order.actor, **order.by)


def sums(order: Operation) -> dict[Kind, int]:
    """Members by what became of them."""
    found: dict[Kind, int] = dict.fromkeys(("done", "failed", "skipped"), 0)
    for name, count in order.outcomes.items():
        found[KINDS.get(name, "done")] += count
    return found
