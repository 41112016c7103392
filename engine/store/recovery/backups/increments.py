r"""Rows of the journal since a full copy, in files that are written once: they keep the possible data loss short.

    8    "LRROWS1\n"
    4    length of the head, big-endian            head: JSON, below
    ...  rows: fixed fields, then their bytes
    32   SHA-256 of all before

    head {"journal_id", "first", "last", "rows", "before": chain value before the first row, "after": ... of the last,
          "keys": [[id, class, month, wrapped, created_us]], "gaps": [[first, last]], "at": ISO 8601,
          "erased": [[what, number, record, act]], "emptied": {"journal": [row], "document": [row]}}

A piece records its place in the chain: its rows are accepted only where the present chain value is the one before them.
Each row is checked by its hash and the chain when it is written, and once more when it is restored. Only an erasure
changes rows, so they are read beside the running daemon, in short transactions. The wrapped data keys are included, for
a month may have begun since the full copy.

Erasures since then are included as well: the emptied rows as they are now, ``emptied`` in the head
(`engine.store.lifecycle.erasure`), so that a restore brings no content back.

The state of messages is not in a piece but in a file of its own (`engine.store.recovery.backups.state_snapshot`). A
restored message without a verdict there is processed again, and its deliveries have the same keys as before.
"""

import sqlite3
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from engine.model.errors import IntegrityError, OtherHistoryError, StoreError
from engine.store.core.chain import COLUMN_TYPES, COLUMNS, ROW_COLUMNS, SEALED_COLUMNS, JournalRow
from engine.store.core.checks import pruned_ranges as erased
from engine.store.core.connecting import Execute, connect
from engine.store.core.files.durable import write_atomically
from engine.store.integrity.row_check import UnreadableRow, journal_rows
from engine.store.recovery.backups.catalog import Copy, Increment

MAGIC = b"LRROWS1\n"
MAKING = "making.rows"
DOCUMENT_COLUMNS = "id, message_id, revision, ordinal, media_type, hash, conditional, reports, body"
PIECE_ROWS = 20_000  # and
PIECE_BYTES = 64 * 1024 * 1024  # of one file, so that writing and reading it needs bounded memory

_LENGTH = struct.Struct(">I")
# Of a row: its numbers, and the lengths of its texts, then of its blobs; each in the order of the columns.
_NUMBERS, _TEXTS, _BLOBS = ([name for name in COLUMNS if COLUMN_TYPES[name] is kind] for kind in (int, str, bytes))
_FIXED = (*_NUMBERS, *_TEXTS, *_BLOBS)
_ROW = struct.Struct(">" + "".join(COLUMNS[name].copied for name in _FIXED))
_DIGEST_BYTES = 32

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A piece that was read and is intact."""

    journal_id: bytes
    first: int
    last: int
    before: bytes
    after: bytes
    keys: list[tuple[int, str, str, bytes, int]]
    gaps: list[tuple[int, int]]
    rows: list[JournalRow]
    erased: list[tuple[str, int, int, int]]
    emptied_rows: list[JournalRow]
    emptied_documents: list[Row]


def write(copy: Copy, journal: Path) -> Increment | None:
    """Write the next piece beside a full copy; None where no row came since the last one.

    Raises:
        StoreError: it cannot be written, or the journal not read.
        IntegrityError: a row of the journal was changed, or its rows do not continue the copy.
    """
    try:
        with closing(connect(journal)) as connection:
            content = _collect(connection, copy, *end(copy))
        return None if content is None else store(copy, content)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{copy.path}: new rows could not be written there: {error}") from error


def rest(connection: sqlite3.Connection, copy: Copy, last: int, chain: bytes) -> Iterator[Content]:
    """Read the rows for the next pieces, piece by piece to the end, in the transaction of a connection.

    Args:
        last, chain: where the present pieces end (`end`).

    Raises:
        IntegrityError: as `write`.
        sqlite3.Error: the journal cannot be read.
    """
    while (content := _collect(connection, copy, last, chain)) is not None:
        yield content
        last, chain = content.last, content.after


def end(copy: Copy) -> tuple[int, bytes]:
    """The newest row in copy and pieces, and its chain value.

    Raises:
        IntegrityError, OSError: the last piece is damaged.
    """
    pieces = copy.pieces()
    if not pieces:
        return copy.manifest.last_id, bytes.fromhex(copy.manifest.chain)
    return pieces[-1].last, read(pieces[-1].path).after


def read(path: Path) -> Content:
    """Read a piece and check its checksum.

    Raises:
        IntegrityError: it is damaged, or its rows have another form.
        OSError: it cannot be read.
    """
    raw = path.read_bytes()
    body, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    if sha256(body).digest() != digest:
        raise IntegrityError(f"{path}: not what was written")
    if not body.startswith(MAGIC):
        raise IntegrityError(f"{path}: was written by another build of LabRelay")
    (length,) = _LENGTH.unpack_from(body, len(MAGIC))
    at = len(MAGIC) + _LENGTH.size
    head = orjson.loads(body[at : at + length])
    return Content(
        journal_id=bytes.fromhex(head["journal_id"]),
        first=head["first"],
        last=head["last"],
        before=bytes.fromhex(head["before"]),
        after=bytes.fromhex(head["after"]),
        keys=[(key[0], key[1], key[2], b64decode(key[3]), key[4]) for key in head["keys"]],
        gaps=[(gap[0], gap[1]) for gap in head["gaps"]],
        rows=list(_unpacked(body, at + length)),
        erased=[(one[0], one[1], one[2], one[3]) for one in head["erased"]],
        emptied_rows=[row for one in head["emptied"]["journal"] for row in _unpacked(b64decode(one), 0)],
        emptied_documents=[(*one[:5], *map(b64decode, one[5:])) for one in head["emptied"]["document"]],
    )


def _collect(connection: sqlite3.Connection, copy: Copy, last: int, chain: bytes) -> Content | None:
    execute = connection.execute
    (journal_id,) = execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    if journal_id.hex() != copy.manifest.journal_id:
        raise IntegrityError(f"{copy.path}: a copy of another journal")
    newest = execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
    gaps = execute("SELECT first_id, last_id FROM gap WHERE first_id > ?", (last,)).fetchall()
    gone = erased.AccountedRows(execute)
    rows: list[JournalRow] = []
    size, expected, before = 0, last + 1, chain
    given_up = dict(gaps)
    for row in journal_rows(connection, last + 1, newest):
        if isinstance(row, UnreadableRow):
            raise IntegrityError(f"row {row.id} of the journal cannot be read; labrelay verify says more")
        while expected < row.id and expected in given_up:
            expected = given_up[expected] + 1
        computed = row.computed
        intact = computed == row.hash or gone.covers(erased.JOURNAL, row.id, row.hash, computed)
        if row.id != expected or not intact or not row.follows(chain):
            kind = OtherHistoryError if not rows and intact and _is_linked(execute, row) else IntegrityError
            raise kind(f"row {row.id} of the journal is not what was stored; labrelay verify says more")
        rows.append(row)
        chain, expected = row.chain, row.id + 1
        size += sum(len(getattr(row, name)) for name in SEALED_COLUMNS)
        if len(rows) >= PIECE_ROWS or size >= PIECE_BYTES:
            break
    if not rows:
        return None
    keys = execute("SELECT id, class, month, wrapped, created_us FROM data_key").fetchall()
    end = rows[-1].id
    emptied, content = _emptied(execute, last, end)
    return Content(
        journal_id,
        rows[0].id,
        end,
        before,
        chain,
        keys,
        [gap for gap in gaps if gap[1] < end],
        rows,
        emptied,
        [JournalRow._make(row) for what in content if what[0] == erased.JOURNAL for row in what[1:]],
        [row for what in content if what[0] == erased.DOCUMENT for row in what[1:]],
    )


def _is_linked(execute: Execute, row: JournalRow) -> bool:
    """Whether the row continues the chain of the row before it in the journal."""
    before = execute("SELECT chain FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (row.id,)).fetchone()
    return before is not None and row.follows(before[0])


def _emptied(execute: Execute, last: int, end: int) -> tuple[list[tuple[str, int, int, int]], list[Row]]:
    """The erasures that the records between two rows attest, with the emptied rows; and the rows between them that were
    erased, though their record may come in the next piece.
    """
    emptied = execute(
        "SELECT what, number, record, act FROM erased WHERE record > ?1 AND record <= ?2"
        " OR what = 'journal' AND number > ?1 AND number <= ?2",
        (last, end),
    ).fetchall()
    selects = {
        erased.JOURNAL: f"SELECT {ROW_COLUMNS} FROM journal WHERE id = ?",  # noqa: S608 - constant
        erased.DOCUMENT: f"SELECT {DOCUMENT_COLUMNS} FROM document WHERE id = ?",  # noqa: S608 - constant
    }
    return emptied, [
        (what, *execute(selects[what], (number,)).fetchall())
        for what, number, _, _ in emptied
        if what == erased.DOCUMENT or number <= last
    ]


def store(copy: Copy, content: Content) -> Increment:
    """Write a piece, durable."""
    head = orjson.dumps(
        {
            "journal_id": content.journal_id.hex(),
            "first": content.first,
            "last": content.last,
            "rows": len(content.rows),
            "before": content.before.hex(),
            "after": content.after.hex(),
            "keys": [[*key[:3], b64encode(key[3]).decode(), key[4]] for key in content.keys],
            "gaps": content.gaps,
            "erased": content.erased,
            "emptied": {
                "journal": [b64encode(_packed(row)).decode() for row in content.emptied_rows],
                "document": [
                    [*row[:5], *(b64encode(value).decode() for value in row[5:])] for row in content.emptied_documents
                ],
            },
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    path = copy.path / f"{content.first:012}-{content.last:012}.rows"
    digest = sha256()
    # The same name each time, so that no leftovers accumulate.
    with write_atomically(path, copy.path / MAKING, copy.may_grow) as new, new.open("wb") as file:
        for part in (MAGIC, _LENGTH.pack(len(head)), head, *map(_packed, content.rows)):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
    return Increment(path, content.first, content.last)


def _packed(row: JournalRow) -> bytes:
    one = row._asdict()
    parts = [*(one[name].encode() for name in _TEXTS), *(one[name] for name in _BLOBS)]
    return _ROW.pack(*(one[name] for name in _NUMBERS), *map(len, parts)) + b"".join(parts)


def _unpacked(body: bytes, at: int) -> Iterator[JournalRow]:
    while at < len(body):
        one: dict[str, Any] = dict(zip(_FIXED, _ROW.unpack_from(body, at), strict=True))
        at += _ROW.size
        for name in (*_TEXTS, *_BLOBS):
            length = one[name]
            one[name] = body[at : at + length]
            at += length
        yield JournalRow(**one | {name: one[name].decode() for name in _TEXTS})
