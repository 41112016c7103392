"""Record the outcome of a journaled message: its documents, deliveries and state, in one transaction.

stored -> mapped | filtered | dead        by the mapping
dead, incomplete -> dismissed             by a named person
any -> mapped | filtered | dead           when it is processed again with today's mapping

A message of which nothing goes out any more: it was dismissed, edited, rejected or erased. What it has taken for
itself is free again, as the numbers of its orders.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from engine.feature import Hook
from engine.model.errors import ReconfiguredError, StoreError
from engine.model.journal.records import NO_DECISION, Decision, Recorded, Routed
from engine.model.outcome import Outcome
from engine.model.routes import routed_by
from engine.model.texts.reasons import ReasonCode
from engine.store.core.checks.pruned_ranges import absence
from engine.store.core.notes import opened_note
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import dead_letters, search_index
from engine.store.operations.append import seal_note, set_state, tell_state
from engine.store.operations.outbox import decisions, queueing
from engine.store.operations.recording import Recording, Step

STEPS: Hook[type[Step]] = Hook("on_outcome")
ORDERED: Hook[Callable[[Batch, Iterable[str]], set[str]]] = Hook("with_open_order")
OPEN_ORDER = "its number is that of a control, and an order is open for it"


@operation(
    priority=Priority.SETTLE,
    can_linger=True,
    size=lambda message_id, outcome, routes=(), **more: sum(len(routed.document.body) for routed in routes),
)
def record(
    batch: Batch,
    message_id: int,
    outcome: Outcome[Any],
    routes: Sequence[Routed] = (),
    *,
    after: int = 0,
    rejected_before: int = 0,
    decision: Decision = NO_DECISION,
    config: str | None = None,
) -> Recorded:
    """Record the outcome of a mapping and queue its deliveries.

    Args:
        routes: its documents, with the destinations of their routes.
        after: the message that must have its outcome first, to keep the order of the lanes (P3). 0: none.
        rejected_before: the message with the same bytes that a person has rejected or dismissed: the documents of this
            one are held. 0: none; where the message is processed again it is read from the row itself.
        decision: a person's, where one is the reason of this processing.
        config: the first 12 digits of the hash of its configuration; None: that cannot have changed since.

    Raises:
        ReconfiguredError: another configuration is in force.
        StoreError: there is no such message, or ``after`` has no outcome.
    """
    if config is not None and config != batch.config_hash:
        raise ReconfiguredError(f"message {message_id} was mapped with a configuration that is no longer in force")
    if after and batch.execute("SELECT 1 FROM message_state WHERE id = ?", (after,)).fetchone() is None:
        raise StoreError(f"message {after} has no outcome yet, and message {message_id} must not overtake it")
    row = batch.execute(
        "SELECT j.channel, j.received_us, j.message_type, j.token, j.size, s.state, s.reason,"
        " (SELECT original FROM edited WHERE message_id = j.id) FROM journal j"
        " LEFT JOIN message_state s ON s.id = j.id WHERE j.id = ? AND j.kind = 1",
        (message_id,),
    ).fetchone()
    if row is None:
        raise absence(batch.execute, "message", message_id)
    channel, received_us, message_type, token, size, before, old_reason, edited_from = row
    if before is not None and _keeps(batch, message_id, before, decision):
        return Recorded(state=before, reason=ReasonCode[old_reason] if old_reason else None, already=True)
    given, (outcome, routes) = outcome, _of_whom(batch, outcome, routes)
    now = Recording(
        batch=batch, id=message_id, channel=channel, received_us=received_us, outcome=outcome, decision=decision,
        first=edited_from or message_id, before=before, made=routes, routes=routes, rejected_before=rejected_before,
        state=outcome.state, reason=outcome.reason, detail=outcome.detail, issues=outcome.issues, tubes=outcome.tubes,
    )  # fmt: skip
    steps = [step(now) for step in STEPS.each()]
    for step in steps:
        step.decide()
    for step in steps:
        step.tell()
    revision = _write(now, size)
    for step in steps:
        step.stored()
    if now.state != "mapped":
        now.routes = ()
    for step in steps:
        step.hold()
    deliveries, waiting, places = queueing.put(
        batch, queueing.QueuedMessage(message_id, channel, received_us, message_type, token), now.routes, now.held,
        revision=revision, manual=decision.again or now.late, known_order=now.known_order, marks=now.marks,
    )  # fmt: skip
    for step in steps:
        step.queued()
    for step in steps:
        step.ended()
    return Recorded(
        state=now.state, reason=now.reason, deliveries=deliveries, waiting=waiting, held=places, answers=now.answers,
        detail=now.detail, is_other=outcome is not given,
    )  # fmt: skip


def _of_whom(batch: Batch, outcome: Outcome[Any], routes: Sequence[Routed]) -> tuple[Outcome[Any], Sequence[Routed]]:
    """The outcome of a message with controls: a number that an order is open for is a patient's. Where a pattern alone
    makes it a control's, people decide about its documents; else the message is dead, and none of its controls counts.
    """
    if not outcome.controls:
        return outcome, routes
    doubted, other = outcome.doubted or ((), None)
    numbers = {one.number for one in outcome.controls} | set(doubted)
    ordered = frozenset().union(*(found(batch, numbers) for found in ORDERED.each()))
    if not ordered:
        return outcome, routes
    if outcome.state == "dead":  # for another reason, which a person is to mend first
        return replace(outcome, controls=()), routes
    if other is not None and ordered == set(doubted) and other.state == "mapped":
        return replace(other, conflict=OPEN_ORDER), [routed_by(route, one) for one, route in other.documents]
    return Outcome("dead", ReasonCode.CONTROL_NUMBER, OPEN_ORDER, numbers=outcome.numbers), ()


def _keeps(batch: Batch, message_id: int, state: str, decision: Decision) -> bool:
    """Whether a message keeps the outcome that it has; also where an edited message has taken its place
    (`engine.features.rework.rows.edit_message`).
    """
    if not decision.again or (decision.while_dead and state != "dead"):
        return True
    return batch.execute("SELECT 1 FROM edited WHERE original = ?", (message_id,)).fetchone() is not None


def _write(now: Recording, size: int) -> int:
    """Write the row of the state with its note, and what is counted by it; return the revision of the documents."""
    batch, message_id, channel, state, outcome = now.batch, now.id, now.channel, now.state, now.outcome
    note = _note(now)
    sealed = seal_note(batch, "message_state", message_id, channel, note)
    revision = 1
    if now.before is None:
        set_state(
            batch, message_id, channel, state, now.reason, mapping=outcome.mapping, detail=sealed,
            numbers=outcome.numbers, results=now.results,
        )  # fmt: skip
        batch.closes(message_id, channel, size)
    else:
        revision = _supersede_earlier(batch, message_id)
        by = (outcome.mapping, batch.config)
        _change(batch, message_id, channel, now.before, state, now.reason, mapping=by, detail=sealed)
        search_index.note(batch, message_id, outcome.numbers)
    if state == "dead":
        issues = note.get("issues", ()) if now.detail == outcome.detail else ()  # else the mapping was not the reason
        dead_letters.note(batch, "message_state", message_id, channel, now.detail, issues)
        batch.channel(channel).dead += 1
    if state != "mapped":  # a message without a row here was mapped: the usual case needs none
        batch.count(channel, "", state)
    batch.unmapped.note(channel, outcome.unmapped)
    return revision


def _note(now: Recording) -> dict[str, Any]:
    """What is sealed beside the outcome."""
    note: dict[str, Any] = {}
    if now.detail:
        note["detail"] = now.detail
    if now.issues:
        note["issues"] = [asdict(issue) for issue in now.issues]
    note |= now.note
    if now.facts is not None:
        decided = {str(place): one.as_json() for place, one in now.facts.items()}
        if now.decision.again:
            decided = _kept_facts(now) | decided
        if decided:
            note["facts"] = decided
    return note


def _kept_facts(now: Recording) -> dict[str, Any]:
    """The decisions about earlier documents of the message that this processing does not make again."""
    (sealed,) = now.batch.execute("SELECT detail FROM message_state WHERE id = ?", (now.id,)).fetchone() or (b"",)
    note = opened_note(now.batch.vault, sealed, "message_state", now.id, now.channel)
    made = {str(place) for place, routed in enumerate(now.routes, start=1) if routed.destinations}
    return {place: facts for place, facts in note.get("facts", {}).items() if place not in made}


def dismiss(batch: Batch, message_ids: Iterable[int], detail: str) -> int:
    """Dismiss these dead or incomplete messages; return how many were changed."""
    changed = 0
    for message_id in message_ids:
        row = batch.execute(
            "SELECT s.state, s.reason, s.mapping, s.config, j.channel FROM message_state s"
            " JOIN journal j ON j.id = s.id WHERE s.id = ?",
            (message_id,),
        ).fetchone()
        if row is None or row[0] not in ("dead", "incomplete"):
            continue
        state, reason, *by, channel = row
        sealed = seal_note(batch, "message_state", message_id, channel, {"detail": detail})
        _change(batch, message_id, channel, state, "dismissed", ReasonCode[reason], mapping=by, detail=sealed)
        free(batch, message_id)
        batch.count(channel, "", "dismissed")
        changed += 1
    return changed


def _change(
    batch: Batch,
    message_id: int,
    channel: str,
    old: str,
    state: str,
    reason: ReasonCode | None,
    *,
    mapping: Sequence[str | int],
    detail: bytes,
) -> None:
    """``mapping``: with its configuration."""
    batch.execute(
        "UPDATE message_state SET state = ?, reason = ?, at_us = ?, mapping = ?, config = ?, detail = ? WHERE id = ?",
        (state, reason.value if reason else "", batch.now_us, *mapping, detail, message_id),
    )
    tell_state(batch, message_id, channel, state, reason)
    if old in ("dead", "incomplete"):  # these are counted
        tally = batch.channel(channel)
        setattr(tally, old, getattr(tally, old) - 1)


def _supersede_earlier(batch: Batch, message_id: int) -> int:
    """Close the open deliveries of an earlier mapping of the message; return the revision for its new documents."""
    rows = batch.execute(
        "SELECT id FROM delivery WHERE message_id = ? AND state IN ('waiting', 'dead', 'held')", (message_id,)
    ).fetchall()
    decisions.replace(batch, [row[0] for row in rows], "the message was processed again")
    (last,) = batch.execute(
        "SELECT coalesce(max(revision), 0) FROM document WHERE message_id = ?", (message_id,)
    ).fetchone()
    return int(last) + 1


FREES: Hook[Callable[[Batch, int], None]] = Hook("on_given_up")


def free(batch: Batch, message_id: int) -> None:
    """Free what a message has taken; there may be nothing."""
    for free_of in FREES.each():
        free_of(batch, message_id)
