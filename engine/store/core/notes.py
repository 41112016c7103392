"""The notes of deliveries and of their attempts: why one is where it is, and how the destination answered.

Events that are noted in the transaction of the change that they tell of: table ``event``.

Messages received and acts of people have rows of the journal, and need none here. An event names the newest row of the
journal then: so both have one order (`engine.features.events.rows`). Numbers rise by one and are never used
again: the first one of a table is the time in microseconds. A journal that was restored or salvaged begins with an
empty table.
"""

import sqlite3
from typing import Any, NamedTuple

import orjson

from engine.model.errors import IntegrityError
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault


def note_of(detail: str, answer: bytes) -> dict[str, Any]:
    """The note to seal, as `read_note` reads it; empty where there is nothing to say."""
    note: dict[str, Any] = {}
    if detail:
        note["detail"] = detail
    if answer:
        # One character per byte: an answer may be anything, and must be read back unchanged.
        note["answer"] = answer.decode("latin-1")
    return note


def read_note(opened: bytes) -> tuple[str, bytes]:
    """(detail, answer) of a note that `bury` or `postpone` stored; both are empty without a note."""
    if not opened:
        return "", b""
    note = orjson.loads(opened)
    return note.get("detail", ""), note.get("answer", "").encode("latin-1")


def opened_note(vault: Vault | None, sealed: bytes, column: str, row_id: int, channel: str) -> dict[str, Any]:
    """A sealed JSON object; empty without the keys, or where it is empty or damaged: `labrelay verify` reports that."""
    try:
        return dict(orjson.loads(vault.open(sealed, column, row_id, channel))) if sealed and vault is not None else {}
    except IntegrityError:
        return {}


MOST_EVENTS = 300_000  # about 40 MB; the oldest go
BEGUN = "begun"  # the type of the first one, which readers do not get


class Noted(NamedTuple):
    """One event, before it has a number. ``row``: the journal's newest row then."""

    row: int
    type: str
    data: dict[str, Any]


class EventEnds(NamedTuple):
    """The numbers of the oldest event that is kept, and of the newest."""

    first: int
    last: int


def begin(connection: sqlite3.Connection, now_us: int) -> EventEnds:
    """The events of a journal that is being opened; begin their numbers where there are none."""
    connection.execute(
        "INSERT INTO event (id, row, at_us, type, data)"
        " SELECT ?, coalesce((SELECT max(id) FROM journal), 0), ?, ?, '{}'"
        " WHERE NOT EXISTS (SELECT 1 FROM event)",
        (now_us, now_us, BEGUN),
    )
    return EventEnds(*connection.execute("SELECT min(id), max(id) FROM event").fetchone())


def begin_anew(execute: Execute) -> None:
    """Forget all events: the journal has another history than they tell of."""
    execute("DELETE FROM event")


def write(execute: Execute, executemany: Execute, noted: list[Noted], ends: EventEnds, now_us: int) -> EventEnds:
    """Write events of one transaction, and let the oldest go beyond `MOST_EVENTS`."""
    executemany(
        "INSERT INTO event (id, row, at_us, type, data) VALUES (?, ?, ?, ?, ?)",
        [
            (number, one.row, now_us, one.type, orjson.dumps(one.data).decode())
            for number, one in enumerate(noted, start=ends.last + 1)
        ],
    )
    first, last = ends.first, ends.last + len(noted)
    if last - first >= MOST_EVENTS:
        first = last - MOST_EVENTS + 1
        execute("DELETE FROM event WHERE id < ?", (first,))
    return EventEnds(first, last)
