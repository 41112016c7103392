"""What goes out: a destination's worker claims deliveries and says what became of them
(`engine.store.operations.outbox`)."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from engine.model.message import Delivery
from engine.model.reasons import ReasonCode
from engine.model.versions import Versions
from engine.store.journal.submitting import Submitting
from engine.store.operations import hold_queue, superseding
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.operations.settling import report_lists


class Outgoing(Submitting):
    """Deliveries, as their workers see them."""

    def settle(self, delivery_id: int, *, delivered_us: int, versions: Versions = ()) -> "asyncio.Future[None]":
        """It was delivered; ``versions`` of our resources are what the server has now."""
        operation = partial(attempts.settle, delivery_id=delivery_id, delivered_us=delivered_us, versions=versions)
        return self._submit(operation, verdict=True, patient=True)

    def postpone(
        self,
        delivery_id: int,
        *,
        attempt: int,
        not_before_us: int,
        cause: ReasonCode,
        detail: str = "",
        answer: bytes = b"",
    ) -> "asyncio.Future[bool]":
        """An attempt failed; the delivery waits until ``not_before_us``, in its place in the lane. False: somebody has
        closed it meanwhile.

        Args:
            attempt: how many attempts have failed so far, this one included.
        """
        operation = partial(
            attempts.postpone,
            delivery_id=delivery_id,
            attempt=attempt,
            not_before_us=not_before_us,
            cause=cause,
            detail=detail,
            answer=answer,
        )
        return self._submit(operation, verdict=True)

    def bury(
        self, delivery_id: int, *, reason: ReasonCode, detail: str = "", answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[None]":
        """No further attempt: a dead letter. ``hold_lane``: nothing behind it goes out until it is decided about."""
        operation = partial(
            attempts.bury, delivery_id=delivery_id, reason=reason, detail=detail, answer=answer, hold_lane=hold_lane
        )
        return self._submit(operation, verdict=True)

    def refuse_late(
        self, delivery_id: int, *, detail: str, answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[bool]":
        """What was delivered is refused: a dead letter after all (`outbox.attempts`). False: nothing was changed."""
        operation = partial(
            attempts.refuse_late, delivery_id=delivery_id, detail=detail, answer=answer, hold_lane=hold_lane
        )
        return self._submit(operation, verdict=True)

    def claim(
        self, channel: str, destination: str, limit: int, *, after: int = 0, hold: bool = False
    ) -> "asyncio.Future[list[Delivery]]":
        """The next waiting deliveries of a lane in its order, with their bodies, under our lease (`outbox.claims`)."""
        operation = partial(claims.claim, channel=channel, destination=destination, limit=limit, after=after, hold=hold)
        return self._submit(operation, verdict=True)

    def is_held(self, channel: str, destination: str) -> "asyncio.Future[bool]":
        """Whether a dead letter holds a lane."""
        return self._submit(partial(claims.is_held, channel=channel, destination=destination), verdict=True)

    def claim_newest(
        self, channel: str, destination: str, limit: int, *, without: Iterable[int]
    ) -> "asyncio.Future[list[Delivery]]":
        """As `claim`, the newest first: `outbox.claims.claim_newest`."""
        operation = partial(
            claims.claim_newest, channel=channel, destination=destination, limit=limit, without=tuple(without)
        )
        return self._submit(operation, verdict=True)

    def unclaim(self, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> "asyncio.Future[int]":
        """Give back claims that were not tried (or, ``maybe_delivered``, whose attempt was cut off); how many."""
        operation = partial(claims.unclaim, delivery_ids=tuple(delivery_ids), maybe_delivered=maybe_delivered)
        return self._submit(operation, verdict=True)

    def overtaken_before_sent(self, delivery: Delivery) -> "asyncio.Future[superseding.Overtaken]":
        """How much of a delivery's results newer messages have had delivered in its lane."""
        return self._submit(partial(superseding.overtaken_before_sent, delivery_id=delivery.id), verdict=True)

    def joined(self, delivery: Delivery) -> "asyncio.Future[bytes | None]":
        """A delivery's document with the lists of its reports joined (`engine.store.operations.settling.report_lists`);
        None: as it is stored."""
        return self._submit(partial(report_lists.join, delivery_id=delivery.id), verdict=True)

    def have_in_common(self, delivery: Delivery, others: Sequence[int]) -> "asyncio.Future[bool]":
        """Whether a delivery tells results that one of ``others`` tells, too; also where nobody can tell."""
        operation = partial(superseding.have_in_common, delivery_id=delivery.id, others=tuple(others))
        return self._submit(operation, verdict=True)

    def supersede(self, delivery_ids: Iterable[int], *, detail: str = "") -> "asyncio.Future[int]":
        """Close deliveries that a newer result has made wrong; how many."""
        return self._submit(partial(decisions.supersede, delivery_ids=tuple(delivery_ids), detail=detail), verdict=True)

    def close_overtaken(self, delivery_id: int, *, whole: bool) -> "asyncio.Future[int]":
        """Close what newer messages have overtaken, or (not ``whole``) keep it for a person; how many."""
        return self._submit(partial(hold_queue.close_overtaken, delivery_id=delivery_id, whole=whole), verdict=True)

    def hold(self, delivery_ids: Iterable[int], *, cause: ReasonCode = ReasonCode.LANE_HELD) -> "asyncio.Future[int]":
        """Keep single deliveries back until a person decides; how many."""
        return self._submit(partial(decisions.hold, delivery_ids=tuple(delivery_ids), cause=cause), verdict=True)
