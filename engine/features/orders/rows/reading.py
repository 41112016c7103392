"""Reading the worklist: its items, and their history.

Reading the worklist for analyzers that must hear of a cancel.

Reading one tube: its orders, the questions for it, and its results that no order is there for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.features.orders.rows import items as rows_of
from engine.features.orders.rules.order_rules import DEFAULT_LATE_US, FLOOR_LATE_US, UsualTime
from engine.model.errors import IntegrityError
from engine.model.orders import AT_ANALYZER, MOST_OF_TUBE, OPEN_STATES, ItemReason, ItemState, WorkItem
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault
from engine.store.queries.reader import Reader, Rows

PAGE = 200
_LATE = (
    "given_us < ? AND given_us < ?"
    " - coalesce((SELECT u.late_us FROM order_usual u WHERE u.channel = order_item.channel"
    " AND u.code = order_item.code), ?) / iif(rank = 0, 2, 1)"
)
# The analyzer that an item's history names last; of one that waits for the end of another item, that one's analyzer.
_CONCERNED = (
    "coalesce((SELECT e.channel FROM order_event e WHERE e.item = order_item.number AND e.channel <> ''"
    " ORDER BY e.n DESC LIMIT 1), (SELECT o.channel FROM order_item o WHERE o.number = order_item.after))"
)
# As the condition of index order_item_open has it, word by word: else SQLite does not use it.
_ASKED_FOR = "state IN ('waiting', 'offered', 'accepted', 'in_progress')"  # of order_item_askable
_ASKABLE = frozenset({ItemState.WAITING, ItemState.OFFERED, ItemState.ACCEPTED, ItemState.IN_PROGRESS})
_OPEN = "state IN ('waiting', 'held', 'offered', 'accepted', 'in_progress', 'cancel_pending')"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """Which items. An empty part is no condition.

    Attributes:
        states, reasons: as `engine.model.orders`.
        channel: the analyzer that has them, or that they name, or, where they name none, any.
        specimen, patient, placer: numbers, exact; the patient's without case.
        message_id: which ordered them.
        open: only those that have not ended.
        since_us: changed then or later.
        still_us: unchanged since before then; of a stat order the second counts.
        still_of: the same for orders that one of these analyzers was concerned with last.
        stat: only stat orders.
        late_us: only those that an analyzer has, and that are late at this time
        (`engine.features.orders.rules.order_rules`).
        after_all_us: only those that were given up, and got a result all the same, then or later.
    """

    states: tuple[ItemState, ...] = ()
    reasons: tuple[ItemReason, ...] = ()
    channel: str = ""
    specimen: str = ""
    patient: str = ""
    placer: str = ""
    message_id: int = 0
    open: bool = False
    since_us: int = 0
    still_us: tuple[int, int] | None = None
    still_of: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    stat: bool = False
    late_us: int = 0
    after_all_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHistory:
    """One row of an item's history.

    Attributes:
        event: ``taken``, or as `engine.features.orders.rules.order_rules.ItemEvent`, ``unmapped``, ``cancel_refused``.
        late: a result of an item that was given up.
        detail: the analyzer's words; empty without them or without the keys.
    """

    n: int
    at_us: int
    event: str
    state: ItemState
    reason: ItemReason
    late: bool
    channel: str
    message_id: int
    query: int
    cause: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDetails:
    """An item with its history, oldest first."""

    item: WorkItem
    targets: tuple[str, ...]
    source: str
    after: int
    history: tuple[ItemHistory, ...]


def items(reader: Reader, wanted: ItemFilter, *, after: int = 0, limit: int = PAGE) -> list[WorkItem]:
    """Items, newest first.

    Args:
        after: only items with a smaller number; 0: from the newest on.
    """
    found, values = _found(reader, wanted, after)
    numbers = f"{found} ORDER BY number DESC LIMIT ?"
    with reader.snapshot() as execute:
        rows = execute(
            f"{rows_of.SELECT} WHERE number IN ({numbers}) ORDER BY number DESC", (*values, limit)
        ).fetchall()
    return [rows_of.kept(reader.vault, row).value() for row in rows]


def count_items(reader: Reader, wanted: ItemFilter, *, most: int) -> tuple[int, int]:
    """How many `items` are in all, up to ``most``, and the oldest change of them; 0 where there are none."""
    found, values = _found(reader, wanted, 0, "changed_us")
    counting = f"SELECT count(*), min(changed_us) FROM ({found} LIMIT ?)"  # noqa: S608 - constants
    count, oldest_us = reader.row(counting, (*values, most))
    return count, oldest_us or 0


def _found(reader: Reader, wanted: ItemFilter, after: int, column: str = "number") -> tuple[str, list[Any]]:
    """A column of the items that fit; each list and its count are this."""
    terms, values = _terms(reader, wanted)
    table = "order_item"
    if not (wanted.specimen or wanted.patient or wanted.placer or wanted.message_id or wanted.after_all_us):
        if wanted.stat and wanted.states and _ASKABLE.issuperset(wanted.states):
            table, terms = "order_item INDEXED BY order_item_askable", [_ASKED_FOR, *terms]
        elif (wanted.reasons and all(wanted.reasons)) or (
            wanted.since_us and wanted.states and not OPEN_STATES.intersection(wanted.states)
        ):
            table, terms = "order_item INDEXED BY order_item_reasoned", ["reason <> ''", *terms]
        elif wanted.open or (wanted.states and OPEN_STATES.issuperset(wanted.states)):
            table, terms = "order_item INDEXED BY order_item_open", [_OPEN, *terms]
    if after:
        terms.append("number < ?")
        values.append(after)
    return f"SELECT {column} FROM {table} WHERE {' AND '.join(terms) or '1'}", values  # noqa: S608 - constants


def _terms(reader: Reader, wanted: ItemFilter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for column, among in (("state", wanted.states), ("reason", wanted.reasons)):
        if among:
            terms.append(f"{column} IN ({', '.join('?' * len(among))})")
            values += among
    if wanted.open:
        terms.append(_OPEN)
    if wanted.since_us:
        terms.append("changed_us >= ?")
        values.append(wanted.since_us)
    if wanted.still_us:
        own = " ".join(["WHEN ? THEN iif(rank = 0, ?, ?)"] * len(wanted.still_of))
        usual = "iif(rank = 0, ?, ?)"
        terms.append(f"changed_us < {f'CASE {_CONCERNED} {own} ELSE {usual} END' if own else usual}")
        for channel, ages_us in wanted.still_of.items():
            values += (channel, *reversed(ages_us))
        values += reversed(wanted.still_us)
    if wanted.stat:
        terms.append("rank = 0")
    if wanted.late_us:
        terms += (f"state IN ({', '.join('?' * len(AT_ANALYZER))})", _LATE)
        values += (*AT_ANALYZER, wanted.late_us - FLOOR_LATE_US // 2, wanted.late_us, DEFAULT_LATE_US)
    if wanted.after_all_us:
        terms.append("number IN (SELECT item FROM order_event WHERE late = 1 AND at_us >= ?)")
        values.append(wanted.after_all_us)
    if wanted.channel:
        terms.append("(channel = ? OR instr(',' || targets, ',' || ? || ',') OR (channel = '' AND targets = ''))")
        values += (wanted.channel, wanted.channel)
    if wanted.message_id:
        terms.append("message_id = ?")
        values.append(wanted.message_id)
    for column, text, token in (
        ("specimen", wanted.specimen, rows_of.specimen_token),
        ("patient", wanted.patient, rows_of.patient_token),
        ("placer", wanted.placer, rows_of.placer_token),
    ):
        if text:
            terms.append(f"{column} = ? AND {column} <> x''")
            values.append(token(reader.vault, text))
    return terms, values


def results_of(reader: Reader, numbers: Iterable[int]) -> dict[int, int]:
    """Item -> the last message with a result of it."""
    asked = tuple(numbers)
    rows = reader.rows(
        "SELECT item, max(message_id) FROM order_event WHERE event IN ('final', 'preliminary')"  # noqa: S608 - marks
        f" AND item IN ({', '.join('?' * len(asked))}) GROUP BY item",
        asked,
    )
    return dict(rows)


def usual_times(reader: Reader, found: Iterable[WorkItem]) -> dict[tuple[str, str], UsualTime]:
    """(channel, code) -> how long that test takes there, for each of these items that has both."""
    learned = {}
    for channel, code in {(one.channel, one.code) for one in found if one.channel and one.code}:
        row = reader.row("SELECT usual_us, late_us FROM order_usual WHERE channel = ? AND code = ?", (channel, code))
        learned[channel, code] = UsualTime() if row is None else UsualTime(*row)
    return learned


def item(reader: Reader, number: int) -> ItemDetails | None:
    """One item with its history; None where there is none of this number."""
    with reader.snapshot() as execute:
        one = rows_of.by_number(Rows(execute, reader.vault), number)
        return None if one is None else with_history(execute, reader.vault, one)


def with_history(execute: Execute, vault: Vault, one: rows_of.Kept) -> ItemDetails:
    rows = execute(
        "SELECT n, at_us, event, state, reason, late, channel, message_id, query, cause, detail FROM order_event"
        " WHERE item = ? ORDER BY n",
        (one.number,),
    ).fetchall()
    history = tuple(_event(vault, one.number, row) for row in rows)
    return ItemDetails(
        item=one.value(), targets=tuple(sorted(one.targets)), source=one.source, after=one.after, history=history
    )


def _event(vault: Vault, number: int, row: tuple[Any, ...]) -> ItemHistory:
    n, at_us, event, state, reason, late, channel, message_id, query, cause, sealed = row
    detail = ""
    if sealed:
        try:
            detail = vault.open(sealed, rows_of.event_column(n), number, "").decode("utf-8", "surrogatepass")
        except IntegrityError:  # `labrelay verify` names it
            detail = ""
    return ItemHistory(
        n=n, at_us=at_us, event=event, state=ItemState(state), reason=ItemReason(reason), late=bool(late),
        channel=channel, message_id=message_id, query=query, cause=cause, detail=detail,
    )  # fmt: skip


def given_up(reader: Reader, channel: str, *, limit: int) -> list[WorkItem]:
    """Items that were cancelled, and that the analyzer of this channel has, or may have, all the same."""
    # SQLite takes the index of open items where all of its condition is said.
    rows = reader.rows(
        f"{rows_of.SELECT} INDEXED BY order_item_open"
        " WHERE state IN ('waiting', 'held', 'offered', 'accepted', 'in_progress', 'cancel_pending')"
        " AND state = 'cancel_pending' AND channel = ? AND query = 0 AND sent = 1 AND made = 0 LIMIT ?",
        (channel, limit),
    )
    return [rows_of.kept(reader.vault, row).value() for row in rows]


_WITHOUT = "SELECT message_id, channel, at_us, results - matched, codes, older"


@dataclass(frozen=True, slots=True)
class TubeQuestion:
    """One time that an analyzer asked for a tube. ``none``: why it got no order; empty: it got ``items`` of them."""

    query: int
    message_id: int
    channel: str
    at_us: int
    items: int
    none: str
    outcome: str
    ended_us: int


@dataclass(frozen=True, slots=True)
class WithoutOrder:
    """Results of one specimen in a message that no order is there for: ``results`` of them, and no match.

    Attributes:
        codes: of their tests, as the analyzer names these; with those that a person has matched since.
        older: there is an order, and it came after a result was measured.
    """

    message_id: int
    channel: str
    at_us: int
    results: int
    codes: str
    older: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeTimeline:
    """All that is known of one specimen number: its items, the questions for it, and results without an order, oldest
    first.
    """

    items: tuple[ItemDetails, ...]
    questions: tuple[TubeQuestion, ...]
    without: tuple[WithoutOrder, ...] = ()


def without_order(
    reader: Reader, *, channel: str = "", since_us: int = 0, after: int = 0, limit: int = PAGE
) -> list[WithoutOrder]:
    """Newest first; ``after``: only of messages with a smaller number."""
    found, values = _without(channel, since_us)
    rows = reader.rows(
        f"{_WITHOUT} {found} AND (? = 0 OR message_id < ?) ORDER BY message_id DESC LIMIT ?",
        (*values, after, after, limit),
    )
    return [_without_order(row) for row in rows]


def _without_order(row: tuple[Any, ...]) -> WithoutOrder:
    *values, older = row
    return WithoutOrder(*[*values, bool(older)])


def count_without(reader: Reader, *, channel: str = "", since_us: int = 0, most: int) -> int:
    """How many `without_order` has in all, up to ``most``."""
    found, values = _without(channel, since_us)
    (count,) = reader.row(f"SELECT count(*) FROM (SELECT 1 {found} LIMIT ?)", (*values, most))  # noqa: S608 - constants
    return int(count)


def _without(channel: str, since_us: int) -> tuple[str, list[Any]]:
    return "FROM order_without WHERE results > matched AND at_us >= ? AND (? = '' OR channel = ?)", [
        since_us,
        channel,
        channel,
    ]


def tube(reader: Reader, specimen: str, *, limit: int = PAGE) -> TubeTimeline:
    """All that is known of a specimen number, compared exactly: its items, and the newest questions for it."""
    return tube_of(reader, rows_of.specimen_token(reader.vault, specimen), limit=limit, specimen=specimen)


def tube_of_item(reader: Reader, number: int) -> bytes:
    """The keyed hash of an item's specimen number; empty: there is no such item, or it has no number."""
    row = reader.row("SELECT specimen FROM order_item WHERE number = ?", (number,))
    return b"" if row is None else bytes(row[0])


def tubes_of_query(reader: Reader, number: int) -> Sequence[bytes]:
    """The keyed hashes of the specimen numbers that a question had."""
    rows = reader.rows("SELECT specimen FROM order_asked WHERE query = ? ORDER BY specimen", (number,))
    return [bytes(token) for (token,) in rows]


def place_in_query(reader: Reader, number: int, specimen: str) -> int:
    """The place of a specimen number among those of a question, from 1; 0: it is none of them."""
    token, tokens = rows_of.specimen_token(reader.vault, specimen), tubes_of_query(reader, number)
    return tokens.index(token) + 1 if token in tokens else 0


def tubes_of_message(reader: Reader, message_id: int) -> Sequence[bytes]:
    """The keyed hashes of the specimen numbers whose results in this message are without an order."""
    rows = reader.rows("SELECT specimen FROM order_without WHERE message_id = ? ORDER BY specimen", (message_id,))
    return [bytes(token) for (token,) in rows]


def tube_of(reader: Reader, token: bytes, *, limit: int = PAGE, specimen: str = "") -> TubeTimeline:
    """All that is known of the specimen number with this keyed hash; its newest items alone have their number compared.

    Args:
        specimen: its number; empty: that of its newest item.
    """
    if not token:
        return TubeTimeline(items=(), questions=())
    with reader.snapshot() as execute:
        at_hand = Rows(execute, reader.vault)
        found = rows_of.with_token(at_hand, token, MOST_OF_TUBE)
        number = specimen or (found[-1].line.specimen if found else "")
        same = [one for one in found if one.line.specimen == number]
        details = tuple(with_history(execute, reader.vault, one) for one in same[-limit:])
        asked = execute(
            "SELECT a.query, q.message_id, q.channel, q.at_us, a.items, a.none, q.outcome, q.ended_us"
            " FROM order_asked a JOIN order_query q ON q.number = a.query WHERE a.specimen = ?"
            " ORDER BY a.query DESC LIMIT ?",
            (token, limit),
        ).fetchall()
        without = execute(
            f"{_WITHOUT} FROM order_without WHERE results > matched AND specimen = ? ORDER BY message_id DESC LIMIT ?",
            (token, limit),
        ).fetchall()
    return TubeTimeline(
        items=details,
        questions=tuple(TubeQuestion(*row) for row in reversed(asked)),
        without=tuple(map(_without_order, reversed(without))),
    )
