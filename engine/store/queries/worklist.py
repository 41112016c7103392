"""Reading the worklist: items, their events, questions of analyzers, the way of one tube."""

from dataclasses import dataclass, replace
from typing import Any

from engine.model.errors import IntegrityError
from engine.model.orders import MOST_OF_TUBE, OPEN_STATES, ItemReason, ItemState, LineAnswer, WorkItem
from engine.model.reasons import ReasonCode
from engine.store.core import order_notes
from engine.store.core.notes import opened_note
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault
from engine.store.operations.worklist import items as rows_of
from engine.store.queries.reader import Reader, Rows

PAGE = 200
_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """Which items. An empty part is no condition.

    Attributes:
        states, reason: as `engine.model.orders`.
        channel: the analyzer that has them, or that they name, or, where they name none, any.
        specimen, patient, placer: numbers, exact; the patient's without case.
        message_id: which ordered them.
        open: only those that have not ended.
    """

    states: tuple[ItemState, ...] = ()
    reason: ItemReason | None = None
    channel: str = ""
    specimen: str = ""
    patient: str = ""
    placer: str = ""
    message_id: int = 0
    open: bool = False


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
        asked: specimens. items: numbers of the items of the answer.
        open: items of which it is not known yet whether they arrived.
        outcome: of the last that was known: ``sent``, ``accepted``, ``refused``, or why not.
        none: why there was no order, of those specimens whose number was read.
    """

    number: int
    message_id: int
    channel: str
    at_us: int
    kind: str
    asked: int
    items: tuple[int, ...]
    cut: bool
    open: int
    ended_us: int
    outcome: str
    none: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeQuestion:
    """One time that an analyzer asked for a tube. ``none``: why it got no order; empty: it got ``items`` of them."""

    query: int
    message_id: int
    channel: str
    at_us: int
    items: int
    none: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeTimeline:
    """All that is known of one specimen number: its items, and the questions for it, oldest first."""

    items: tuple[ItemDetails, ...]
    questions: tuple[TubeQuestion, ...]


_QUERY = "SELECT number, message_id, channel, at_us, kind, asked, items, cut, open, ended_us, outcome FROM order_query"


def items(reader: Reader, wanted: ItemFilter, *, after: int = 0, limit: int = PAGE) -> list[WorkItem]:
    """Items, newest first.

    Args:
        after: only items with a smaller number; 0: from the newest on.
    """
    terms, values = _terms(reader, wanted)
    if after:
        terms.append("number < ?")
        values.append(after)
    where = " AND ".join(terms) or "1"
    with reader.snapshot() as execute:
        found = execute(f"{rows_of.SELECT} WHERE {where} ORDER BY number DESC LIMIT ?", (*values, limit)).fetchall()
    return [rows_of.kept(reader.vault, row).value() for row in found]


def _terms(reader: Reader, wanted: ItemFilter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if wanted.states:
        terms.append(f"state IN ({', '.join('?' * len(wanted.states))})")
        values += wanted.states
    if wanted.open:
        terms.append(f"state IN ({_OPEN})")
    if wanted.reason is not None:
        terms.append("reason = ?")
        values.append(wanted.reason)
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


def queries(reader: Reader, channel: str = "", *, after: int = 0, limit: int = PAGE) -> list[AskedQuery]:
    """Questions and downloads, newest first.

    Args:
        channel: empty: of all.
        after: only those with a smaller number; 0: from the newest on.
    """
    terms, values = ["(? = 0 OR number < ?)"], [after, after]
    if channel:
        terms.append("channel = ?")
    rows = reader.rows(
        f"{_QUERY} WHERE {' AND '.join(terms)} ORDER BY number DESC LIMIT ?",
        (*values, *([channel] if channel else []), limit),
    )
    return [replace(_query(row), none=_nones(reader, row[0])) for row in rows]


def _nones(reader: Reader, number: int) -> tuple[str, ...]:
    rows = reader.rows("SELECT DISTINCT none FROM order_asked WHERE query = ? AND none <> '' ORDER BY 1", (number,))
    return tuple(row[0] for row in rows)


def query(reader: Reader, number: int) -> AskedQuery | None:
    row = reader.row(f"{_QUERY} WHERE number = ?", (number,))
    return None if row is None else _query(row)


def _query(row: tuple[Any, ...]) -> AskedQuery:
    number, message_id, channel, at_us, kind, asked, numbers, cut, still_open, ended_us, outcome = row
    return AskedQuery(
        number=number, message_id=message_id, channel=channel, at_us=at_us, kind=kind, asked=asked,
        items=tuple(int(one) for one in numbers.split(",") if one), cut=bool(cut), open=still_open, ended_us=ended_us,
        outcome=outcome,
    )  # fmt: skip


def waiting(reader: Reader) -> dict[tuple[str, ItemState, ItemReason], int]:
    """Open items: (channel that has them or was answered with them last, state, reason) -> how many."""
    rows = reader.rows(
        f"SELECT channel, state, reason, count(*) FROM order_item WHERE state IN ({_OPEN}) GROUP BY 1, 2, 3"  # noqa: S608 - constants
    )
    return {(channel, ItemState(state), ItemReason(reason)): n for channel, state, reason, n in rows}


def tube(reader: Reader, specimen: str, *, limit: int = PAGE) -> TubeTimeline:
    """All that is known of a specimen number, compared exactly: its items, and the newest questions for it."""
    with reader.snapshot() as execute:
        at_hand = Rows(execute, reader.vault)
        found = rows_of.of_specimen(at_hand, specimen, MOST_OF_TUBE) if specimen else []
        details = tuple(_details(execute, reader.vault, one) for one in found[-limit:])
        asked = execute(
            "SELECT a.query, q.message_id, q.channel, q.at_us, a.items, a.none FROM order_asked a"
            " JOIN order_query q ON q.number = a.query WHERE a.specimen = ? ORDER BY a.query DESC LIMIT ?",
            (rows_of.specimen_token(reader.vault, specimen), limit),
        ).fetchall()
    return TubeTimeline(
        items=details,
        questions=tuple(
            TubeQuestion(query=query, message_id=message, channel=channel, at_us=at_us, items=n, none=none)
            for query, message, channel, at_us, n, none in reversed(asked)
        ),
    )
