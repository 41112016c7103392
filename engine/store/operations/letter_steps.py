"""The steps of operations on letters (`engine.store.operations.bulk`): retry, dismiss, release, reject.

Each leaves alone what is no longer as it was when a person saw its count: such a member is ``skipped``.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.model.outcome import Outcome
from engine.model.reasons import ReasonCode
from engine.model.records import Decision, Routed
from engine.store.core.batch import Batch
from engine.store.operations import dismissal, hold_queue, record_outcome, retried
from engine.store.operations.bulk import Done, Lanes, Member
from engine.store.operations.outbox import decisions

Work = Callable[[Batch], Done]


def retry(batch: Batch, members: Sequence[Member], *, operation: int, counted_us: int, over_conflicts: bool) -> Done:
    """Let dead deliveries wait again in their old places.

    Args:
        over_conflicts: a person has decided that ours replaces the server's version; else such deliveries stay dead.
    """
    outcomes, lanes = Counter[str](), set[tuple[str, str]]()
    for member in members:
        found = _found(batch, member.delivery_id, "dead", counted_us)
        if found is None:
            outcomes["skipped"] += 1
            continue
        cause, *lane = found
        conflict = cause == ReasonCode.CONFLICT.value
        if conflict and not over_conflicts:
            outcomes["conflicts"] += 1
        elif decisions.requeue(batch, [member.delivery_id], unconditional=conflict):
            retried.note(batch, member, operation, cause)
            outcomes["requeued"] += 1
            lanes.add((lane[0], lane[1]))
        else:  # erased
            outcomes["skipped"] += 1
    return Done(outcomes, frozenset(lanes))


def dismiss(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Close dead letters: messages and deliveries."""
    messages = [
        one.message_id for one in members if not one.delivery_id and _is_dead(batch, one.message_id, counted_us)
    ]
    deliveries, lanes = list[int](), set[tuple[str, str]]()
    for delivery_id in (one.delivery_id for one in members if one.delivery_id):
        if found := _found(batch, delivery_id, "dead", counted_us):
            deliveries.append(delivery_id)
            lanes.add(found[1:])  # it may have held its lane
    changed = 0
    if messages or deliveries:
        changed = dismissal.dismiss(batch, messages=messages, deliveries=deliveries, actor=actor, reason=reason)
    return Done({"dismissed": changed, "skipped": len(members) - changed}, frozenset(lanes))


def release(batch: Batch, deliveries: Sequence[int], *, counted_us: int, actor: str, reason: str) -> Done:
    """Release held deliveries; the outcomes are those of `hold_queue.release`."""
    still = [one for one in deliveries if _found(batch, one, "held", counted_us)]
    outcomes, lanes = Counter({"skipped": len(deliveries) - len(still)}), set[tuple[str, str]]()
    if still:
        done, lanes = hold_queue.release(batch, still, actor=actor, reason=reason)
        outcomes.update(done)
    return Done(outcomes, frozenset(lanes))


def reject(batch: Batch, deliveries: Sequence[int], *, counted_us: int, actor: str, reason: str) -> Done:
    """Reject held deliveries for good."""
    still = [one for one in deliveries if _found(batch, one, "held", counted_us)]
    outcomes = Counter({"skipped": len(deliveries) - len(still)})
    if still:
        outcomes.update(hold_queue.reject(batch, still, actor=actor, reason=reason))
    return Done(outcomes)


def record(
    batch: Batch,
    *,
    operation: int,
    message: int,
    outcome: Outcome[Any],
    routed: Sequence[Routed],
    decision: Decision,
    lanes: Lanes,
) -> Done:
    """Record how a dead message was mapped again."""
    recorded = record_outcome.record(batch, message, outcome, routed, decision=decision)
    if recorded.already:
        return Done({"skipped": 1})
    if recorded.state == "dead":
        assert recorded.reason is not None
        retried.note(batch, Member(message), operation, recorded.reason.value)
        return Done({"still_dead": 1})
    retried.forget(batch, Member(message))
    return Done({"processed": 1}, lanes if recorded.state == "mapped" else frozenset())


def counts(outcome: str) -> Work:
    """The work of a step that leaves its one member alone."""
    return lambda batch: Done({outcome: 1})


def _found(batch: Batch, delivery_id: int, state: str, counted_us: int) -> tuple[str, str, str] | None:
    """Cause, channel and destination of a delivery; None where it is not as it was counted."""
    row: tuple[str, str, str] | None = batch.execute(
        "SELECT d.cause, l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
        " WHERE d.id = ? AND d.state = ? AND d.settled_us <= ?",
        (delivery_id, state, counted_us),
    ).fetchone()
    return row


def _is_dead(batch: Batch, message_id: int, counted_us: int) -> bool:
    """Whether a message is a dead letter as it was counted."""
    row = batch.execute(
        "SELECT 1 FROM message_state WHERE id = ? AND state IN ('dead', 'incomplete') AND at_us <= ?",
        (message_id, counted_us),
    ).fetchone()
    return row is not None
