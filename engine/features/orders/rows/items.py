"""The rows of the worklist: read by keyed hashes, written with one event for each change.

A keyed hash finds rows; what counts is the sealed content, compared text by text. So two numbers with one hash are
still two numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import orjson

from engine.features.orders.rules import order_rules
from engine.model import orders
from engine.model.content.search_keys import folded
from engine.model.errors import IntegrityError, RefusedError
from engine.model.values import changed
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import Execute, Rows
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch

COLUMN = "order_item"  # the place of a sealed line, with its number
MOST_WORDS = 1_000  # characters of the analyzer's words that are kept
TAKEN = "taken"  # the first event of an item
FREED = "freed"  # the analyzer has given up the version before it
PLACED = "placed"  # the LIS has named where its tube is now
ONE_MORE = "one_more"  # it is measured, and a result came that was measured long after the one that it has
RANKS: dict[orders.Priority, int] = {"stat": 0, "asap": 1, "timed": 2, "callback": 3, "pre-op": 3, "routine": 4}

# The term of the index ``order_item_open``, which SQLite uses only for a query that has it word for word.
OPEN = "state IN ('waiting', 'held', 'offered', 'accepted', 'in_progress', 'cancel_pending')"

KEPT_COLUMNS = (
    "number", "message_id", "line", "last_id", "source", "state", "reason", "targets", "channel", "code", "query",
    "sent", "after", "run", "parent", "made", "created_us", "changed_us", "expires_us", "waits_us", "reuse_us",
    "events", "content", "given_us",
)  # fmt: skip
SELECT = f"SELECT {', '.join(KEPT_COLUMNS)} FROM order_item"  # noqa: S608 - constants
_INSERT = (
    "INSERT INTO order_item (number, message_id, line, last_id, source, state, reason, rank, targets, specimen,"
    " patient, placer, filler, place, tray, test, channel, code, query, sent, after, run, parent, made, created_us,"
    " changed_us, expires_us, waits_us, reuse_us, events, written_us, given_us, content)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE order_item SET state = ?, reason = ?, channel = ?, code = ?, query = ?, sent = ?, after = ?,"
    " changed_us = ?, expires_us = ?, last_id = ?, events = ?, written_us = ?, given_us = ? WHERE number = ?"
)
ADD_EVENT = (
    "INSERT INTO order_event (item, n, at_us, event, state, reason, late, channel, message_id, query, cause, detail,"
    " own_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BEGINS = frozenset({order_rules.ItemEvent.PRELIMINARY, order_rules.ItemEvent.RESULT_HELD})
_LINE = {one.name: one.default for one in fields(orders.OrderLine)}
_PATIENT = {one.name: one.default for one in fields(orders.OrderedPatient)}


@dataclass(slots=True, eq=False)
class Kept:
    """A row of ``order_item``, to be changed by `change` alone; the names are its columns."""

    number: int
    message_id: int
    place: int
    last_id: int
    source: str
    state: orders.ItemState
    reason: orders.ItemReason
    targets: frozenset[str]
    channel: str
    code: str
    query: int
    sent: bool
    after: int
    run: int
    parent: int
    created_us: int
    changed_us: int
    expires_us: int
    waits_us: int
    reuse_us: int
    events: int
    line: orders.OrderLine
    given_us: int = 0
    made: bool = False

    @property
    def origin(self) -> orders.Origin:
        if self.made:
            return "analyzer"
        return "lis" if self.source else "person"

    @property
    def is_open(self) -> bool:
        return self.state in orders.OPEN_STATES

    @property
    def known(self) -> bool:
        """Whether an analyzer has it, or may have it, or is getting it just now."""
        return self.sent or self.query > 0

    def value(self, code: str = "") -> orders.WorkItem:
        return orders.WorkItem(
            number=self.number, line=self.line, state=self.state, reason=self.reason, message_id=self.message_id,
            channel=self.channel, code=code or self.code, created_us=self.created_us, changed_us=self.changed_us,
            expires_us=self.expires_us, run=self.run, parent=self.parent, origin=self.origin,
            given_us=self.given_us, targets=tuple(sorted(self.targets)),
        )  # fmt: skip


# -- keyed hashes --------------------------------------------------------------------------------------------------


def specimen_token(vault: Vault, specimen: str) -> bytes:
    return _token(vault, b"order-specimen", specimen)


def patient_token(vault: Vault, number: str) -> bytes:
    """Of the number without case and blanks, as people search for it and as an erasure finds it."""
    return _token(vault, b"order-patient", folded(number))


def bearer_token(vault: Vault, number: str) -> bytes:
    """Of the number to the letter: a difference in case makes another patient."""
    return _token(vault, b"order-bearer", number)


def placer_token(vault: Vault, number: str) -> bytes:
    return _token(vault, b"order-placer", number)


def filler_token(vault: Vault, number: str) -> bytes:
    return _token(vault, b"order-filler", number)


def place_token(vault: Vault, carrier: str, position: str) -> bytes:
    """Of a place in a rack, or on a tray."""
    return _token(vault, b"order-place", f"{carrier}\x00{position}") if carrier and position else b""


def test_token(vault: Vault, test: str) -> bytes:
    return _token(vault, b"order-test", test)[:8]


def tokens(vault: Vault, line: orders.OrderLine) -> tuple[bytes, ...]:
    """The keyed hashes of a line: columns specimen to test."""
    return (
        specimen_token(vault, line.specimen),
        patient_token(vault, line.patient.number),
        placer_token(vault, line.placer),
        filler_token(vault, line.filler),
        place_token(vault, line.rack, line.position),
        place_token(vault, line.tray, line.tray_position),
        test_token(vault, line.test),
    )


def _token(vault: Vault, kind: bytes, text: str) -> bytes:
    return vault.past_key(kind, text.encode("utf-8", "surrogatepass")) if text else b""


# -- reading -------------------------------------------------------------------------------------------------------


def by_number(rows: Rows, number: int) -> Kept | None:
    row = rows.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else kept(rows.vault, row)


def needed(batch: Batch, number: int) -> Kept:
    """
    Raises:
        RefusedError: there is no such order.
    """
    one = by_number(batch, number)
    if one is None:
        raise RefusedError(f"there is no order {orders.item_id(number)}")
    return one


def of_specimen(rows: Rows, specimen: str, most: int) -> list[Kept]:
    """The newest items of a specimen, oldest first; the number is compared exactly."""
    found = _newest(rows, "specimen", specimen_token(rows.vault, specimen), most)
    return [one for one in found if one.line.specimen == specimen]


def with_open_order(batch: Batch, numbers: Iterable[str]) -> set[str]:
    """Those of these specimen numbers that an order is open for."""
    return {number for number in numbers if any(one.is_open for one in of_specimen(batch, number, orders.MOST_OF_TUBE))}


def of_placer(rows: Rows, placer: str, most: int) -> list[Kept]:
    found = _newest(rows, "placer", placer_token(rows.vault, placer), most)
    return [one for one in found if one.line.placer == placer]


def of_filler(rows: Rows, filler: str, most: int) -> list[Kept]:
    found = _newest(rows, "filler", filler_token(rows.vault, filler), most)
    return [one for one in found if one.line.filler == filler]


def of_order(rows: Rows, line: orders.OrderLine, most: int) -> list[Kept]:
    """The newest items with the number by which the order of a line is known: the placer's, else the filler's, else the
    specimen's."""
    if line.placer:
        return of_placer(rows, line.placer, most)
    return of_filler(rows, line.filler, most) if line.filler else of_specimen(rows, line.specimen, most)


def of_rack(rows: Rows, rack: str, position: str, most: int) -> list[Kept]:
    """The newest items whose order names this place of this rack, oldest first; both are compared exactly."""
    found = _newest(rows, "place", place_token(rows.vault, rack, position), most)
    return [one for one in found if (one.line.rack, one.line.position) == (rack, position)]


def of_tray(rows: Rows, tray: str, position: str, most: int) -> list[Kept]:
    """As `of_rack`, of a tray."""
    found = _newest(rows, "tray", place_token(rows.vault, tray, position), most)
    return [one for one in found if (one.line.tray, one.line.tray_position) == (tray, position)]


def place_of(line: orders.OrderLine) -> tuple[str, str, str, str]:
    """Where the tube is, as the line says; empty texts where it says nothing."""
    return line.rack, line.position, line.tray, line.tray_position


def named_place(rows: Rows, one: Kept) -> tuple[int, int]:
    """The message or act that named the place of an item last, and when."""
    row = rows.execute(
        "SELECT message_id, at_us FROM order_event WHERE item = ? AND event = ? ORDER BY n DESC LIMIT 1",
        (one.number, PLACED),
    ).fetchone()
    return (one.message_id, one.created_us) if row is None else (row[0], row[1])


def open_of_patient(rows: Rows, number: str, most: int) -> list[Kept]:
    """The open items of a patient, oldest first; the number is compared exactly."""
    found = _newest(rows, "patient", patient_token(rows.vault, number), most)
    return [one for one in found if one.is_open and one.line.patient.number == number]


def of_message(rows: Rows, message_id: int) -> list[Kept]:
    """The items that a message or an act made, in their order."""
    select = f"{SELECT} WHERE message_id = ? ORDER BY line, number"
    return [kept(rows.vault, row) for row in rows.execute(select, (message_id,)).fetchall()]


def with_token(rows: Rows, token: bytes, most: int) -> list[Kept]:
    """The newest items whose specimen number has this keyed hash, oldest first; the number is not compared."""
    return _newest(rows, "specimen", token, most)


def _newest(rows: Rows, column: str, token: bytes, most: int) -> list[Kept]:
    if not token:
        return []
    select = f"{SELECT} WHERE {column} = ? AND {column} <> x'' ORDER BY number DESC LIMIT ?"
    return [kept(rows.vault, row) for row in reversed(rows.execute(select, (token, most)).fetchall())]


def kept(vault: Vault, row: tuple[Any, ...]) -> Kept:
    *head, state, reason, targets, channel, code, query, sent, after, run, parent, made = row[:16]
    number, message_id, place, last_id, source = head
    created_us, changed_us, expires_us, waits_us, reuse_us, events, sealed, given_us = row[16:]
    return Kept(
        number, message_id, place, last_id, source, orders.ItemState(state), orders.ItemReason(reason),
        frozenset(filter(None, targets.split(","))), channel, code, query, bool(sent), after, run, parent,
        created_us, changed_us, expires_us, waits_us, reuse_us, events, opened(vault, number, sealed), given_us,
        bool(made),
    )  # fmt: skip


def opened(vault: Vault, number: int, sealed: bytes) -> orders.OrderLine:
    """The line of an item. An erased or damaged one is empty: it is found by no number, and answers no question."""
    try:
        said = orjson.loads(vault.open(sealed, COLUMN, number, "") or b"{}")
    except (IntegrityError, ValueError):  # `labrelay verify` names the row
        return orders.OrderLine()
    if patient := said.pop("patient", None):
        said["patient"] = orders.OrderedPatient(**patient)
    if "targets" in said:
        said["targets"] = tuple(said["targets"])
    return orders.OrderLine(**said)


def packed(line: orders.OrderLine) -> bytes:
    """The line as JSON, without empty parts."""
    said = {name: value for name in _LINE if (value := getattr(line, name)) != _LINE[name]}
    if "patient" in said:
        said["patient"] = {name: value for name in _PATIENT if (value := getattr(line.patient, name)) != _PATIENT[name]}
    return orjson.dumps(said)


# -- writing -------------------------------------------------------------------------------------------------------


def next_number(execute: Execute) -> int:
    (newest,) = execute("SELECT coalesce(max(number), 0) FROM order_item").fetchone()
    return max(int(newest), pruned_ranges.highest(execute, pruned_ranges.ORDER)) + 1


def put(batch: Batch, one: Kept, cause: str = "") -> None:
    """Write a new item with its first event."""
    line, vault = one.line, batch.vault
    batch.orders_changed = True
    sealed = batch.seal(NOTE_KEYS, packed(line), COLUMN, one.number, "")
    batch.execute(
        _INSERT,
        (
            one.number, one.message_id, one.place, one.last_id, one.source, one.state, one.reason,
            RANKS[line.priority], "".join(f"{name}," for name in sorted(one.targets)),
            *tokens(vault, line), one.channel, one.code, int(one.sent), one.after, one.run, one.parent, int(one.made),
            one.created_us, one.changed_us, one.expires_us, one.waits_us, one.reuse_us, batch.now_us, one.given_us,
            sealed,
        ),
    )  # fmt: skip
    batch.execute(
        ADD_EVENT,
        (one.number, 1, one.created_us, TAKEN, one.state, one.reason, 0, one.channel, one.message_id, 0, cause, b"", 0),
    )


def apply(
    batch: Batch,
    one: Kept,
    event: order_rules.ItemEvent,
    *,
    message_id: int = 0,
    channel: str = "",
    query: int = 0,
    cause: str = "",
    detail: str = "",
    at_us: int = 0,
    own_us: int = 0,
) -> order_rules.Step:
    """Let an event happen to an item: by the rules of `engine.features.orders.rules.order_rules`. Written where it
    changes something, is a late result, or is the first proof that an analyzer has the item.
    """
    found = order_rules.step(order_rules.Standing(one.state, one.reason, one.known), event)
    to = found.standing
    if found.done or found.late or (to.known and not one.sent and event in order_rules.MAKES_KNOWN):
        if channel and (
            not one.known if event in _BEGINS else event is order_rules.ItemEvent.WITHDRAWN and not one.channel
        ):
            # An analyzer that was given no order measures it.
            one.channel, one.code = channel, one.code if one.channel == channel else ""
        one.sent = one.sent or event in order_rules.MAKES_KNOWN
        ends = one.is_open and to.state not in orders.OPEN_STATES
        _time(batch, one, event, to.state, cause, at_us or batch.now_us)
        if event is order_rules.ItemEvent.WITHDRAWN:
            one.expires_us = batch.steady_us + one.waits_us
        one.state, one.reason = to.state, to.reason
        if one.after and (to.state, to.reason) == (orders.ItemState.WAITING, orders.ItemReason.NONE):
            one.reason = orders.ItemReason.AFTER_CANCEL
        if ends:
            free_followers(batch, one)
        if found.done:
            one.changed_us = batch.now_us
        note(
            batch, one, event, late=found.late, message_id=message_id, channel=channel, query=query, cause=cause,
            detail=detail, at_us=at_us, own_us=own_us,
        )  # fmt: skip
    return found


def _time(batch: Batch, one: Kept, event: order_rules.ItemEvent, to: orders.ItemState, cause: str, at_us: int) -> None:
    """Note when the analyzer got an item, and learn from its final result how long the test takes there. A match by a
    person says nothing of that, nor does a result that a person has released.
    """
    if to in orders.AT_ANALYZER:
        if one.state not in orders.AT_ANALYZER:
            one.given_us = at_us
    elif (
        event is order_rules.ItemEvent.FINAL
        and one.state in orders.AT_ANALYZER
        and one.reason is not orders.ItemReason.RESULT_HELD
        and one.code
        and not one.made
        and not cause
    ):
        _learn(batch, one.channel, one.code, max(batch.now_us - one.given_us, 0))


def _learn(batch: Batch, channel: str, code: str, took_us: int) -> None:
    row = batch.execute("SELECT took FROM order_usual WHERE channel = ? AND code = ?", (channel, code)).fetchone()
    took = [*map(int, filter(None, row[0].split(",") if row else ())), took_us][-order_rules.NEWEST :]
    learned = order_rules.usual_time(took)
    batch.execute(
        "INSERT OR REPLACE INTO order_usual (channel, code, took, usual_us, late_us) VALUES (?, ?, ?, ?, ?)",
        (channel, code, "".join(f"{one}," for one in took), learned.usual_us, learned.late_us),
    )


def note(
    batch: Batch,
    one: Kept,
    event: str,
    *,
    late: bool = False,
    message_id: int = 0,
    channel: str = "",
    query: int = 0,
    cause: str = "",
    detail: str = "",
    at_us: int = 0,
    own_us: int = 0,
) -> None:
    """Write an item as it is now, with a row that says why.

    Args:
        detail: words of the analyzer.
        at_us: when it happened, where that was before this transaction.
        own_us: of a result, by its own time.
    """
    one.events += 1
    batch.orders_changed = True
    one.last_id = max(one.last_id, message_id)  # an old message may be processed again
    store(batch, one)
    if one.source and order_rules.heard(event, one.state) is not None:
        batch.execute("INSERT INTO order_notice (item, n) VALUES (?, ?)", (one.number, one.events))
    sealed = b""
    if detail:
        words = detail[:MOST_WORDS].encode("utf-8", "surrogatepass")
        sealed = batch.seal(NOTE_KEYS, words, event_column(one.events), one.number, "")
    batch.execute(
        ADD_EVENT,
        (
            one.number, one.events, at_us or batch.now_us, event, one.state, one.reason, int(late), channel,
            message_id, query, cause, sealed, own_us,
        ),
    )  # fmt: skip


def place(batch: Batch, one: Kept, line: orders.OrderLine, message_id: int) -> None:
    """Write the place that a line names to an item."""
    rack, position, tray, tray_position = place_of(line)
    one.line = changed(one.line, rack=rack, position=position, tray=tray, tray_position=tray_position)
    batch.execute(
        "UPDATE order_item SET place = ?, tray = ?, content = ? WHERE number = ?",
        (
            place_token(batch.vault, rack, position),
            place_token(batch.vault, tray, tray_position),
            batch.seal(NOTE_KEYS, packed(one.line), COLUMN, one.number, ""),
            one.number,
        ),
    )
    note(batch, one, PLACED, message_id=message_id)


def set_parent(batch: Batch, number: int, parent: int) -> None:
    """The order whose result a new one is a reflex of."""
    batch.execute("UPDATE order_item SET parent = ? WHERE number = ?", (parent, number))


def store(batch: Batch, one: Kept) -> None:
    """Write the columns of an item that may change."""
    batch.execute(
        _UPDATE,
        (
            one.state, one.reason, one.channel, one.code, one.query, int(one.sent), one.after, one.changed_us,
            one.expires_us, one.last_id, one.events, batch.now_us, one.given_us, one.number,
        ),
    )  # fmt: skip


def event_column(n: int) -> str:
    """The place of the sealed words of an event, with the number of its item."""
    return f"order_event {n}"


def free_followers(batch: Batch, one: Kept) -> None:
    """The version that waited for this one to be given up may be offered."""
    select = f"{SELECT} WHERE after = ? AND after > 0"
    for row in batch.execute(select, (one.number,)).fetchall():
        follower = kept(batch.vault, row)
        follower.after = 0
        if follower.reason is orders.ItemReason.AFTER_CANCEL:
            follower.reason = orders.ItemReason.NONE
        note(batch, follower, FREED)


def leave_query(batch: Batch, one: Kept, outcome: str) -> None:
    """What became of an item in the answer that is under way. The caller writes the item."""
    if one.query:
        batch.execute(
            "UPDATE order_query SET open = max(open - 1, 0), outcome = ?, ended_us = iif(open <= 1, ?, 0)"
            " WHERE number = ?",
            (outcome, batch.now_us, one.query),
        )
        one.query = 0


def cut_targets(names: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    """The targets that this site has; a sender may write anything there, so no other text is stored in clear."""
    return frozenset(names).intersection(known)
