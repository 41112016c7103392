"""Read the size of a journal, its oldest content, and the deletions by retention."""

import sqlite3
from contextlib import suppress
from typing import NamedTuple

import orjson

from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import COMPACT_DUE
from engine.store.core.connecting import Execute
from engine.store.core.growth import DAY_US, DAYS, Growth, pages_of, used_bytes
from engine.store.core.moments import first_at
from engine.store.queries.listing import BLOCK_BITS
from engine.store.queries.reader import Reader


class RetainedSpan(NamedTuple):
    """How far back the journal reaches.

    Attributes:
        oldest_us: when the oldest message that is kept was received; 0 without one.
        gone: rows that retention has deleted so far.
        used_bytes: of the file, without what is free in it.
        last_us: when retention last deleted rows (0: never): ``last_messages`` messages, ``last_early`` of them before
            their time, because of the size.
    """

    oldest_us: int
    gone: int
    used_bytes: int
    last_us: int
    last_messages: int
    last_early: int


def identity_of(reader: Reader) -> bytes:
    """The journal's id, 16 bytes."""
    return bytes(reader.row("SELECT value FROM meta WHERE name = 'journal_id'")[0])


def is_compact_due(reader: Reader) -> bool:
    """Whether something was erased since the file was last rewritten."""
    return reader.row("SELECT 1 FROM meta WHERE name = ?", (COMPACT_DUE,)) is not None


def growth_of(reader: Reader, now_us: int) -> Growth:
    """The number of rows, and of those of the last days."""
    with reader.snapshot() as execute:
        first, last = execute(
            # One at a time each is a look-up at one end of the table; together they would scan all of it.
            "SELECT coalesce((SELECT min(id) FROM journal), 0), coalesce((SELECT max(id) FROM journal), 0)"
        ).fetchone()
        bounds = "SELECT received_us FROM journal WHERE id = ?"
        (first_us,) = execute(bounds, (first,)).fetchone() or (0,)
        (last_us,) = execute(bounds, (last,)).fetchone() or (0,)
        since = first_at(execute, now_us - DAYS * DAY_US) if last else 0
        pages, free, page_bytes = pages_of(execute)
        gone = sum(min(one.last, last) - max(one.first, first) + 1 for one in _let_go(execute) if one.last > first)
        kept_us = _oldest_message(execute)
    return Growth(
        file_bytes=pages * page_bytes,
        rows=last - first + 1 - gone if last else 0,
        first_us=first_us,
        last_us=last_us,
        recent=max(0, last - max(since, first) + 1) if last else 0,
        now_us=now_us,
        unused_bytes=free * page_bytes,
        kept_us=kept_us,
    )


def kept_of(reader: Reader) -> RetainedSpan:
    """The age of the oldest content, and the last deletion by retention."""
    with reader.snapshot() as execute:
        oldest_us = _oldest_message(execute)
        gone = _let_go(execute)
        said = execute("SELECT value FROM meta WHERE name = 'retention'").fetchone()
        used = used_bytes(execute)
    last = orjson.loads(said[0]) if said is not None else {}
    return RetainedSpan(
        oldest_us=oldest_us,
        gone=sum(one.last - one.first + 1 for one in gone),
        used_bytes=used,
        last_us=last.get("at_us", 0),
        last_messages=last.get("messages", 0),
        last_early=last.get("early", 0),
    )


def table_sizes(reader: Reader) -> list[tuple[str, int, int | None]]:
    """Each table with its rows and, if SQLite knows them, its bytes with its indexes; reads the whole file.

    Without the deadline of other queries: for people who ask for it.
    """
    with reader.unhurried() as execute:
        names = [
            name
            for (name,) in execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            )
        ]
        sizes: dict[str, int] = {}
        with suppress(sqlite3.OperationalError):  # a SQLite without this built-in table
            sizes = dict(
                execute(
                    "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name"
                    " WHERE d.aggregate = TRUE GROUP BY s.tbl_name"
                ).fetchall()
            )
        return [
            (name, execute(f"SELECT count(*) FROM {name}").fetchone()[0], sizes.get(name))  # noqa: S608 - of the schema
            for name in names
        ]


def free_bytes(reader: Reader) -> int:
    """Unused bytes inside the file; `labrelay journal compact` returns them to the disk."""
    with reader.snapshot() as execute:
        _, free, page_bytes = pages_of(execute)
    return free * page_bytes


def _oldest_message(execute: Execute) -> int:
    """When the oldest remaining message was received; 0 without one."""
    block = f"(id >> {BLOCK_BITS})"
    (oldest,) = execute(
        "SELECT received_us FROM journal WHERE id = (SELECT min(id) FROM journal INDEXED BY journal_channel"  # noqa: S608 - constants
        f" WHERE kind = 1 AND {block} = (SELECT min({block}) FROM journal INDEXED BY journal_channel WHERE kind = 1))"
    ).fetchone() or (0,)
    return int(oldest)


def _let_go(execute: Execute) -> list[pruned_ranges.Range]:
    return [one for one in pruned_ranges.every(execute) if one.what == pruned_ranges.JOURNAL]


def received_behind(execute: Execute, row_id: int) -> int | None:
    """When the first row behind this one was received; None: it is the newest."""
    row = execute("SELECT received_us FROM journal WHERE id > ? ORDER BY id LIMIT 1", (row_id,)).fetchone()
    return None if row is None else int(row[0])
