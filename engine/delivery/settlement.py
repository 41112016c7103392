"""Settle an attempt: count, log and write its outcome, and schedule the next attempt.

Why a destination cannot be reached, in the few words that say whom to ask: from the system's own error. Pure.

The words are the same whatever the destination speaks; an attempt that failed in another way has none, and its reason
code says more.

Outages of a destination: logged once when one begins, and once when it is over.

Claim rows of the outbox in order, and give them back where a lane must be claimed anew.
"""

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from engine.delivery.breaker import Breaker, BreakerState
from engine.delivery.events import DestinationCounts, Setup, logger, names
from engine.delivery.lane import CLAIM_AT_ONCE, Lane, LaneMemory
from engine.delivery.outcome_writer import WRITE_RETRY_S, OutcomeWriter, Write
from engine.delivery.retry import RetryPolicy, decide
from engine.model.errors import DeliveryError, RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.model.message import Delivery, LateRefusal
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_
from engine.model.texts.reasons import ReasonCode
from engine.model.versions import Versions
from engine.store.operations.outbox import attempts, claims

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class ClaimReader:
    """Read a destination's waiting rows from the store into its lanes.

    Attributes:
        pending: claims that the store has not answered yet.
    """

    setup: Setup
    memory: LaneMemory
    outcomes: OutcomeWriter
    pending: set[asyncio.Future[Any]] = field(default_factory=set)

    def claim(self, lane: Lane) -> None:
        """Claim the lane's next rows from the store, if it has any and memory has room."""
        memory = self.memory
        if not lane.may_claim or (memory.full and not lane.drained):
            return
        # A lane with nothing in memory may always load one: others with long waits must not starve it.
        limit = 1 if memory.full else min(CLAIM_AT_ONCE, memory.room)
        seen = lane.refused
        if lane.recalled:
            lane.recalled, lane.newest = False, 0
        memory.deliveries += limit  # until their number is known
        run, of = self.setup.journal.run, (lane.channel, self.setup.name, limit)
        claimed = partial(self._claimed, lane, seen, limit)
        if lane.newest_first:
            here = (*lane.in_flight, *(delivery.id for _, delivery in lane.delayed))
            self._ask(lane, limit, lambda: run(claims.claim_newest, *of, without=here), claimed)
        else:
            after, hold = lane.newest, lane.hold_on_dead
            self._ask(lane, limit, lambda: run(claims.claim, *of, after=after, hold=hold), claimed)

    def _ask(
        self, lane: Lane, limit: int, question: Callable[[], "asyncio.Future[T]"], answered: Callable[[T], None]
    ) -> None:
        """Ask the store about a lane; nothing else is claimed for it until the answer is here."""
        lane.claiming = True
        try:
            future = question()
        except StoreError as error:
            self._failed(lane, limit, error)
            return
        self.pending.add(future)
        future.add_done_callback(lambda done: self._heard(lane, limit, answered, done))

    def _heard(self, lane: Lane, limit: int, answered: Callable[[T], None], done: "asyncio.Future[T]") -> None:
        self.pending.discard(done)
        if (error := done.exception()) is not None:
            self._failed(lane, limit, error)
            return
        lane.claiming = False
        answered(done.result())

    def give_up(self, lane: Lane) -> None:
        """Give back the lane's deliveries in memory; all are to be claimed anew."""
        waiting = lane.take_all()
        lane.spilled = lane.recalled = True
        lane.refused += 1
        for delivery in waiting:
            self.memory.leave(delivery)
        if waiting:
            run, ids = self.setup.journal.run, [delivery.id for delivery in waiting]
            self.outcomes.write(lane, lambda: run(claims.unclaim, ids))

    def _claimed(self, lane: Lane, seen: int, limit: int, deliveries: list[Delivery]) -> None:
        self.outcomes.store_works()
        self.memory.deliveries += len(deliveries) - limit
        now, now_us = self.setup.clock.monotonic(), self.setup.clock.now_us()
        for delivery in deliveries:
            lane.newest = delivery.seq
            self.memory.bytes += len(delivery.body)
            wait_s = (delivery.not_before_us - now_us) / 1e6
            if wait_s > 0 and not lane.hasty:
                # The wall clock may have jumped; no wait from a row is longer than the policy's longest.
                lane.delayed.append((now + min(wait_s, self.setup.retry.max), delivery))
                lane.failure = lane.trouble(expected=self.setup.downtime.until_us(now_us) is not None)
            elif lane.newest_first:
                lane.put_back(delivery)
            else:
                lane.queue.append(delivery)
        if lane.recalled:  # while they were on their way
            self.give_up(lane)
        # Only an empty claim ends the backlog: a claim is cut short by bytes, too. A held lane returns nothing.
        if not deliveries and lane.hold_on_dead and not lane.held:  # where a damaged document holds it, more waits
            run, of = self.setup.journal.run, (lane.channel, self.setup.name)
            self._ask(lane, 0, lambda: run(claims.is_held, *of), partial(self._held_known, lane, seen))
            return
        if not deliveries and lane.refused == seen and not lane.held:
            lane.spilled = lane.hasty = False
        if deliveries or lane.spilled:
            self.memory.check(lane)

    def _held_known(self, lane: Lane, seen: int, held: bool) -> None:
        if held:
            lane.held = True
            self.give_up(lane)
        elif lane.refused == seen:
            lane.spilled = lane.hasty = False
        if lane.spilled:
            self.memory.check(lane)

    def _failed(self, lane: Lane, limit: int, error: BaseException) -> None:
        self.memory.deliveries -= limit
        self.outcomes.store_fails(error)
        if not (isinstance(error, StoreError) and error.fatal):
            asyncio.get_running_loop().call_later(WRITE_RETRY_S, self._claim_again, lane)

    def _claim_again(self, lane: Lane) -> None:
        lane.claiming = False
        self.memory.check(lane)


class Outage:
    """Log when a destination goes down and comes back; failed probes in between are not logged.

    Args:
        back: called when the destination is up again.
    """

    def __init__(self, destination: str, breaker: Breaker, counts: DestinationCounts, back: Callable[[], None]) -> None:
        self._destination = destination
        self._breaker = breaker
        self._counts = counts
        self._back = back
        self._down_since: float | None = None  # when the breaker left its closed state ...
        self._down_said = False  # ... and whether a warning was logged: not in a window of expected downtime
        self._calm_until: int | None = None  # the window of expected downtime in which failures were last noted

    def attempt_failed(self, now: float, reason: ReasonCode, until_us: int | None) -> None:
        """Log once if the destination as a whole is down. The breaker has recorded the attempt before.

        Args:
            until_us: the end of the present window of expected downtime; then one calm line is logged, and the warning
                follows only if the destination is still down after it.
        """
        if until_us is not None and until_us != self._calm_until:
            self._calm_until = until_us
            logger.info(
                "destination fails in its expected downtime",
                extra={
                    "destination": self._destination,
                    "reason": reason.value,
                    "until": from_us(until_us).isoformat(timespec="seconds"),
                },
            )
        if self._down_since is not None:
            self.answered(now)  # a conflict is an answer, too
        elif self._breaker.state is BreakerState.OPEN:
            self._down_since = now
            self._counts.breaker_opened += 1
        if self._down_since is not None and not self._down_said and until_us is None:
            self._down_said = True
            logger.warning(
                "destination is not reachable", extra={"destination": self._destination, "reason": reason.value}
            )

    def answered(self, now: float) -> None:
        """The destination has answered; if that closed the breaker, it is back."""
        if self._down_since is None or self._breaker.state is not BreakerState.CLOSED:
            return
        if self._down_said:
            logger.info(
                "destination is reachable again",
                extra={"destination": self._destination, "duration_s": round(now - self._down_since, 1)},
            )
        self._down_since, self._down_said = None, False
        self._back()


@dataclass(eq=False, slots=True)
class Settlement:
    """Settle, postpone or bury the deliveries of one destination."""

    setup: Setup
    memory: LaneMemory
    outcomes: OutcomeWriter
    claims: ClaimReader
    counts: DestinationCounts
    outage: Outage = field(init=False)
    patient: RetryPolicy = field(init=False)

    def __post_init__(self) -> None:
        self.outage = Outage(self.setup.name, self.setup.breaker, self.counts, self._claim_the_newest)
        self.patient = replace(self.setup.retry, give_up_after=None)

    def delivered(self, lane: Lane, delivery: Delivery, versions: Versions, began: float) -> None:
        """The destination has taken it.

        Args:
            began: monotonic instant of the attempt's begin.
        """
        now, now_us = self.setup.clock.monotonic(), self.setup.clock.now_us()
        self.setup.breaker.succeeded(now, delivery=delivery.id)
        self.outage.answered(now)
        self.counts.seconds.observe(now - began)
        self.counts.delivered += 1
        self.counts.refused.append(False)
        self.counts.last_delivered_us = now_us
        settle = attempts.settle_at_once if lane.fed else attempts.settle
        self.outcomes.write(lane, lambda: self.setup.journal.run(settle, delivery.id, now_us, tuple(versions)))
        self._ended(lane, delivery, None)

    def refused(self, lane: Lane, delivery: Delivery, error: RefusedDeliveryError) -> None:
        """The destination refuses it for good."""
        now = self.setup.clock.monotonic()
        self.setup.breaker.heard(now, error, delivery=delivery.id)
        self.outage.answered(now)
        self._bury(lane, delivery, error.reason, error.detail, error.answer)

    def overtaken(self, lane: Lane, delivery: Delivery, close: Write, *, whole: bool) -> None:
        """Newer messages had it delivered, or a part of it: then its other results are nowhere, and a person
        decides.
        """
        self.setup.breaker.abandoned(self.setup.clock.monotonic())  # nothing was sent: nothing is known
        reason = ReasonCode.SUPERSEDED if whole else ReasonCode.OVERTAKEN
        said = names(self.setup.name, lane, delivery, reason)
        if whole:
            logger.info("delivery is closed, newer messages have overtaken it", extra=said)
        else:
            logger.warning("delivery is held for a person, newer messages have overtaken it", extra=said)
        self.outcomes.write(lane, close)
        self._ended(lane, delivery, reason)

    def failed(self, lane: Lane, delivery: Delivery, error: TransientDeliveryError, *, ours: bool = False) -> bool:
        """Record a failed attempt. True: it stays in memory for the next one; False: it is dead.

        Args:
            ours: the error is in LabRelay and proves nothing about the destination.
        """
        now, now_us = self.setup.clock.monotonic(), self.setup.clock.now_us()
        maybe_delivered = error.reason is ReasonCode.MAYBE_DELIVERED
        if ours or maybe_delivered:
            self.setup.breaker.abandoned(now)
        else:
            self.setup.breaker.heard(now, error, delivery=delivery.id)
        self.counts.failed[error.reason] += 1
        until_us = self.setup.downtime.until_us(now_us)
        self.outage.attempt_failed(now, error.reason, until_us)
        self.counts.last_error = (error.reason, now_us, away_of(error))
        attempt = delivery.attempt + 1
        reason, in_a_row = lane.row.get(delivery.id, (error.reason, 0))
        in_a_row = in_a_row + 1 if reason is error.reason else 1
        if until_us is not None and error.reason is ReasonCode.NEGATIVE_ACK:
            in_a_row = 0  # a receiver without its database: in its window that proves nothing about the document
        delay = decide(
            error,
            self.setup.retry if until_us is None else self.patient,
            attempt=attempt,
            age=self._age(delivery, now_us),
            jitter=self.setup.jitter(),
            in_a_row=in_a_row,
        )
        if isinstance(delay, ReasonCode):
            self._bury(lane, delivery, delay, error.detail, error.answer)
            return False
        if until_us is not None and error.retry_after is None:
            # It ends with the window: waiting deliveries need not wait for the rest of a long back-off.
            delay = min(delay, (until_us - now_us) / 1e6 + self.setup.jitter() * self.setup.retry.first)
        again = replace(
            delivery,
            attempt=attempt,
            not_before_us=now_us + int(delay * 1e6),
            maybe_delivered=delivery.maybe_delivered or maybe_delivered,
        )
        lane.delayed.append((now + delay, again))
        self.setup.events.postponed(again, error.reason)
        lane.failed(delivery, error.reason, in_a_row)
        # The state changed; repeats are counted and shown, not logged.
        if until_us is None and (lane.failure is None or lane.failure.expected):
            logger.warning("delivery postponed", extra=names(self.setup.name, lane, delivery, error.reason))
        lane.failure = lane.trouble(expected=until_us is not None)
        self._write_postponed(lane, again, error)
        return True

    def refused_late(self, late: LateRefusal) -> None:
        """The destination refuses a document that it had accepted: the delivery becomes a dead letter after all."""
        lane = self.memory.lane(late.channel)
        hold = self._record_dead(lane, ReasonCode.REFUSED_LATE)
        logger.warning(
            "delivery was accepted and is refused now",
            extra={"channel": late.channel, "destination": self.setup.name, "delivery_id": late.delivery_id,
                   "reason": ReasonCode.REFUSED_LATE.value},
        )  # fmt: skip
        run, about = self.setup.journal.run, (late.delivery_id, late.detail, late.answer)
        self.outcomes.write(lane, lambda: run(attempts.refuse_late, *about, hold_lane=hold))

    def _age(self, delivery: Delivery, now_us: int) -> float:
        """How long the destination has had for a delivery, in seconds, without its expected downtime."""
        age = max(0.0, (now_us - delivery.received_us) / 1e6)
        if self.setup.retry.give_up_after is None or age < self.setup.retry.give_up_after:
            return age  # nothing depends on it yet, and the windows of years would be searched
        return age - self.setup.downtime.spared_us(delivery.received_us, now_us) / 1e6

    def _write_postponed(self, lane: Lane, again: Delivery, error: TransientDeliveryError) -> None:
        def write() -> "asyncio.Future[Any]":
            written = self.setup.journal.run(
                attempts.postpone,
                again.id,
                attempt=again.attempt,
                not_before_us=again.not_before_us,
                cause=error.reason,
                detail=error.detail,
                answer=error.answer,
            )
            written.add_done_callback(lambda done: self._unless_closed(lane, again.id, done))
            return written

        self.outcomes.write(lane, write)

    def _unless_closed(self, lane: Lane, delivery_id: int, done: "asyncio.Future[bool]") -> None:
        """A person may have closed it while its attempt was under way: then there is no next one."""
        if done.cancelled() or done.exception() is not None or done.result() is not False:
            return
        for closed in lane.take(delivery_id):
            self.memory.leave(closed)
        self._forget(lane, delivery_id)
        self.memory.check(lane)

    def _bury(self, lane: Lane, delivery: Delivery, reason: ReasonCode, detail: str, answer: bytes) -> None:
        if reason is ReasonCode.REFUSED:
            self.counts.refused.append(True)
        hold = self._record_dead(lane, reason)
        logger.warning("delivery is dead", extra=names(self.setup.name, lane, delivery, reason))

        def write() -> "asyncio.Future[Any]":
            written = self.setup.journal.run(attempts.bury, delivery.id, reason, detail, answer, hold_lane=hold)
            if hold:  # an action that read the lane's row meanwhile did not find it held yet
                written.add_done_callback(lambda done: setattr(lane, "held", lane.held or done.exception() is None))
            return written

        self.outcomes.write(lane, write)
        self._ended(lane, delivery, reason)

    def _record_dead(self, lane: Lane, reason: ReasonCode) -> bool:
        """Remember the error of a dead letter; return whether it holds its lane."""
        self.counts.last_error = (reason, self.setup.clock.now_us(), "")
        if lane.hold_on_dead:
            lane.held = True
            self.claims.give_up(lane)  # a lane that waits for a person keeps no memory from the others
        return lane.hold_on_dead

    def _ended(self, lane: Lane, delivery: Delivery, reason: ReasonCode | None) -> None:
        self._forget(lane, delivery.id)
        self.setup.events.settled(delivery, reason)

    def _forget(self, lane: Lane, delivery_id: int) -> None:
        """Forget a delivery without a next attempt."""
        lane.forget(delivery_id)
        self.setup.breaker.ended(delivery_id)
        if lane.failure is not None:
            lane.failure = lane.trouble(expected=lane.failure.expected)

    def _claim_the_newest(self) -> None:
        """The destination is back: lanes that send the newest first must claim anew, since newer rows may be in the
        store.
        """
        for lane in self.memory.lanes.values():
            if lane.newest_first and lane.spilled:
                self.claims.give_up(lane)
                self.memory.make_ready(lane)


REFUSED, NO_NAME, TLS, TIMED_OUT = N_(("connection refused", "host name unknown", "TLS failed", "timed out"))
AWAY = (REFUSED, NO_NAME, TLS, TIMED_OUT)
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, REFUSED),
    (socket.gaierror, NO_NAME),
    (UnicodeError, NO_NAME),  # a name that is none
    (ssl.SSLError, TLS),
    (ssl.CertificateError, TLS),
    (TimeoutError, TIMED_OUT),
)
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def away_of(error: DeliveryError) -> str:
    """One of `AWAY`, or empty."""
    at: BaseException | None = error
    found = error.away
    while at is not None and not found:
        found = next((words for kind, words in _KINDS if isinstance(at, kind)), "")
        if not found and type(at) is OSError and set(_NUMBER.findall(str(at))) == {str(errno.ECONNREFUSED)}:
            found = REFUSED  # by each address of the host
        at = at.__cause__
    return found
