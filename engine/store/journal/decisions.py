"""What people decide, each recorded in the transaction that does it, and the rows of their acts
(`engine.store.operations.audit`)."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from engine.model.reasons import ReasonCode
from engine.model.records import Target
from engine.store.core.batch import Batch
from engine.store.journal.submitting import Submitting
from engine.store.lifecycle import erasure
from engine.store.operations import audit, hold_queue, number_bearers, pauses, record_outcome, replays
from engine.store.operations.outbox import decisions, queueing


class Decisions(Submitting):
    """Decisions and acts of people."""

    def release(
        self, deliveries: Iterable[int], *, actor: str, reason: str
    ) -> "asyncio.Future[tuple[dict[str, int], set[tuple[str, str]]]]":
        """A named person lets held deliveries go: what became of them, and the lanes that have new work.

        Recorded in the same transaction; see `engine.store.operations.hold_queue.release`.
        """
        return self._submit(partial(_release, deliveries=tuple(deliveries), actor=actor, reason=reason), verdict=True)

    def tell_apart(self, message: int, *, same: bool) -> "asyncio.Future[tuple[list[int], dict[bytes, int]]]":
        """A person says whose a message is that is held for its patient number
        (`engine.store.operations.number_bearers.answer`)."""
        return self._submit(partial(number_bearers.answer, message_id=message, same=same), verdict=True)

    def reject(self, deliveries: Iterable[int], *, actor: str, reason: str) -> "asyncio.Future[dict[str, int]]":
        """A named person decides that held deliveries are never made. Recorded in the same transaction."""
        operation = partial(hold_queue.reject, deliveries=tuple(deliveries), actor=actor, reason=reason)
        return self._submit(operation, verdict=True)

    def requeue(
        self, delivery_ids: Iterable[int], *, manual: bool = True, unconditional: bool = False
    ) -> "asyncio.Future[int]":
        """Dead deliveries wait again, in their old places; how many (`outbox.decisions.requeue`)."""
        operation = partial(
            decisions.requeue, delivery_ids=tuple(delivery_ids), manual=manual, unconditional=unconditional
        )
        return self._submit(operation, verdict=True)

    def dismiss(
        self,
        *,
        messages: Iterable[int] = (),
        deliveries: Iterable[int] = (),
        actor: str,
        reason: str,
    ) -> "asyncio.Future[int]":
        """A named person decides that these need nothing more; how many changed. Recorded in the same transaction."""
        return self._submit(
            partial(_dismiss, messages=tuple(messages), deliveries=tuple(deliveries), actor=actor, reason=reason),
            verdict=True,
        )

    def set_aside(self, delivery: int, *, correction: bool, actor: str, reason: str) -> "asyncio.Future[bool]":
        """A named person takes a delivery out of its lane's way; False: it did not wait any more. Recorded in the same
        transaction.

        Args:
            correction: it corrects or withdraws what the destination has, or nothing tells whether it does.
        """
        operation = partial(_set_aside, delivery=delivery, correction=correction, actor=actor, reason=reason)
        return self._submit(operation, verdict=True)

    def erase(
        self, messages: Sequence[int], numbers: Sequence[str], *, actor: str, reason: str, more: dict[str, Any]
    ) -> "asyncio.Future[erasure.Erased]":
        """Erase what is stored of these messages. Recorded in the same transaction; see
        `engine.store.lifecycle.erasure.erase`."""
        operation = partial(
            erasure.erase, messages=tuple(messages), numbers=tuple(numbers), actor=actor, reason=reason, more=more
        )
        return self._submit(operation, verdict=True)

    def replay(
        self, message_ids: Iterable[int], *, destinations: Iterable[str] | None = None
    ) -> "asyncio.Future[list[int]]":
        """Deliver the stored documents of messages again: new deliveries with the old keys, marked manual."""
        operation = partial(
            queueing.replay,
            message_ids=tuple(message_ids),
            destinations=None if destinations is None else frozenset(destinations),
        )
        return self._submit(operation)

    def replay_begin(self, *, actor: str, what: dict[str, Any], total: int, last: int) -> "asyncio.Future[int]":
        """Note a replay that is about to start; its number, which is that of its act
        (`engine.store.operations.replays`)."""
        return self._submit(partial(replays.begin, actor=actor, what=what, total=total, last=last), verdict=True)

    def replay_step(
        self,
        number: int,
        messages: Sequence[int],
        *,
        destinations: frozenset[str] | None,
        to: str,
        takes: str,
        states: frozenset[str],
        failed: int = 0,
    ) -> "asyncio.Future[replays.Step]":
        """Queue the next messages of a replay and move its position behind them, both or neither."""
        operation = partial(
            replays.step,
            number=number,
            messages=tuple(messages),
            destinations=destinations,
            to=to,
            takes=takes,
            states=states,
            failed=failed,
        )
        return self._submit(operation, verdict=True, patient=True)

    def replay_end(self, number: int, act: int, outcome: dict[str, Any]) -> "asyncio.Future[None]":
        """A replay has come to its end, and so has the act."""
        return self._submit(partial(_replay_end, number=number, act=act, outcome=outcome), verdict=True)

    def replay_forget(self, number: int, *, actor: str) -> "asyncio.Future[None]":
        """Nobody takes a replay up again. Recorded in the same transaction."""
        return self._submit(partial(_replay_forget, number=number, actor=actor), verdict=True)

    def pause(self, target: Target, *, actor: str, reason: str) -> "asyncio.Future[int | None]":
        """A person pauses a channel, destination or lane; kept over restarts. The act's number, as `pauses.pause`."""
        return self._submit(partial(pauses.pause, target=target, actor=actor, reason=reason), verdict=True)

    def resume(self, target: Target, *, actor: str, reason: str) -> "asyncio.Future[int | None]":
        """Let go on what was paused; the act's number, as `pauses.resume`."""
        return self._submit(partial(pauses.resume, target=target, actor=actor, reason=reason), verdict=True)

    def release_lane(self, channel: str, destination: str) -> "asyncio.Future[None]":
        """Let a lane go on that a dead delivery holds."""
        return self._submit(partial(decisions.release_lane, channel=channel, destination=destination), verdict=True)

    def act(self, actor: str, verb: str, what: dict[str, Any]) -> "asyncio.Future[int]":
        """Store an act before it starts; its id, for `act_done`."""
        return self._submit(partial(audit.begin, actor=actor, verb=verb, what=what), verdict=True)

    def act_done(self, act: int, outcome: dict[str, Any] | None = None) -> "asyncio.Future[int]":
        """Store how an act ended."""
        return self._submit(partial(audit.end, act=act, outcome=outcome or {}), verdict=True)

    def act_note(self, actor: str, verb: str, what: dict[str, Any]) -> "asyncio.Future[int]":
        """Store an act that needs no second row (a payload was shown, the daemon started)."""
        return self._submit(partial(audit.note, actor=actor, verb=verb, what=what), verdict=True)


def _release(
    batch: Batch, *, deliveries: tuple[int, ...], actor: str, reason: str
) -> tuple[dict[str, int], set[tuple[str, str]]]:
    lanes: set[tuple[str, str]] = set()
    return hold_queue.release(batch, deliveries, actor=actor, reason=reason, lanes=lanes), lanes


def _replay_end(batch: Batch, *, number: int, act: int, outcome: dict[str, Any]) -> None:
    replays.end(batch, number)
    audit.end(batch, act, outcome)


def _replay_forget(batch: Batch, *, number: int, actor: str) -> None:
    replays.end(batch, number)
    audit.note(batch, actor, "replay", {"given_up": number})


def _set_aside(batch: Batch, *, delivery: int, correction: bool, actor: str, reason: str) -> bool:
    cause = ReasonCode.CORRECTION_SET_ASIDE if correction else ReasonCode.SET_ASIDE
    done = decisions.set_aside(batch, delivery, cause, f"set aside by {actor}: {reason}")
    if done:
        concerned = sorted(decisions.messages_of(batch, [delivery]))
        what = {"messages": concerned, "deliveries": [delivery], "reason": reason, "correction": correction}
        audit.note(batch, actor, "set-aside", what)
    return done


def _dismiss(batch: Batch, *, messages: tuple[int, ...], deliveries: tuple[int, ...], actor: str, reason: str) -> int:
    changed = record_outcome.dismiss(batch, messages, reason) + decisions.dismiss(batch, deliveries, reason)
    concerned = sorted({*messages, *decisions.messages_of(batch, deliveries)})
    what = {
        "messages": concerned, "whole": messages, "deliveries": deliveries, "reason": reason, "changed": changed,
    }  # fmt: skip
    audit.note(batch, actor, "dismiss", what)
    return changed
