"""The hold queue: results that a rule of their route keeps back until a named person releases or rejects them.

    decide     in the transaction that queues deliveries: it sees every value before it, and no crash lies between
    release    the delivery waits again in its old place; its values become those that later results are compared with
    reject     it is never delivered, and stays in the journal
    take back  its sender has withdrawn all of it: it is closed

Release and reject leave a row in the audit trail in the same transaction. Each works once: a delivery that is not held
any more is left as it is, so a command given twice, or by two people at once, does no harm.

Nothing else ends a hold: no time, no restart, no retry, no replay. Where a person has the message processed again, the
new documents supersede the open ones of the earlier mapping, and the rules judge them anew.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from engine.features.results.rows import clocks, delta_history, number_bearers, report_owners, used_numbers
from engine.features.results.rows.superseding import NewerMessage, overtaken, overtaken_by
from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.records import HoldReason, Routed
from engine.model.texts.reasons import ReasonCode
from engine.store.core.notes import read_note
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.operations.outbox import decisions
from engine.store.operations.outbox.moving import tell

TAKEN_BACK = "withdrawn by its sender"  # how the detail of a delivery begins that was held, and is closed for that

_NAMED = 5  # messages, where the text lists those that have overtaken one


def decide(
    batch: Batch,
    message_id: int,
    controls_of: str,
    received_us: int,
    routes: Sequence[Routed],
    already: Sequence[HoldReason | None] = (),
) -> list[HoldReason | None]:
    """Decide for each document whether it is held, and why; None: not held. Values of documents that are not held
    count at once, others after their release.

    Args:
        controls_of: as of `Recording`.
        already: why documents are held because of earlier accepted results (`engine.features.results.rows`);
            the reasons of the rules follow behind.
    """
    found: list[HoldReason | None] = []
    for place, routed in enumerate(routes, start=1):
        before = already[place - 1] if place <= len(already) else None
        if routed.hold is None or not routed.destinations or routed.echo:
            found.append(before)
            continue
        held = routed.hold.decide(delta_history.DeltaHistory(batch, message_id, controls_of, received_us), received_us)
        if before is not None:
            held = before if held is None else replace(before, text=f"{before.text}; {held.text}")
        found.append(held)
        waits = 0 if held is None else place
        delta_history.remember(batch, message_id, routed.hold.results, received_us, waits=waits)
    return found


def rejected_before(batch: Batch, message_id: int, channel: str) -> int:
    """The message with the same bytes that a person has rejected or dismissed; 0 without one, or where a person has
    released this message since.
    """
    sent = "SELECT 1 FROM delivery WHERE message_id = ? AND state IN ('waiting', 'sending', 'delivered') LIMIT 1"
    if batch.execute(sent, (message_id,)).fetchone() is not None:
        return 0
    meta = batch.meta(message_id, channel)
    return 0 if meta is None else int(meta.get("rejected_before", 0))


def once_more(routes: Sequence[Routed], held: Sequence[HoldReason | None], other: int) -> list[HoldReason | None]:
    """Hold documents whose bytes a person has rejected before; an open question about their patient comes first."""
    text = f"the same bytes came as message {other}, which a person has rejected or dismissed"
    found: list[HoldReason | None] = []
    for place, routed in enumerate(routes):
        before = held[place] if place < len(held) else None
        if before is not None:
            found.append(replace(before, text=f"{before.text}; {text}"))
        else:
            found.append(
                HoldReason(reason=ReasonCode.REJECTED_BEFORE, text=text)
                if routed.destinations and not routed.echo
                else None
            )
    return found


@operation(priority=Priority.SETTLE)
def release(
    batch: Batch, deliveries: Sequence[int], *, actor: str, reason: str
) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """Release held deliveries in the name of a person. The outcome counts those ``released``, and the others as

    superseded    newer messages had all of their results delivered: they are closed, for there is nothing to send
    overtaken     newer messages had part of them delivered: they stay held (`ReasonCode.OVERTAKEN`)
    unanswered    whose they are is to be answered first (`engine.features.results.rows.number_bearers.answer`)
    too_old       the journal has forgotten which newer messages there are: they stay held
    skipped       they are not held any more

    Returns:
        The outcome, and channel and destination of the lanes that have new work.
    """
    lanes: set[tuple[str, str]] = set()
    done = dict.fromkeys(("released", "superseded", "overtaken", "too_old", "skipped"), 0)
    for delivery_id in deliveries:
        became = _release(batch, delivery_id, lanes)
        done[became] = done.get(became, 0) + 1
    audit.note(batch, actor, "release", {**_named(batch, deliveries), "reason": reason, **done})
    return done, lanes


def _release(batch: Batch, delivery_id: int, lanes: set[tuple[str, str]]) -> str:
    row = batch.execute(
        "SELECT d.state, o.ordinal, j.channel, j.received_us, l.destination, j.id, d.cause FROM delivery d"
        " JOIN journal j ON j.id = d.message_id JOIN lane l ON l.id = d.lane"
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    if row[0] != "held":
        return "skipped"
    _, ordinal, channel, received_us, destination, message_id, cause = row
    if cause == ReasonCode.ORDER_MOVED.value or number_bearers.waits_for_an_answer(batch.execute, delivery_id):
        return "unanswered"
    if batch.now_us - received_us >= REPORT_MEMORY_US:
        return "too_old"
    match overtaken(batch, delivery_id):
        case "whole":
            decisions.take_back(batch, [delivery_id], "released after newer messages had all of its results delivered")
            return "superseded"
        case "part":
            _keep_overtaken(batch, delivery_id, channel)
            return "overtaken"
    decisions.release(batch, delivery_id)
    used_numbers.released(batch, message_id)
    if cause == ReasonCode.CLOCK.value:
        clocks.note_released(batch, message_id)
    lanes.add((channel, destination))
    delta_history.released(batch, message_id, ordinal)
    return "released"


def take_back(batch: Batch, deliveries: Sequence[int], by: int) -> None:
    """Close held deliveries whose every result the sender has withdrawn, with the message ``by``."""
    decisions.take_back(batch, deliveries, f"{TAKEN_BACK} (message {by})")


@operation(priority=Priority.SETTLE)
def close_overtaken(batch: Batch, delivery_id: int, *, whole: bool) -> int:
    """Handle an overtaken delivery without sending it: close it where newer messages have the ``whole`` of it, else
    keep it held.
    """
    detail = in_words(overtaken_by(batch, delivery_id))
    if whole:
        return decisions.supersede(batch, [delivery_id], detail)
    return decisions.hold(batch, [delivery_id], ReasonCode.OVERTAKEN, detail)


def in_words(newer: list[NewerMessage]) -> str:
    """The reason why a delivery is not sent, as text. It names no patient."""
    if not newer:  # forgotten between the look and this
        return "overtaken by newer messages"
    numbers = [str(one.message_id) for one in newer[:_NAMED]]
    if len(newer) > _NAMED:
        numbers.append(f"{len(newer) - _NAMED} more")
    *first, last = numbers
    text = f"overtaken by message{'s' * bool(first)} {', '.join(first)}{' and ' * bool(first)}{last}"
    return f"{text} (the report, not its results)" if all(one.report for one in newer) else text


def _keep_overtaken(batch: Batch, delivery_id: int, channel: str) -> None:
    """Keep it held under a new reason, OVERTAKEN; the reason of its rule follows behind in the detail.

    The first such text stays: copies of message states are compared by state and cause
    (`engine.store.recovery.backups.state_snapshot`), and `held show` looks the newer messages up anew.
    """
    cause, sealed = batch.execute("SELECT cause, detail FROM delivery WHERE id = ?", (delivery_id,)).fetchone()
    if cause == ReasonCode.OVERTAKEN.value:
        return
    detail, was = in_words(overtaken_by(batch, delivery_id)), ""
    with suppress(IntegrityError):  # a damaged detail must not block the decision
        was, _ = read_note(batch.vault.open(sealed, "delivery", delivery_id, channel)) if sealed else ("", b"")
    tell(batch, delivery_id, channel, f"{detail}; held before: {was}" if was else detail)
    batch.execute("UPDATE delivery SET cause = ? WHERE id = ?", (ReasonCode.OVERTAKEN.value, delivery_id))


@operation(priority=Priority.SETTLE)
def reject(batch: Batch, deliveries: Sequence[int], *, actor: str, reason: str) -> dict[str, int]:
    """Reject held deliveries for good, in the name of a person; ``reason`` is stored behind the text that held them."""
    done = {"rejected": 0, "skipped": 0}
    for delivery_id in deliveries:
        if decisions.reject(batch, delivery_id):
            done["rejected"] += 1
            _free_numbers(batch, delivery_id)
        else:
            done["skipped"] += 1
    audit.note(batch, actor, "reject", {**_named(batch, deliveries), "reason": reason, **done})
    return done


def _named(batch: Batch, deliveries: Sequence[int]) -> dict[str, list[int]]:
    """The subject of an action, as its audit row names it."""
    return {"messages": sorted(decisions.messages_of(batch, deliveries)), "deliveries": list(deliveries)}


def _free_numbers(batch: Batch, delivery_id: int) -> None:
    """Where nothing of the message can be delivered any more, free its order and patient numbers: it may have been
    rejected because they belong to another patient.
    """
    (message_id,) = batch.execute("SELECT message_id FROM delivery WHERE id = ?", (delivery_id,)).fetchone()
    left = batch.execute(
        "SELECT 1 FROM delivery d JOIN document o ON o.id = d.document_id WHERE d.message_id = ?"
        " AND o.reports <> x'' AND d.state NOT IN ('rejected', 'dismissed') LIMIT 1",
        (message_id,),
    ).fetchone()
    if left is None:
        report_owners.forget(batch, message_id)
