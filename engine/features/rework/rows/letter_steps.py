"""The steps of operations (`engine.store.operations.bulk`): retry, dismiss; replay, reprocess.

Each leaves alone what is no longer as it was when a person saw its count: such a member is ``skipped``, or ``erased``.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from engine.actions.underway import Again
from engine.features.rework.rows import dismissal
from engine.model.journal.records import Recorded
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.operations import record_outcome
from engine.store.operations.bulk import Done, Member, as_counted, why_left
from engine.store.operations.outbox import attempts, decisions, queueing

Work = Callable[[Batch], Done]

ALONG = 1  # of a message in a replay, in the place of a delivery: it goes along, so only delivered documents are sent


def retry(batch: Batch, members: Sequence[Member], *, operation: int, counted_us: int, over_conflicts: bool) -> Done:
    """Let dead deliveries wait again in their old places.

    Args:
        over_conflicts: a person has decided that ours replaces the server's version; else such deliveries stay dead.
    """
    outcomes, lanes = Counter[str](), set[tuple[str, str]]()
    for member in members:
        found = as_counted(batch, member.delivery_id, "dead", counted_us)
        if found is None:
            outcomes[why_left(batch, member)] += 1
            continue
        cause, *lane = found
        conflict = cause == ReasonCode.CONFLICT.value
        if conflict and not over_conflicts:
            outcomes["conflicts"] += 1
        elif decisions.requeue(batch, [member.delivery_id], unconditional=conflict):
            attempts.note(batch, member, operation, cause)
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
        elif member.delivery_id and (found := as_counted(batch, member.delivery_id, "dead", counted_us)):
            deliveries.append(member.delivery_id)
            lanes.add(found[1:])  # it may have held its lane
        else:
            outcomes[why_left(batch, member)] += 1
    if messages or deliveries:
        changed = dismissal.dismiss(batch, messages=messages, deliveries=deliveries, actor=actor, reason=reason)
        outcomes.update(dismissed=changed, skipped=len(messages) + len(deliveries) - changed)
    return Done(outcomes, frozenset(lanes))


def record(batch: Batch, again: Again, *, operation: int) -> Done:
    """Record how a dead message was mapped again; errors as of `record_outcome.record`."""
    message, recorded = again.message, _recorded(batch, again)
    if recorded.already:
        return Done({why_left(batch, Member(message)): 1})
    if recorded.state == "dead":
        assert recorded.reason is not None
        attempts.note(batch, Member(message), operation, recorded.reason.value)
        return Done({"still_dead": 1})
    attempts.forget(batch, Member(message))
    return Done({"processed": 1}, again.lanes if recorded.state == "mapped" else frozenset())


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
            attempts.note_sent(batch, Member(message, one), operation)
            lanes.add(
                batch.execute(
                    "SELECT l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.id = ?",
                    (one,),
                ).fetchone()
            )
        left = "erased" if why_left(batch, Member(message)) == "erased" else "no_document"
        outcomes["requeued" if made else left] += 1
    return Done(outcomes, frozenset(lanes))


def reprocess(batch: Batch, again: Again, *, operation: int) -> Done:
    """Record how a message was mapped again; errors as of `record_outcome.record`.

    ``number_conflicts``: another patient has used one of its numbers meanwhile: it becomes a visible dead letter.
    """
    (newest,) = batch.execute("SELECT coalesce(max(id), 0) FROM delivery").fetchone()
    message, recorded = again.message, _recorded(batch, again)
    if recorded.already:
        return Done({why_left(batch, Member(message)): 1})
    if recorded.state != "mapped":
        return Done({"number_conflicts": 1})
    made = batch.execute("SELECT id FROM delivery WHERE message_id = ? AND id > ?", (message, newest)).fetchall()
    for (one,) in made:
        attempts.note_sent(batch, Member(message, one), operation)
    return Done({"processed": 1}, again.lanes)


def _recorded(batch: Batch, again: Again) -> Recorded:
    return record_outcome.record(
        batch, again.message, again.outcome, again.routed, decision=again.decision, config=again.config
    )


def leaves(member: Member) -> Work:
    """The work of a step that finds its one member not as it was counted."""
    return lambda batch: Done({why_left(batch, member): 1})


def _is_dead(batch: Batch, message_id: int, counted_us: int) -> bool:
    """Whether a message is a dead letter as it was counted."""
    row = batch.execute(
        "SELECT 1 FROM message_state WHERE id = ? AND state IN ('dead', 'incomplete') AND at_us <= ?",
        (message_id, counted_us),
    ).fetchone()
    return row is not None
