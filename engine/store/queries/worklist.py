"""Reading the worklist: items, their events, questions of analyzers, the way of one tube, results without an order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.errors import IntegrityError
from engine.model.orders import MOST_OF_TUBE, OPEN_STATES, ItemReason, ItemState, LineAnswer, NoOrder, WorkItem
from engine.model.reasons import ReasonCode
from engine.store.core import order_notes
from engine.store.core.notes import opened_note
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault
from engine.store.operations.worklist import items as rows_of
from engine.store.queries.reader import Reader, Rows

PAGE = 200
# As the condition of index order_item_open has it, word by word: else SQLite does not use it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFilter:
    """Which questions. An empty part is no condition.

    Attributes:
        since_us: asked then or later.
        unanswered: the analyzer got no answer, or no order for another reason than that all is done, and it has not
            asked for that tube since.
    """

    channel: str = ""
    since_us: int = 0
    unanswered: bool = False


_EVERY = QueryFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The outcome of a message of a laboratory system.

    Attributes:
        state, reason: of the message.
        answers: to each of its order lines; None: it brought none.
    """

    state: str
    reason: ReasonCode | None
    answers: tuple[LineAnswer, ...] | None


def told_of(reader: Reader, message_id: int) -> Told | None:
    """The outcome of a message, or of the first one with its bytes, where it is a repeat; None: it has none yet.

    Raises:
        StoreError: the journal cannot be read.
    """
    with reader.snapshot() as execute:
        while True:
            row = execute(
                "SELECT s.state, s.reason, s.detail, j.channel, j.meta FROM message_state s"
                " JOIN journal j ON j.id = s.id WHERE s.id = ?",
                (message_id,),
            ).fetchone()
            if row is None:
                return None
            state, reason, sealed, channel, meta = row
            said = opened_note(reader.keys, meta, "meta", message_id, channel)
            earlier = said.get("repeat_of") or said.get("equal_to")
            if reason != ReasonCode.REPEAT.value or earlier is None:
                break
            message_id = earlier
    note = opened_note(reader.keys, sealed, "message_state", message_id, channel)
    found = order_notes.opened(note["answers"]) if "answers" in note else None
    return Told(state=state, reason=ReasonCode[reason] if reason else None, answers=found)


def has_notices(reader: Reader) -> bool:
    """Whether laboratory systems are to hear of changes of their orders."""
    with reader.snapshot() as execute:
        return execute("SELECT 1 FROM order_notice LIMIT 1").fetchone() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHistory:
    """One row of an item's history.

    Attributes:
        event: ``taken``, or as `engine.model.order_rules.ItemEvent`, ``unmapped``, ``cancel_refused``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuery:
    """A question of an analyzer, or a download (``message_id`` 0).

    Attributes:
        received_us: when the question was there; 0 where its message is not kept any more.
        at_us: when it was looked up. ended_us: when it was known of all items whether they arrived; 0: not yet.
        asked: specimens. items: numbers of the items of the answer; codes: of their tests at the analyzer.
        open: items of which it is not known yet whether they arrived.
        outcome: of the last that was known: ``sent``, ``accepted``, ``refused``, or why not.
        none: why there was no order, of those specimens whose number was read.
    """

    number: int
    message_id: int
    channel: str
    received_us: int
    at_us: int
    kind: str
    asked: int
    items: tuple[int, ...]
    codes: tuple[str, ...]
    cut: bool
    open: int
    ended_us: int
    outcome: str
    none: tuple[str, ...] = ()

    @property
    def took_ms(self) -> int | None:
        """From the question to the end of its answer; None: not known, or not yet."""
        return (self.ended_us - self.received_us) // 1000 if self.ended_us and self.received_us else None


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutOrder:
    """Results of one specimen in a message that no order is there for: ``results`` of them, and no match.

    Attributes:
        codes: of their tests, as the analyzer names these; with those that a person has matched since.
    """

    message_id: int
    channel: str
    at_us: int
    results: int
    codes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeTimeline:
    """All that is known of one specimen number: its items, the questions for it, and results without an order, oldest
    first.
    """

    items: tuple[ItemDetails, ...]
    questions: tuple[TubeQuestion, ...]
    without: tuple[WithoutOrder, ...] = ()


# -- items ---------------------------------------------------------------------------------------------------------


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
    if not (wanted.specimen or wanted.patient or wanted.placer or wanted.message_id):
        if wanted.reasons or (wanted.since_us and wanted.states and not OPEN_STATES.intersection(wanted.states)):
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
        terms.append("changed_us < iif(rank = 0, ?, ?)")
        values += reversed(wanted.still_us)
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


def item(reader: Reader, number: int) -> ItemDetails | None:
    """One item with its history; None where there is none of this number."""
    with reader.snapshot() as execute:
        one = rows_of.by_number(Rows(execute, reader.vault), number)
        return None if one is None else _details(execute, reader.vault, one)


def _details(execute: Execute, vault: Vault, one: rows_of.Kept) -> ItemDetails:
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


# -- questions -----------------------------------------------------------------------------------------------------

_QUERY = (
    "SELECT q.number, q.message_id, q.channel, coalesce(j.received_us, 0), q.at_us, q.kind, q.asked, q.items, q.cut,"
    " q.open, q.ended_us, q.outcome, coalesce((SELECT group_concat(DISTINCT a.none) FROM order_asked a"
    " WHERE a.query = q.number AND a.none <> ''), '')"
    " FROM order_query q LEFT JOIN journal j ON j.id = q.message_id WHERE q.number"
)
# Outcomes after which nothing is missing: it was sent, or the analyzer did not want it any more.
_SETTLED = "'sent', 'accepted', 'refused', 'cancel', 'erased'"
_MISSED = ", ".join(
    f"'{one}'" for one in (NoOrder.UNKNOWN, NoOrder.CONFLICT, NoOrder.HELD, NoOrder.UNMAPPED, NoOrder.EXPIRED)
)
_UNANSWERED = (
    "EXISTS (SELECT 1 FROM order_asked a WHERE a.query = order_query.number"  # noqa: S608 - constants
    f" AND (a.none IN ({_MISSED}) OR (a.none = '' AND ended_us > 0 AND outcome NOT IN ({_SETTLED})))"
    " AND NOT EXISTS (SELECT 1 FROM order_asked b WHERE b.specimen = a.specimen AND b.query > a.query))"
)
MOST_CODES = 20  # of one answer that are read


def queries(reader: Reader, wanted: QueryFilter = _EVERY, *, after: int = 0, limit: int = PAGE) -> list[AskedQuery]:
    """Questions and downloads, newest first.

    Args:
        after: only those with a smaller number; 0: from the newest on.
    """
    found, values = _asked(wanted, after)
    with reader.snapshot() as execute:
        rows = execute(
            f"{_QUERY} IN ({found} ORDER BY number DESC LIMIT ?) ORDER BY q.number DESC", (*values, limit)
        ).fetchall()
        return [_query(execute, row) for row in rows]


def count_queries(reader: Reader, wanted: QueryFilter, *, most: int) -> int:
    """How many `queries` are in all, up to ``most``."""
    found, values = _asked(wanted, 0)
    (count,) = reader.row(f"SELECT count(*) FROM ({found} LIMIT ?)", (*values, most))  # noqa: S608 - constants
    return int(count)


def _asked(wanted: QueryFilter, after: int) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if wanted.since_us:  # numbers and times grow together
        terms.append(
            "number > coalesce((SELECT o.number FROM order_query o WHERE o.at_us < ?"
            " ORDER BY o.number DESC LIMIT 1), 0)"
        )
        values.append(wanted.since_us)
    if wanted.channel:
        terms.append("channel = ?")
        values.append(wanted.channel)
    if wanted.unanswered:
        terms.append(_UNANSWERED)
    if after:
        terms.append("number < ?")
        values.append(after)
    return f"SELECT number FROM order_query WHERE {' AND '.join(terms) or '1'}", values  # noqa: S608 - constants


def query(reader: Reader, number: int) -> AskedQuery | None:
    with reader.snapshot() as execute:
        row = execute(f"{_QUERY} = ?", (number,)).fetchone()
        return None if row is None else _query(execute, row)


def _query(execute: Execute, row: tuple[Any, ...]) -> AskedQuery:
    number, message_id, channel, received_us, at_us, kind, asked, named, cut, still_open, ended_us, outcome, none = row
    numbers = tuple(int(one) for one in named.split(",") if one)
    marks = ", ".join("?" * len(numbers[:MOST_CODES]))
    codes = execute(
        f"SELECT code FROM order_item WHERE number IN ({marks}) AND code <> ''",  # noqa: S608 - question marks
        numbers[:MOST_CODES],
    ).fetchall()
    return AskedQuery(
        number=number, message_id=message_id, channel=channel, received_us=received_us, at_us=at_us, kind=kind,
        asked=asked, items=numbers, codes=tuple(code for (code,) in codes), cut=bool(cut), open=still_open,
        ended_us=ended_us, outcome=outcome, none=tuple(sorted(filter(None, none.split(",")))),
    )  # fmt: skip


# -- results without an order --------------------------------------------------------------------------------------


_WITHOUT = "SELECT message_id, channel, at_us, results - matched, codes"


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
    message_id, channel, at_us, results, codes = row
    return WithoutOrder(message_id=message_id, channel=channel, at_us=at_us, results=results, codes=codes)


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


# -- one tube ------------------------------------------------------------------------------------------------------


def tube(reader: Reader, specimen: str, *, limit: int = PAGE) -> TubeTimeline:
    """All that is known of a specimen number, compared exactly: its items, and the newest questions for it."""
    return tube_of(reader, rows_of.specimen_token(reader.vault, specimen), limit=limit, specimen=specimen)


def tube_of_item(reader: Reader, number: int) -> bytes:
    """The keyed hash of an item's specimen number; empty: there is no such item, or it has no number."""
    return _token(reader.row("SELECT specimen FROM order_item WHERE number = ?", (number,)))


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


def _token(row: tuple[Any, ...] | None) -> bytes:
    return b"" if row is None else bytes(row[0])


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
        details = tuple(_details(execute, reader.vault, one) for one in same[-limit:])
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
        questions=tuple(
            TubeQuestion(
                query=query, message_id=message, channel=channel, at_us=at_us, items=n, none=none, outcome=outcome,
                ended_us=ended_us,
            )
            for query, message, channel, at_us, n, none, outcome, ended_us in reversed(asked)
        ),
        without=tuple(map(_without_order, reversed(without))),
    )  # fmt: skip
