"""One delivery: whether it is still wanted, the attempt, and what follows from the answer."""

import asyncio
from dataclasses import replace
from typing import Any

from engine.delivery.breaker import BreakerState
from engine.delivery.claims import WRITE_RETRY_S
from engine.delivery.lane import Lane
from engine.delivery.lane_memory import logger
from engine.delivery.places import Places
from engine.delivery.retry import Bury, decide
from engine.model.clock import from_us
from engine.model.errors import IntegrityError, RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.model.message import Delivery, LateRefusal
from engine.model.packing import unpack
from engine.model.reasons import Reason
from engine.model.versions import Versions, conditioned, worth_keeping, written

MEMORY_VERSIONS = 20_000  # of resources whose version may not be committed yet; far more than can be under way
OUR_FAULT_ATTEMPTS = 5  # an exception of ours while delivering is tried this often before the delivery is dead


class Attempts(Places):
    """A worker's attempts."""

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        confirmed = False
        back = False  # the delivery waits in memory for another attempt
        try:
            look = lane.may_be_superseded(delivery)
            lane.begun(delivery)
            if look and (how := await self._outbox.overtaken_before_sent(delivery)):
                self.breaker.abandoned(self._clock.monotonic())  # nothing was sent, so nothing was learned
                self._close_overtaken(lane, delivery, whole=how == "whole")
                return
            if look and lane.failing:  # a full disk is read as ever: what was asked about may be what is not written
                raise StoreError("an outcome of the lane is not written yet")
            there = lane.may_be_there_before(delivery)
            if there and await self._outbox.have_in_common(delivery, tuple(there)):
                back = True
                now = self._clock.monotonic()
                self.breaker.abandoned(now)
                lane.delayed.append((max(now + WRITE_RETRY_S, *there.values()), delivery))
                return
            sent = await self._joined(lane, delivery) if delivery.joins and (look or delivery.known_order) else delivery
            sent = await self._conditioned(sent) if self._checks_conflicts else sent
            await self._room()  # the last wait before the last look
            if self._paused or lane.held:  # a person was quicker than this attempt
                back = True
                self.breaker.abandoned(self._clock.monotonic())
                lane.put_back(delivery)
                self._give_up(lane)
                return
            began = self._clock.monotonic()
            versions = await self.destination.deliver(sent)
        except RefusedDeliveryError as error:
            now = self._clock.monotonic()
            self.breaker.heard(now, error, delivery=delivery.id)
            self._look_whether_back(now)
            self._bury(lane, delivery, error.reason, error.detail, error.answer)
        except TransientDeliveryError as error:
            back = self._postpone(lane, delivery, error)
        except asyncio.CancelledError:
            self.breaker.abandoned(self._clock.monotonic())
            self._cut_off.append(delivery.id)
            raise
        except StoreError:
            back = True  # the guard could not be asked, or not answer; nothing was sent
            self.breaker.abandoned(self._clock.monotonic())
            lane.delayed.append((self._clock.monotonic() + WRITE_RETRY_S, delivery))
        except Exception as error:
            logger.exception("delivery failed inside LabRelay", extra=self._names(lane, delivery))
            fault = TransientDeliveryError(Reason.NO_ANSWER, type(error).__name__, limit=OUR_FAULT_ATTEMPTS)
            back = self._postpone(lane, delivery, fault, ours=True)
        else:
            confirmed = True
            now_us = self._clock.now_us()
            ended = self._clock.monotonic()
            self.breaker.succeeded(ended, delivery=delivery.id)
            self._look_whether_back(ended)
            self.counts.seconds.observe(ended - began)
            self.counts.delivered += 1
            self.counts.refused.append(False)
            self.counts.last_delivered_us = now_us
            self._remember(versions or ())
            self._note(
                lane, lambda: self._outbox.settle(delivery.id, delivered_us=now_us, versions=tuple(versions or ()))
            )
            self._ended(lane, delivery, None)
        finally:
            self.in_flight -= 1
            del lane.in_flight[delivery.id]
            if not back:
                self._leave_memory(delivery)
            self._leave(delivery, confirmed=confirmed)
            self._make_ready(lane)
            self._pump()

    def _close_overtaken(self, lane: Lane, delivery: Delivery, *, whole: bool) -> None:
        """Newer messages had it delivered, or part of it: then its other results are nowhere, and a person decides."""
        reason = Reason.SUPERSEDED if whole else Reason.OVERTAKEN
        names = self._names(lane, delivery, reason=reason.value)
        if whole:
            self.counts.superseded += 1
            logger.info("delivery is closed, newer messages have overtaken it", extra=names)
        else:
            logger.warning("delivery is held for a person, newer messages have overtaken it", extra=names)
        self._note(lane, lambda: self._outbox.close_overtaken(delivery.id, whole=whole))
        self._ended(lane, delivery, reason)

    async def _joined(self, lane: Lane, delivery: Delivery) -> Delivery:
        """The delivery with reports that list what the receiver has of them from other messages
        (`engine.store.operations.settling.report_lists`)."""
        try:
            body = await self._outbox.joined(delivery)
        except (IntegrityError, ValueError):
            # Its own: the destination finds the same damage, and says so. An earlier one's: damaged since it was read.
            logger.warning(
                "lists of reports are not joined: a document of its order is damaged", extra=self._names(lane, delivery)
            )
            return delivery
        return delivery if body is None else delivery.with_body(body)

    async def _conditioned(self, delivery: Delivery) -> Delivery:
        """The delivery under the condition that the server has what we wrote last; see `engine.model.versions`.

        Where a person has decided that ours takes the place of what the server has: under the condition that it has
        what they were shown. What somebody has written there since, nobody has decided about.
        """
        shown: dict[str, str] = {}
        if delivery.unconditional:
            shown = await asyncio.to_thread(self._outbox.shown_versions, delivery.id)
            if not shown:
                return delivery
        try:
            body = unpack(delivery.body) if delivery.packed else delivery.body
        except ValueError:
            return delivery  # the destination finds the same damage, and says so
        resources = written(body)
        known = {one: self._versions[one] for one in resources if one in self._versions}
        if unknown := [one for one in resources if one not in known]:
            # What is not committed yet is known here; so a look into what is will do, and nothing waits for the writer.
            known |= await asyncio.to_thread(self._outbox.versions, self.name, unknown)
        known = {one: version for one, version in (known | shown).items() if version}
        return delivery.with_body(conditioned(body, known)) if known else delivery

    def _remember(self, versions: Versions) -> None:
        for resource, version in worth_keeping(versions):
            self._versions.pop(resource, None)
            self._versions[resource] = version
        while len(self._versions) > MEMORY_VERSIONS:
            del self._versions[next(iter(self._versions))]

    def _leave(self, delivery: Delivery, *, confirmed: bool) -> None:
        """Free its conditional keys for the lanes that wait for them."""
        for blocked in self._guard.leave(delivery.conditional, confirmed, now=self._clock.monotonic()):
            assert isinstance(blocked, Lane)
            self._make_ready(blocked)

    def _postpone(self, lane: Lane, delivery: Delivery, error: TransientDeliveryError, *, ours: bool = False) -> bool:
        """Note a failed attempt. True: it stays in memory for the next one; False: it is dead.

        Args:
            ours: the fault is in LabRelay and says nothing about the destination.
        """
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        maybe_delivered = error.reason is Reason.MAYBE_DELIVERED
        if ours or maybe_delivered:
            self.breaker.abandoned(now)
        else:
            self.breaker.heard(now, error, delivery=delivery.id)
        self.counts.failed[error.reason] += 1
        until_us = self._expected(now_us)
        self._note_outage(now, error.reason, until_us)
        self.counts.last_error = (error.reason, now_us)
        attempt = delivery.attempt + 1
        reason, in_a_row = lane.row.get(delivery.id, (error.reason, 0))
        in_a_row = in_a_row + 1 if reason is error.reason else 1
        if until_us is not None and error.reason is Reason.NEGATIVE_ACK:
            in_a_row = 0  # a receiver whose database is away: in its window that says nothing about the document
        verdict = decide(
            error,
            self._retry if until_us is None else self._patient,
            attempt=attempt,
            age=self._age(delivery, now_us),
            jitter=self._jitter(),
            in_a_row=in_a_row,
        )
        if isinstance(verdict, Bury):
            self._bury(lane, delivery, verdict.reason, error.detail, error.answer)
            return False
        delay = verdict.delay
        if until_us is not None and error.retry_after is None:
            # Over with the window: what waits is not to wait for the rest of a long back-off.
            delay = min(delay, (until_us - now_us) / 1e6 + self._jitter() * self._retry.first)
        due_us = now_us + int(delay * 1e6)
        failed = replace(
            delivery,
            attempt=attempt,
            not_before_us=due_us,
            maybe_delivered=delivery.maybe_delivered or maybe_delivered,
        )
        lane.delayed.append((now + delay, failed))
        if self._postponed is not None:
            self._postponed(failed, error.reason)
        lane.failed(delivery, error.reason, in_a_row)
        # The state changed; repeats are counted and shown, not logged.
        if until_us is None and (lane.failure is None or lane.failure.expected):
            logger.warning("delivery postponed", extra=self._names(lane, delivery, reason=error.reason.value))
        lane.failure = lane.trouble(expected=until_us is not None)

        def write() -> "asyncio.Future[Any]":
            written = self._outbox.postpone(
                delivery.id,
                attempt=attempt,
                not_before_us=due_us,
                cause=error.reason,
                detail=error.detail,
                answer=error.answer,
            )
            written.add_done_callback(lambda done: self._unless_closed(lane, delivery.id, done))
            return written

        self._note(lane, write)
        return True

    def _age(self, delivery: Delivery, now_us: int) -> float:
        """How long the destination has had for a delivery, in seconds: its expected downtime does not count."""
        age = max(0.0, (now_us - delivery.received_us) / 1e6)
        if self._retry.give_up_after is None or age < self._retry.give_up_after:
            return age  # nothing depends on it yet, and the windows of years would be looked through
        return age - self._spared(delivery.received_us, now_us) / 1e6

    def _unless_closed(self, lane: Lane, delivery_id: int, done: "asyncio.Future[bool]") -> None:
        """A person may have closed it while its attempt was under way: then there is no next one."""
        if done.cancelled() or done.exception() is not None or done.result() is not False:
            return
        for closed in lane.take(delivery_id):
            self._leave_memory(closed)
        lane.forget(delivery_id)
        self.breaker.ended(delivery_id)
        if lane.failure is not None:
            lane.failure = lane.trouble(expected=lane.failure.expected)
        self._make_ready(lane)
        self._pump()

    def _bury(self, lane: Lane, delivery: Delivery, reason: Reason, detail: str, answer: bytes) -> None:
        self.counts.dead += 1
        self.counts.last_error = (reason, self._clock.now_us())
        if reason is Reason.REFUSED:
            self.counts.refused.append(True)
        if lane.hold_on_dead:
            lane.held = True
            self._give_up(lane)  # a lane that waits for a person keeps no memory from the others
        logger.warning("delivery is dead", extra=self._names(lane, delivery, reason=reason.value))
        hold = lane.hold_on_dead

        def write() -> "asyncio.Future[Any]":
            written = self._outbox.bury(delivery.id, reason=reason, detail=detail, answer=answer, hold_lane=hold)
            if hold:  # an act that looked at the lane's row meanwhile did not find it held yet
                written.add_done_callback(lambda done: setattr(lane, "held", lane.held or done.exception() is None))
            return written

        self._note(lane, write)
        self._ended(lane, delivery, reason)

    def refused_late(self, late: LateRefusal) -> None:
        """The destination refuses what it has accepted: the delivery is a dead letter after all."""
        lane = self.lane(late.channel)
        reason = Reason.REFUSED_LATE
        self.counts.dead += 1
        self.counts.last_error = (reason, self._clock.now_us())
        hold = lane.hold_on_dead
        if hold:
            lane.held = True
            self._give_up(lane)
        logger.warning(
            "delivery was accepted and is refused now",
            extra={"channel": late.channel, "destination": self.name, "delivery_id": late.delivery_id,
                   "reason": reason.value},
        )  # fmt: skip
        self._note(
            lane,
            lambda: self._outbox.refuse_late(late.delivery_id, detail=late.detail, answer=late.answer, hold_lane=hold),
        )

    def _ended(self, lane: Lane, delivery: Delivery, reason: Reason | None) -> None:
        lane.forget(delivery.id)
        self.breaker.ended(delivery.id)
        if lane.failure is not None:
            lane.failure = lane.trouble(expected=lane.failure.expected)
        if self._settled is not None:
            self._settled(delivery, reason)

    def _note_outage(self, now: float, reason: Reason, until_us: int | None) -> None:
        """An attempt has failed: say so once if the destination as a whole is down.

        Args:
            until_us: within a window of expected downtime, its end; then one calm line says it, and the warning
                follows only if the destination is still down after it.
        """
        if until_us is not None and until_us != self._calm_until:
            self._calm_until = until_us
            logger.info(
                "destination fails in its expected downtime",
                extra={
                    "destination": self.name,
                    "reason": reason.value,
                    "until": from_us(until_us).isoformat(timespec="seconds"),
                },
            )
        opened = self._down_since is None and self.breaker.state is BreakerState.OPEN
        if opened:
            self._down_since = now
            self.counts.breaker_opened += 1
        elif self._down_since is not None:
            self._look_whether_back(now)  # a conflict is an answer, too
        if self._down_since is not None and not self._down_said and until_us is None:
            self._down_said = True
            logger.warning("destination is not reachable", extra={"destination": self.name, "reason": reason.value})

    def _look_whether_back(self, now: float) -> None:
        """Say once that the breaker has closed; in between, probes that fail change nothing that anybody must read."""
        if self._down_since is None or self.breaker.state is not BreakerState.CLOSED:
            return
        if self._down_said:
            logger.info(
                "destination is reachable again",
                extra={"destination": self.name, "duration_s": round(now - self._down_since, 1)},
            )
        self._down_since, self._down_said = None, False
        for lane in self.lanes.values():
            if lane.newest_first and lane.spilled:  # what waits in memory is not the newest any more
                self._give_up(lane)
                self._make_ready(lane)
