"""The steps of operations (`engine.store.operations.bulk`): retry, dismiss, release, reject; replay, reprocess.

Each leaves alone what is no longer as it was when a person saw its count: such a member is ``skipped``, or ``erased``.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.features.results.rows import hold_queue
from engine.features.rework.rows import dismissal
from engine.model.outcome import Outcome
from engine.model.reasons import ReasonCode
from engine.model.records import Decision, Routed
from engine.store.core import erased_rows
from engine.store.core.batch import Batch
from engine.store.operations import record_outcome, retried
from engine.store.operations.bulk import Done, Lanes, Member
from engine.store.operations.outbox import decisions, queueing

Work = Callable[[Batch], Done]

ALONG = 1  # of a message in a replay, in the place of a delivery: it goes along, so only delivered documents are sent


def retry(batch: Batch, members: Sequence[Member], *, operation: int, counted_us: int, over_conflicts: bool) -> Done:
    """Let dead deliveries wait again in their old places.

    Args:
        over_conflicts: a person has decided that ours replaces the server's version; else such deliveries stay dead.
    """
    outcomes, lanes = Counter[str](), set[tuple[str, str]]()
    for member in members:
        found = _found(batch, member.delivery_id, "dead", counted_us)
        if found is None:
            outcomes[_left(batch, member)] += 1
            continue
        cause, *lane = found
        conflict = cause == ReasonCode.CONFLICT.value
        if conflict and not over_conflicts:
            outcomes["conflicts"] += 1
        elif decisions.requeue(batch, [member.delivery_id], unconditional=conflict):
            retried.note(batch, member, operation, cause)
            outcomes["requeued"] += 1
            lanes.add((lane[0], lane[1]))
        else:
            outcomes["erased"] += 1
    return Done(outcomes, frozenset(lanes))


def dismiss(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Close dead letters: messages and deliveries."""
    outcomes, lanes = Counter[str](), set[tuple[str, str]]()
    messages, deliveries = list[int](), list[int]()
    for member in members:
        if not member.delivery_id and _is_dead(batch, member.message_id, counted_us):
            messages.append(member.message_id)
        elif member.delivery_id and (found := _found(batch, member.delivery_id, "dead", counted_us)):
            deliveries.append(member.delivery_id)
            lanes.add(found[1:])  # it may have held its lane
        else:
            outcomes[_left(batch, member)] += 1
    if messages or deliveries:
        changed = dismissal.dismiss(batch, messages=messages, deliveries=deliveries, actor=actor, reason=reason)
        outcomes.update(dismissed=changed, skipped=len(messages) + len(deliveries) - changed)
    return Done(outcomes, frozenset(lanes))


def release(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Release held deliveries; the outcomes are those of `hold_queue.release`."""
    still, outcomes = _still_held(batch, members, counted_us)
    lanes = set[tuple[str, str]]()
    if still:
        done, lanes = hold_queue.release(batch, still, actor=actor, reason=reason)
        outcomes.update(done)
    return Done(outcomes, frozenset(lanes))


def reject(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Reject held deliveries for good."""
    still, outcomes = _still_held(batch, members, counted_us)
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
    config: str,
    lanes: Lanes,
) -> Done:
    """Record how a dead message was mapped again; arguments and errors as of `record_outcome.record`."""
    recorded = record_outcome.record(batch, message, outcome, routed, decision=decision, config=config)
    if recorded.already:
        return Done({_left(batch, Member(message)): 1})
    if recorded.state == "dead":
        assert recorded.reason is not None
        retried.note(batch, Member(message), operation, recorded.reason.value)
        return Done({"still_dead": 1})
    retried.forget(batch, Member(message))
    return Done({"processed": 1}, lanes if recorded.state == "mapped" else frozenset())


def replay(
    batch: Batch,
    members: Sequence[Member],
    *,
    operation: int,
    destinations: frozenset[str] | None,
    to: str,
    takes: str,
    states: frozenset[str],
) -> Done:
    """Queue the documents of messages again; arguments as of `queueing.replay`.

    An edited message is left out: its own documents contain the error that was edited.
    """
    outcomes, lanes = Counter[str](), set[tuple[str, str]]()
    for message, along in members:
        if batch.execute("SELECT 1 FROM edited WHERE original = ?", (message,)).fetchone():
            outcomes["skipped"] += 1
            continue
        wanted = frozenset({"delivered"}) if along == ALONG else states
        made = queueing.replay(batch, [message], destinations, to=to, takes=takes, states=wanted)
        for one in made:
            retried.note_sent(batch, Member(message, one), operation)
            lanes.add(
                batch.execute(
                    "SELECT l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.id = ?",
                    (one,),
                ).fetchone()
            )
        left = "erased" if _left(batch, Member(message)) == "erased" else "no_document"
        outcomes["requeued" if made else left] += 1
    return Done(outcomes, frozenset(lanes))


def reprocess(
    batch: Batch,
    *,
    operation: int,
    message: int,
    outcome: Outcome[Any],
    routed: Sequence[Routed],
    decision: Decision,
    config: str,
    lanes: Lanes,
) -> Done:
    """Record how a message was mapped again; arguments and errors as of `record_outcome.record`.

    ``number_conflicts``: another patient has used one of its numbers meanwhile: it becomes a visible dead letter.
    """
    (newest,) = batch.execute("SELECT coalesce(max(id), 0) FROM delivery").fetchone()
    recorded = record_outcome.record(batch, message, outcome, routed, decision=decision, config=config)
    if recorded.already:
        return Done({_left(batch, Member(message)): 1})
    if recorded.state != "mapped":
        return Done({"number_conflicts": 1})
    made = batch.execute("SELECT id FROM delivery WHERE message_id = ? AND id > ?", (message, newest)).fetchall()
    for (one,) in made:
        retried.note_sent(batch, Member(message, one), operation)
    return Done({"processed": 1}, lanes)


def leaves(member: Member) -> Work:
    """The work of a step that finds its one member not as it was counted."""
    return lambda batch: Done({_left(batch, member): 1})


def _still_held(batch: Batch, members: Sequence[Member], counted_us: int) -> tuple[list[int], Counter[str]]:
    """The deliveries that are held as they were counted, and the outcomes of the others."""
    still = [one.delivery_id for one in members if _found(batch, one.delivery_id, "held", counted_us)]
    others = [one for one in members if one.delivery_id not in still]
    return still, Counter(_left(batch, one) for one in others)


def _left(batch: Batch, member: Member) -> str:
    """The outcome of a letter that is not as it was counted."""
    return "erased" if erased_rows.act_of(batch.execute, erased_rows.JOURNAL, member.message_id) else "skipped"


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
