"""Orders whose result waits for a person, or was given up.

A result closes its order only once its message is on its way. The message is

    held      one of its documents is held: the order is ``in_progress`` as RESULT_HELD
    on its way   no document is held, and one waits, is being sent, or was delivered: the order is closed
    gone      a person has rejected or dismissed all of it, or its sender has withdrawn what was held: the order is
              where it was before the result
    neither   its open documents are dead letters, or newer ones took their place: nothing changes

The deliveries of such a message are marked (`engine.model.journal.records.ORDERED`). A decision about one comes here,
in the same transaction (`engine.store.operations.outbox.moving`).
"""

from collections.abc import Collection

from engine.features.orders.rows import items
from engine.features.orders.rows.items import Kept
from engine.features.orders.rules import order_rules
from engine.model.orders import ANSWERED_STATES, MOST_OF_TUBE, ItemReason, ItemState
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

# Causes of a held result: how it closes its order later, or opens it.
PRELIMINARY, REDUNDANT, WITHDRAWAL = "preliminary", "redundant", "withdrawal"
MATCHED = "match"  # the cause of a result that a person has matched
TWIN = "measured elsewhere"  # why an order is cancelled whose test another analyzer has measured
IN_CONFLICT = "in conflict"  # the cause of a result that went out while the tube was of two patients
_OF_RESULTS = "event IN ('preliminary', 'final', 'result_held')"  # the term of the index ``order_event_result``
_IN_FORCE = (  # not of a match that was undone
    "(cause <> 'match' OR NOT EXISTS"
    " (SELECT 1 FROM order_event u WHERE u.item = e.item AND u.n = e.n + 1 AND u.event = 'unmatch'))"
)
_ON_ITS_WAY = frozenset({"waiting", "sending", "delivered"})
_GIVEN_UP = frozenset({"rejected", "dismissed"})


def hold(batch: Batch, one: Kept, *, message_id: int, channel: str, cause: str, own_us: int = 0) -> bool:
    """A result of an item came, and its message is held; return whether the item shows that. Of an item that is held,
    or was given up, it is noted alone, so that it is closed once the result goes out.

    Args:
        cause: `PRELIMINARY`, `REDUNDANT`, `WITHDRAWAL`, or empty.
    """
    if one.state is ItemState.RESULTED and cause != WITHDRAWAL:
        return False
    more = {"message_id": message_id, "channel": channel, "cause": cause, "own_us": own_us}
    if items.apply(batch, one, order_rules.ItemEvent.RESULT_HELD, **more).done:  # type: ignore[arg-type]
        return True
    items.note(batch, one, order_rules.ItemEvent.RESULT_HELD, **more)  # type: ignore[arg-type]
    return False


def moved(batch: Batch, message_id: int) -> None:
    """A person, or a newer result, has decided about a delivery of this message: so of its orders."""
    match standing(batch, message_id):
        case "on its way":
            for one, cause, channel in of_message(batch, message_id):
                _close(batch, one, message_id, channel, cause)
        case "gone":
            for one, _, channel in of_message(batch, message_id):
                put_back(batch, one, message_id, channel)


def standing(rows: Rows, message_id: int) -> str:
    """``held``, ``on its way``, ``gone``; empty: neither."""
    found = rows.execute(
        "SELECT DISTINCT d.state, o.reports <> x'' FROM delivery d JOIN document o ON o.id = d.document_id"
        " WHERE d.message_id = ?",
        (message_id,),
    ).fetchall()
    has_reports = any(tells for _, tells in found)  # a copy of the bytes beside them does not count
    states = {state for state, tells in found if tells or not has_reports}
    if "held" in states:
        return "held"
    if states & _ON_ITS_WAY:
        return "on its way"
    return "gone" if states & _GIVEN_UP and "dead" not in states else ""


def taken_back(batch: Batch, message_id: int) -> None:
    """The held results of a message were closed, and newer ones took their place: an order that shows them still has no
    result."""
    if standing(batch, message_id) != "held":
        for one, _, channel in of_message(batch, message_id):
            if one.reason is ItemReason.RESULT_HELD:
                put_back(batch, one, message_id, channel)


def gone_from(batch: Batch, message_id: int, meant: Collection[int]) -> None:
    """A message was processed again, and its results are of these items now: of any other one they are not, unless a
    person says so."""
    for one, cause, channel in of_message(batch, message_id):
        if one.number not in meant and cause != MATCHED:
            put_back(batch, one, message_id, channel)


def put_back(batch: Batch, one: Kept, message_id: int, channel: str) -> None:
    """A result of the item does not go out: it is as before, as far as nothing else has happened to it."""
    rows = batch.execute(
        "SELECT n, event, state, reason, message_id FROM order_event WHERE item = ? ORDER BY n DESC", (one.number,)
    ).fetchall()
    event = order_rules.PUT_BACK
    waits = _waits(batch, one, message_id)
    known = waits or _is_known_without(batch, one, message_id)
    if one.state is ItemState.RESULTED:
        n, last, _, _, of = next((row for row in rows if row[1] in _CLOSES), (0, "", "", "", 0))
        if last != order_rules.ItemEvent.FINAL or of != message_id:  # another result has closed it
            return
        event = order_rules.REOPENED
        rows = [row for row in rows if row[0] < n]
    elif waits or one.reason is not ItemReason.RESULT_HELD:
        if one.sent != known or waits:
            one.sent = known
            items.note(batch, one, event, message_id=message_id, channel=channel)
            _end_cancel(batch, one)
        return
    if waits:
        state, reason = ItemState.IN_PROGRESS, ItemReason.RESULT_HELD
    elif one.state is ItemState.CANCEL_PENDING:
        state, reason = one.state, ItemReason.NONE
    else:
        state, reason = _before(rows)
    if one.made and state is ItemState.ACCEPTED:  # nothing of it is left
        state = ItemState.CANCELLED
    one.sent = known
    one.state, one.reason, one.changed_us = state, reason, batch.now_us
    if state in ANSWERED_STATES and _is_of_two(batch, one):
        one.state, one.reason = ItemState.HELD, ItemReason.SPECIMEN_CONFLICT
    items.note(batch, one, event, message_id=message_id, channel=channel)
    _end_cancel(batch, one)


def was_known(batch: Batch, one: Kept, message_id: int, n: int) -> bool:
    """Whether an analyzer had an item, or may have had it, before a message was matched in row ``n`` of its history."""
    return _waits(batch, one, message_id) or _is_known_without(batch, one, message_id, before=n)


def _is_known_without(batch: Batch, one: Kept, message_id: int, *, before: int = 0) -> bool:
    """Whether more than the results of a message says that an analyzer has an item; those up to a row count, too."""
    events = ", ".join(f"'{event}'" for event in sorted(_MAKES_KNOWN))
    return (
        batch.execute(
            f"SELECT 1 FROM order_event e WHERE item = ? AND event IN ({events})"  # noqa: S608 - constants
            f" AND (message_id <> ? OR n < ?) AND {_IN_FORCE} LIMIT 1",
            (one.number, message_id, before),
        ).fetchone()
        is not None
    )


def _end_cancel(batch: Batch, one: Kept) -> None:
    """A pending cancel of an order that no analyzer has is done: none is left to give it up."""
    if one.state is ItemState.CANCEL_PENDING and not one.known:
        items.apply(batch, one, order_rules.ItemEvent.NOT_SENT)


_CLOSES = frozenset({order_rules.ItemEvent.FINAL, order_rules.REOPENED})
_MAKES_KNOWN = order_rules.MAKES_KNOWN - {order_rules.ItemEvent.RESULT_HELD}


def _before(rows: list[tuple[int, str, str, str, int]]) -> tuple[ItemState, ItemReason]:
    """State and reason without the held results; newest first. What else happened since then has happened all the same:
    the analyzer got the order once more, or a preliminary result went out.
    """
    since: list[order_rules.ItemEvent] = []
    for _, event, state, reason, _ in rows:
        if reason != ItemReason.RESULT_HELD:
            found = order_rules.Standing(ItemState(state), ItemReason(reason))
            break
        if event in _MAKES_KNOWN:
            since.append(order_rules.ItemEvent(event))
    for event in reversed(since):
        found = order_rules.step(found, event).standing
    return found.state, found.reason


def _is_of_two(batch: Batch, one: Kept) -> bool:
    """Whether its specimen number has become another patient's meanwhile."""
    patients = order_rules.PatientsOfTube({})
    for other in items.of_specimen(batch, one.line.specimen, MOST_OF_TUBE):
        if (other.is_open and not other.made) or other.number == one.number:
            patients.add(other.line.patient)
    return patients.conflict


def _close(batch: Batch, one: Kept, message_id: int, channel: str, cause: str) -> None:
    if cause == WITHDRAWAL:
        withdraw(batch, one, message_id=message_id, channel=channel)
        if one.reason is ItemReason.RESULT_HELD and not _waits(batch, one, message_id):
            put_back(batch, one, message_id, channel)
        return
    event = order_rules.ItemEvent.PRELIMINARY if cause == PRELIMINARY else order_rules.ItemEvent.FINAL
    is_own = event is order_rules.ItemEvent.FINAL and _was_of_one(batch, one, message_id)
    if is_own and note_in_conflict(batch, one, message_id=message_id, channel=channel):
        return
    done = items.apply(batch, one, event, message_id=message_id, channel=channel)
    if (
        event is order_rules.ItemEvent.PRELIMINARY
        and one.reason is ItemReason.RESULT_HELD
        and not _waits(batch, one, message_id)
    ):
        one.reason = ItemReason.NONE
        items.note(batch, one, event, message_id=message_id, channel=channel)
    if done.done and cause == REDUNDANT:
        take_back_twins(batch, one, message_id, frozenset({channel}), known_alone=True)


def note_in_conflict(batch: Batch, one: Kept, *, message_id: int, channel: str, own_us: int = 0) -> bool:
    """A final result that is certainly of this item went out while its tube is of two patients; return whether that is
    so. It stays held, and has its result once a person has said whose the tube is (`answer_in_conflict`)."""
    if one.state is not ItemState.HELD or one.reason is not ItemReason.SPECIMEN_CONFLICT:
        return False
    one.sent = True
    more = {"message_id": message_id, "channel": channel, "own_us": own_us}
    items.note(batch, one, order_rules.ItemEvent.FINAL, cause=IN_CONFLICT, **more)  # type: ignore[arg-type]
    return True


def answer_in_conflict(batch: Batch, one: Kept) -> tuple[int, str] | None:
    """Message and channel of the result that an item got while its tube was of two patients; None: none, or it is not
    on its way any more."""
    row = batch.execute(
        "SELECT message_id, channel FROM order_event WHERE item = ? AND event = 'final' AND cause = ?"
        " ORDER BY n DESC LIMIT 1",
        (one.number, IN_CONFLICT),
    ).fetchone()
    return None if row is None or standing(batch, row[0]) != "on its way" else (row[0], row[1])


def _was_of_one(batch: Batch, one: Kept, message_id: int) -> bool:
    """Whether a result that was held came while the tube was one patient's."""
    row = batch.execute(
        "SELECT 1 FROM order_event WHERE item = ? AND message_id = ? AND event = 'result_held' AND state <> 'held'",
        (one.number, message_id),
    ).fetchone()
    return row is not None


def withdraw(batch: Batch, one: Kept, *, message_id: int, channel: str) -> None:
    """The analyzer takes back the result that has closed an item: the item is open again. A result that came later, or
    from another analyzer, stays."""
    row = batch.execute(
        "SELECT message_id, channel FROM order_event WHERE item = ? AND event = 'final' ORDER BY n DESC LIMIT 1",
        (one.number,),
    ).fetchone()
    if row is not None and row[0] < message_id and row[1] == channel:
        items.apply(batch, one, order_rules.ItemEvent.WITHDRAWN, message_id=message_id, channel=channel)


def _waits(batch: Batch, one: Kept, message_id: int) -> bool:
    """Whether another message with a result of the item is held."""
    others = f"event = 'result_held' AND message_id <> ? AND {_IN_FORCE}"
    rows = batch.execute(
        f"SELECT DISTINCT message_id FROM order_event e WHERE item = ? AND {others}",  # noqa: S608 - constants
        (one.number, message_id),
    ).fetchall()
    return any(standing(batch, other) == "held" for (other,) in rows)


def take_back_twins(
    batch: Batch, measured: Kept, message_id: int, here: frozenset[str], *, known_alone: bool = False
) -> None:
    """Cancel the orders for the same test of the same patient that other analyzers have, or that are for them alone.

    Args:
        here: the channel of the result, and its groups. known_alone: leave out those that no analyzer has.
    """
    for one in items.of_specimen(batch, measured.line.specimen, MOST_OF_TUBE):
        for_others = bool(one.targets) and one.targets.isdisjoint(here) and not known_alone
        elsewhere = one.channel not in here if one.known else for_others
        same = one.line.test == measured.line.test and order_rules.same_patient(one.line.patient, measured.line.patient)
        if one.number != measured.number and one.is_open and not one.made and elsewhere and same:
            items.apply(
                batch, one, order_rules.ItemEvent.CANCEL, message_id=message_id, channel=one.channel, cause=TWIN
            )


def of_message(batch: Batch, message_id: int) -> list[tuple[Kept, str, str]]:
    """The items that a message has results of, with cause and channel of its last result for each; a match by a person
    stays the cause."""
    rows = batch.execute(
        f"SELECT item, cause, channel FROM order_event e WHERE message_id = ? AND {_OF_RESULTS} AND {_IN_FORCE}"  # noqa: S608 - constants
        " ORDER BY item, n",
        (message_id,),
    ).fetchall()
    found: dict[int, tuple[str, str]] = {}
    for item, cause, channel in rows:
        before = found.get(item, ("", ""))[0]
        found[item] = before if before == MATCHED else cause, channel
    kept = ((items.by_number(batch, item), *said) for item, said in found.items())
    return [(one, cause, channel) for one, cause, channel in kept if one is not None]
