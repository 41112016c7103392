"""One delivery: the check that it is still wanted, the attempt, and its outcome."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.delivery.before_send import GUARDS
from engine.delivery.events import Setup, logger, names
from engine.delivery.lane import Lane, LaneMemory
from engine.delivery.outcome_writer import WRITE_RETRY_S
from engine.delivery.settlement import ClaimReader, Settlement
from engine.model.errors import HeldBackError, IntegrityError, RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.outbox import decisions

OUR_FAULT_ATTEMPTS = 5  # a delivery with exceptions of ours is tried this often before it is dead


@dataclass(eq=False, slots=True)
class AttemptRunner:
    """Make the attempts of one destination.

    Attributes:
        in_flight: how many are under way.
        paused: no attempt begins, not even those about to.
        tasks: of the attempts.
        cut_off: deliveries whose attempts were cut off by the stop.
    """

    setup: Setup
    memory: LaneMemory
    claims: ClaimReader
    settlement: Settlement
    in_flight: int = 0
    paused: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    cut_off: list[int] = field(default_factory=list)

    def begin(self, lane: Lane, delivery: Delivery) -> None:
        """Begin an attempt; the delivery has its turn and its conditional keys."""
        lane.in_flight[delivery.id] = delivery
        self.in_flight += 1
        self.run(self._deliver(lane, delivery))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it as a task that `stop` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stop(self, grace_s: float) -> None:
        """Wait for attempts under way, and cancel those that take longer."""
        if not self.tasks:
            return
        _, late = await asyncio.wait(self.tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def leave_keys(self, delivery: Delivery, *, confirmed: bool) -> None:
        """Free its conditional keys for the lanes that wait for them."""
        for blocked in self.setup.guard.leave(delivery.conditional, confirmed, now=self.setup.clock.monotonic()):
            assert isinstance(blocked, Lane)
            self.memory.make_ready(blocked)

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        """Guard, attempt, settle."""
        confirmed = False
        back = False  # the delivery waits in memory for another attempt
        try:
            may_be_superseded = lane.may_be_superseded(delivery)
            lane.begun(delivery)
            if may_be_superseded and await self._is_overtaken(lane, delivery):
                return
            sent = await self._guarded(lane, delivery, may_be_superseded)
            if sent is None:
                back = True
                return
            began = self.setup.clock.monotonic()
            versions = await self.setup.destination.deliver(self.setup.events.begun(sent))
        except RefusedDeliveryError as error:
            self.settlement.refused(lane, delivery, error)
        except TransientDeliveryError as error:
            back = self.settlement.failed(lane, delivery, error)
        except asyncio.CancelledError:
            self.setup.breaker.abandoned(self.setup.clock.monotonic())
            self.cut_off.append(delivery.id)
            raise
        except HeldBackError as error:
            hold = partial(self.setup.journal.run, decisions.hold, [delivery.id], ReasonCode.OVERTAKEN, str(error))
            self.settlement.overtaken(lane, delivery, hold, whole=False)
        except StoreError:
            back = True  # the guard failed or could not be called; nothing was sent
            self._wait(lane, delivery)
        except Exception as error:
            logger.exception("delivery failed inside LabRelay", extra=names(self.setup.name, lane, delivery))
            fault = TransientDeliveryError(ReasonCode.NO_ANSWER, type(error).__name__, limit=OUR_FAULT_ATTEMPTS)
            back = self.settlement.failed(lane, delivery, fault, ours=True)
        else:
            confirmed = True
            if self.setup.conditions is not None and versions:
                self.setup.conditions.remember(versions)
            self.settlement.delivered(lane, delivery, versions or (), began)
        finally:
            self.in_flight -= 1
            del lane.in_flight[delivery.id]
            if not back:
                self.memory.leave(delivery)
            self.leave_keys(delivery, confirmed=confirmed)
            self.memory.check(lane)

    async def _is_overtaken(self, lane: Lane, delivery: Delivery) -> bool:
        """Whether newer messages have had its results delivered; then it has ended.

        Raises:
            StoreError: that is unknown now.
        """
        for guard in GUARDS.each():
            if how := await self.setup.journal.run(guard.overtaken, delivery.id):
                whole = how == "whole"
                close = partial(self.setup.journal.run, guard.close, delivery.id, whole=whole)
                self.settlement.overtaken(lane, delivery, close, whole=whole)
                return True
        if lane.failing:  # a full disk stays readable: the answer may be an outcome that is not written yet
            raise StoreError("an outcome of the lane is not written yet")
        return False

    async def _guarded(self, lane: Lane, delivery: Delivery, may_be_superseded: bool) -> Delivery | None:
        """The delivery to send now; None: nothing is sent, the delivery waits in memory.

        Args:
            may_be_superseded: a newer one for the same report may have been delivered before this one.
        """
        there = lane.may_be_there_before(delivery)
        for guard in GUARDS.each() if there else ():
            if await self.setup.journal.run(guard.alike, delivery.id, tuple(there)):
                self._wait(lane, delivery, there.values())
                return None
        sent = (
            await self._joined(lane, delivery)
            if delivery.joins and (may_be_superseded or delivery.known_order)
            else delivery
        )
        if self.setup.conditions is not None:
            sent = await self.setup.conditions.put_on(sent)
        if (proof := self.setup.unproven(delivery)) is not None:
            await proof
        if self.paused or lane.held:  # a person was quicker than this attempt
            self.setup.breaker.abandoned(self.setup.clock.monotonic())
            lane.put_back(delivery)
            self.claims.give_up(lane)
            return None
        return sent

    def _wait(self, lane: Lane, delivery: Delivery, until: Iterable[float] = ()) -> None:
        """Let the delivery wait without sending: `WRITE_RETRY_S` at least, and until the last of these instants."""
        now = self.setup.clock.monotonic()
        self.setup.breaker.abandoned(now)
        lane.delayed.append((max((now + WRITE_RETRY_S, *until)), delivery))

    async def _joined(self, lane: Lane, delivery: Delivery) -> Delivery:
        """The delivery with complete report lists, including results that the receiver has from other messages."""
        try:
            bodies = [await self.setup.journal.run(guard.joined, delivery.id) for guard in GUARDS.each()]
        except (IntegrityError, ValueError):
            # If it is this document, the destination finds the same damage and reports it. If an earlier one: it was
            # damaged since it was read.
            logger.warning(
                "lists of reports are not joined: a document of its order is damaged",
                extra=names(self.setup.name, lane, delivery),
            )
            return delivery
        body = next((one for one in bodies if one is not None), None)
        return delivery if body is None else delivery.with_body(body)
