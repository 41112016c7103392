"""Deliveries, as their workers ask for them (`engine.delivery.outbox_port`)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from engine.model.message import Delivery
from engine.model.reasons import ReasonCode
from engine.model.versions import Versions
from engine.store.core.batch import Batch
from engine.store.operations import hold_queue, superseding
from engine.store.operations.outbox import attempts, claims
from engine.store.operations.settling import report_lists
from engine.store.queries import Reader

T = TypeVar("T")
P = ParamSpec("P")


class Outgoing(Reader):
    """Deliveries, as their workers see them."""

    def run(
        self, function: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """See `engine.store.journal.Journal.run`."""
        raise NotImplementedError

    def settle(self, delivery_id: int, *, delivered_us: int, versions: Versions = ()) -> "asyncio.Future[None]":
        return self.run(attempts.settle, delivery_id, delivered_us, versions)

    def postpone(self, delivery_id: int, **more: Any) -> "asyncio.Future[bool]":
        return self.run(attempts.postpone, delivery_id, **{"detail": "", "answer": b"", **more})

    def bury(
        self, delivery_id: int, *, reason: ReasonCode, detail: str = "", answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[None]":
        return self.run(attempts.bury, delivery_id, reason, detail, answer, hold_lane=hold_lane)

    def refuse_late(
        self, delivery_id: int, *, detail: str, answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[bool]":
        return self.run(attempts.refuse_late, delivery_id, detail, answer, hold_lane=hold_lane)

    def claim(
        self, channel: str, destination: str, limit: int, *, after: int = 0, hold: bool = False
    ) -> "asyncio.Future[list[Delivery]]":
        return self.run(claims.claim, channel, destination, limit, after=after, hold=hold)

    def is_held(self, channel: str, destination: str) -> "asyncio.Future[bool]":
        return self.run(claims.is_held, channel, destination)

    def claim_newest(
        self, channel: str, destination: str, limit: int, *, without: Iterable[int]
    ) -> "asyncio.Future[list[Delivery]]":
        return self.run(claims.claim_newest, channel, destination, limit, without=tuple(without))

    def unclaim(self, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> "asyncio.Future[int]":
        return self.run(claims.unclaim, tuple(delivery_ids), maybe_delivered=maybe_delivered)

    def overtaken_before_sent(self, delivery: Delivery) -> "asyncio.Future[superseding.Overtaken]":
        return self.run(superseding.overtaken_before_sent, delivery.id)

    def joined(self, delivery: Delivery) -> "asyncio.Future[bytes | None]":
        return self.run(report_lists.join, delivery.id)

    def have_in_common(self, delivery: Delivery, others: Sequence[int]) -> "asyncio.Future[bool]":
        return self.run(superseding.have_in_common, delivery.id, tuple(others))

    def close_overtaken(self, delivery_id: int, *, whole: bool) -> "asyncio.Future[int]":
        return self.run(hold_queue.close_overtaken, delivery_id, whole=whole)
