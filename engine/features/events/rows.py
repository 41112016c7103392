"""The tables of this feature, with all of its SQL.

The table of webhooks. Events themselves are the journal's.

How far each webhook has got: table ``webhook``. Its events are not kept anew; they are read from its position on.

Note events about states that no row has: of channels and destinations.

Read how far webhooks have got.

Read events in their order: rows of the journal, and events that were noted between them.

A position holds as long as all events behind it are kept and it is of this history. Where it does not, one event `gap`
says so, and reading goes on with the oldest event that is kept. The journal's rows are numbered without gaps, so rows
that are missing are a gap, too.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from engine.feature import Table
from engine.features.events.rules import GAP, Event, Position, Wanted
from engine.model.errors import IntegrityError
from engine.model.journal.records import KIND_ACT, KIND_MESSAGE
from engine.model.process.clock import from_us
from engine.store.core.connecting import Execute
from engine.store.core.notes import BEGUN
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader

TABLES = (Table(name="webhook"),)


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, names: Sequence[str], position: str) -> dict[str, str]:
    """The positions of webhooks, by name; ``position`` for one that has none yet."""
    batch.executemany(
        "INSERT INTO webhook (name, position, given_up, given_up_us) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING",
        [(name, position) for name in names],
    )
    kept = dict(batch.execute("SELECT name, position FROM webhook").fetchall())
    return {name: kept[name] for name in names}


@operation(priority=Priority.SETTLE, can_linger=True)
def reached(batch: Batch, name: str, position: str) -> None:
    """All events before ``position`` were taken, or given up."""
    batch.execute("UPDATE webhook SET position = ? WHERE name = ?", (position, name))


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, name: str, position: str) -> None:
    """The receiver refuses the event before ``position`` for good."""
    batch.execute(
        "UPDATE webhook SET position = ?, given_up = given_up + 1, given_up_us = ? WHERE name = ?",
        (position, batch.now_us, name),
    )


@operation(priority=Priority.SETTLE)
def keep(batch: Batch, names: Collection[str]) -> None:
    """Forget webhooks that are not configured any more."""
    marks = ", ".join("?" * len(names))
    batch.execute(f"DELETE FROM webhook WHERE name NOT IN ({marks})", tuple(names))  # noqa: S608 - question marks


class StateChange(NamedTuple):
    """A channel or destination has another state. ``kind``: channel, destination; ``was``: empty at a start."""

    kind: str
    name: str
    state: str
    was: str


@operation(priority=Priority.SETTLE, can_linger=True)
def note(batch: Batch, changes: Sequence[StateChange]) -> None:
    """Note them, in this order."""
    for one in changes:
        batch.tell(f"{one.kind}.state", **{one.kind: one.name}, state=one.state, was=one.was)


@dataclass(frozen=True, slots=True)
class FailingWebhook:
    """A webhook that is for a person, since then. ``count``: events that were given up; 0: attempts fail."""

    name: str
    since_us: int
    count: int = 0


class StoredWebhook(NamedTuple):
    """A webhook as it is kept. ``given_up``: events that its receiver refused, and when the last one was; 0 never."""

    name: str
    position: str
    given_up: int
    given_up_us: int


def stored_webhooks(reader: Reader) -> list[StoredWebhook]:
    """All of them, by name."""
    rows = reader.rows("SELECT name, position, given_up, given_up_us FROM webhook ORDER BY name")
    return [StoredWebhook(*row) for row in rows]


PAGE = 500  # rows of the journal, and events, that one page looks at

_ROW = "SELECT id, kind, channel, seq, received_us, message_type, size, chain FROM journal"
_WHOLE = "SELECT id, row, at_us, type, data FROM main.event"
_EVENT = _WHOLE.replace("main.", "")
_NONE = b""
OF_ROWS = ("message.received", "act.begun", "act.ended")


class Page(NamedTuple):
    """Events in their order, and the position behind all that was looked at.

    Attributes:
        is_last: nothing more was there.
    """

    events: list[Event]
    position: Position
    is_last: bool


def newest(reader: Reader) -> Position:
    """The position behind all that has happened."""
    with reader.snapshot() as execute:
        return _newest(execute)


def _newest(execute: Execute) -> Position:
    """A position counts all rows, also where a reader sees those of some channels."""
    row = execute("SELECT coalesce(max(id), 0) FROM main.journal").fetchone()[0]
    return _at(execute, row, execute("SELECT coalesce(max(id), 0) FROM main.event").fetchone()[0])


def page(reader: Reader, position: Position, wanted: Wanted) -> Page:
    """The next events behind a position.

    Raises:
        StoreError: the journal cannot be read now, or not in time.
    """
    with reader.snapshot() as execute:
        first = execute(f"{_WHOLE} ORDER BY id LIMIT 1").fetchone()
        if first is None:  # no daemon has opened this journal yet
            return Page([], position, is_last=True)
        if position.event < first[0] - 1 or not _is_ours(execute, position, first[0]):
            older = position.event < first[0] - 1 and first[3] != BEGUN
            why = "deleted" if older else "another-history"
            behind = _at(execute, first[1], first[0] - 1)
            return Page([_gap(behind, first[2], {"reason": why, "kept_from": _time(first[2])})], behind, is_last=False)
        with_rows = not wanted.types.isdisjoint(OF_ROWS)  # else no row has to be read
        rows = []
        if with_rows:
            rows = execute(f"{_ROW} WHERE id > ? ORDER BY id LIMIT ?", (position.row, PAGE)).fetchall()
        noted = execute(f"{_EVENT} WHERE id > ? ORDER BY id LIMIT ?", (position.event, PAGE)).fetchall()
        marks = _Marks(execute, position, with_rows=with_rows)
        found = list(_merged(reader, execute, rows, noted, wanted, marks))
        is_last = len(rows) < PAGE and len(noted) < PAGE
        behind = _newest(execute) if is_last and not reader.is_whole else marks.position()  # past what others have
        return Page(found, behind, is_last=is_last)


class _Marks:
    """How far a page has come: the last row and the last event, each with what shows its history."""

    def __init__(self, execute: Execute, position: Position, *, with_rows: bool) -> None:
        self._execute = execute
        self._with_rows = with_rows
        self.row, self.event = position.row, position.event
        self._chain: bytes | None = None
        self._noted: bytes | None = None

    def pass_row(self, number: int, chain: bytes) -> None:
        self.row, self._chain = number, chain

    def pass_event(self, row: tuple[Any, ...]) -> None:
        self.event, self._noted = row[0], _shown(row)
        if not self._with_rows and row[1] > self.row:
            self.row, self._chain = row[1], None

    def position(self) -> Position:
        if self._chain is None:
            self._chain = _chain_of(self._execute, self.row)
        if self._noted is None:
            self._noted = _noted_of(self._execute, self.event)
        return Position(self.row, self.event, _check(self._chain, self._noted))


def _merged(
    reader: Reader, execute: Execute, rows: list[Any], noted: list[Any], wanted: Wanted, marks: _Marks
) -> Iterator[Event]:
    """Both in one order: an event follows the row that was the newest when it was noted. Where one of the lists may go
    on, the other one waits at its end."""
    at_row, at_event = 0, 0
    while True:
        row = rows[at_row] if at_row < len(rows) else None
        event = noted[at_event] if at_event < len(noted) else None
        if (row is None and len(rows) == PAGE) or (event is None and len(noted) == PAGE):
            return
        if row is not None and (event is None or row[0] <= event[1]):
            at_row += 1
            missing = (marks.row + 1, row[0] - 1)
            if missing[0] <= missing[1] and reader.is_whole:
                marks.pass_row(missing[1], _NONE)
                said = {"reason": "deleted-rows", "first_row": missing[0], "last_row": missing[1]}
                yield _gap(marks.position(), row[4], said)
            marks.pass_row(row[0], row[-1])
            if (told := _of_row(reader, execute, row, wanted)) is not None:
                yield Event(marks.position(), told[0], _time(row[4]), orjson.dumps(told[1]))
        elif event is not None:
            at_event += 1
            marks.pass_event(event)
            if event[3] in wanted.types:
                yield Event(marks.position(), event[3], _time(event[2]), event[4].encode())
        else:
            return


def _of_row(reader: Reader, execute: Execute, row: Any, wanted: Wanted) -> tuple[str, dict[str, Any]] | None:
    """The type and the data of a row's event; None where it has none, or none that is wanted."""
    number, kind, channel, seq, at_us, message_type, size, _ = row
    if kind == KIND_MESSAGE and "message.received" in wanted.types:
        said = {"message": number, "channel": channel, "number": seq, "message_type": message_type, "size": size}
        return "message.received", said
    if kind == KIND_ACT and not wanted.types.isdisjoint(("act.begun", "act.ended")):
        body = execute("SELECT body FROM journal WHERE id = ?", (number,)).fetchone()[0]
        try:
            act = act_of(reader, (number, at_us, body))
        except IntegrityError:  # `labrelay verify` names the row
            act = None
        if act is not None and act.ended:
            return ("act.ended", {"act": act.ended, "row": number}) if "act.ended" in wanted.types else None
        if "act.begun" in wanted.types:
            return "act.begun", {"act": number, "verb": act.verb if act else "", "actor": act.actor if act else ""}
    return None


def _gap(position: Position, at_us: int, said: dict[str, Any]) -> Event:
    return Event(position, GAP, _time(at_us), orjson.dumps(said))


def _at(execute: Execute, row: int, event: int) -> Position:
    return Position(row, event, _check(_chain_of(execute, row), _noted_of(execute, event)))


def _chain_of(execute: Execute, row: int) -> bytes:
    """The chain value of a row: it shows all rows before it, too. Empty where the row is not there."""
    found = execute("SELECT chain FROM main.journal WHERE id = ?", (row,)).fetchone()
    return found[0] if found else _NONE


def _noted_of(execute: Execute, event: int) -> bytes:
    found = execute(f"{_WHOLE} WHERE id = ?", (event,)).fetchone()
    return _shown(found) if found else _NONE


def _shown(event: tuple[Any, ...]) -> bytes:
    return "\0".join(map(str, event)).encode()


def _is_ours(execute: Execute, position: Position, first: int) -> bool:
    """Whether a position is of this history: by the row and the event before it, as far as these are kept.

    Args:
        first: the oldest event that is kept.
    """
    chain, noted = _chain_of(execute, position.row), _noted_of(execute, position.event)
    found = _check(chain, noted)
    row_gone = not chain and 0 < position.row < execute("SELECT coalesce(max(id), 0) FROM main.journal").fetchone()[0]
    event_gone = not noted and position.event == first - 1
    return (row_gone or found[:4] == position.check[:4]) and (event_gone or found[4:] == position.check[4:])


def _check(chain: bytes, noted: bytes) -> str:
    """Four hex digits of each: one of both may be deleted later."""
    return sha256(chain).hexdigest()[:4] + sha256(noted).hexdigest()[:4]


def _time(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
