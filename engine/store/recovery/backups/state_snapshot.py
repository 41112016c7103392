"""State snapshots: the state of messages at one moment, in files beside a full copy that are written once. They
complete the pieces, which have rows of the journal only.

A piece has received data and people's actions (`engine.store.recovery.backups.increments`). Their results (verdicts,
documents, deliveries and their ends, pauses, holds, releases, rejections, dismissals) change in the journal's other
tables, and a restore without them would send deliveries that a person has stopped. So each round of pieces ends with a
state snapshot: a database of the rows that are new or changed since the snapshot before it, read in the very
transaction that reads the last rows of the journal. Snapshot and rows therefore show the same moment.

    000003-000000123500-<SHA-256>.state     the third file; the journal's newest row then; the sum of the whole file
    000003-<SHA-256>.known                  basis of comparison for the next one; only the newest is kept, or none

Snapshots are applied in their order, each over the one before. Where one is missing or damaged, those behind it are
useless: newer messages are processed again, as after a piece without a snapshot.

Changes are found without a mark on any row. New rows have higher numbers; of the older ones only open ones can have
changed, for an end is final. ``.known`` lists these. Where it is damaged, or belongs to an earlier snapshot, all rows
that were open then or are in a later snapshot are written again, for they may have changed there and back.

Everything is collected on the journal's own disk and then moved to the copies: a share that does not answer must not
keep a transaction open, for that would keep the journal's log from being truncated.

Left out: line traces, which are a help and no evidence; what a restore ends, such as log-in sessions; and deletions by
retention, which deletes the same rows again.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from engine.feature import Table
from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.hashes import unpack_reports
from engine.store.core.connecting import JOURNAL_NAME, Execute, connect
from engine.store.core.files.durable import write_atomically, write_without_log
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.operations.pruning import of_features
from engine.store.operations.search_index import BLOCK_BITS
from engine.store.recovery.backups import increments
from engine.store.recovery.backups.catalog import Copy, StateSnapshot

MAKING = "making.state"
LOCAL = ".standing-"
SPARE_BYTES = 64 * 1024 * 1024  # must stay free on the journal's disk

# The store's own tables that are collected as they say; those of features say the same of themselves. Short-lived ones
# have the time of each entry; it comes from the writer's clock, which is ours, but a transaction may have been under
# way for a while.
_AMID_US = 600_000_000
_DAY_US = 86_400_000_000
_OWN = (
    *(Table(name=one) for one in ("channel", "lane", "pause", "open_act", "kept_answer", "poll_cursor")),
    *(Table(name=one) for one in ("operation", "operation_part", "retried")),
    Table(name="gap", copied="SELECT * FROM main.gap"),
    Table(
        name="message_state",
        copied="SELECT s.* FROM state.touched t JOIN main.message_state s ON s.id = t.id",
    ),
    Table(name="document", copied="SELECT * FROM main.document WHERE id > :document"),
    Table(name="attempt", copied="SELECT a.* FROM state.delivery d JOIN main.attempt a ON a.delivery = d.id"),
    Table(
        name="repeat",
        copied="SELECT r.* FROM main.journal j JOIN main.repeat r ON r.token = substr(j.token, 1, 24)"
        " WHERE j.id > :last AND j.kind = 1",
    ),
    Table(name="edited", copied="SELECT * FROM main.edited WHERE message_id > :last"),
    Table(
        name="message_number",
        copied="SELECT n.* FROM (SELECT DISTINCT id >> :bits AS block FROM state.touched) b"
        " JOIN main.message_number n ON n.block = b.block WHERE n.message_id IN (SELECT id FROM state.touched)",
    ),
    Table(name="server_version", copied="SELECT * FROM main.server_version WHERE until_us >= :since + :memory"),
    Table(name="polled", copied="SELECT * FROM main.polled WHERE until_us = 0 OR until_us >= :since + :memory"),
    Table(name="unmapped_code", copied="SELECT * FROM main.unmapped_code WHERE last_us >= :since"),
    Table(name="hour_count", copied="SELECT * FROM main.hour_count WHERE begins_us >= :since - :day"),
    Table(
        name="counter",
        copied="SELECT * FROM main.counter WHERE day >= date(:since / 1000000, 'unixepoch', '-1 day')",
    ),
)
# A claim is no change for a restore: a claimed delivery is waiting.
_STANDS = "CASE {0}.state WHEN 'sending' THEN 'waiting' ELSE {0}.state END"


class _Mark(NamedTuple):
    """The extent of a snapshot.

    Attributes:
        last: the journal's newest row; ``clear``: the row up to which every message had its verdict.
        delivery, document: the highest numbers of these tables.
        at_us: when that row was received, by the journal's own clock.
        others_us: when a row of a feature was written last (`engine.feature.Table.newest`): much happens to them
            without a row of the journal.
    """

    last: int
    clear: int
    delivery: int
    document: int
    at_us: int
    others_us: int = 0


def write(copy: Copy, journal: Path) -> StateSnapshot | None:
    """Write the rows that are in no piece yet, and then the state snapshot; None where nothing has changed.

    Raises:
        StoreError: it cannot be written, or the journal cannot be read.
        IntegrityError: a row of the journal was changed, or its rows do not continue the copy.
    """
    while increments.write(copy, journal) is not None:  # each in a short transaction; few rows remain afterwards
        pass
    try:
        _tidy(copy, journal.parent)
        with TemporaryDirectory(prefix=LOCAL, dir=journal.parent) as folder:
            local = Path(folder)
            known, number, since = _known(copy, local)
            reached = increments.end(copy)
            with closing(connect(journal)) as connection:
                connection.execute("PRAGMA query_only = 0")  # for the attached file; the journal itself is read-only
                _attach(connection, known, "known", "ro&immutable=1")
                _attach(connection, local / "state", "state", "rwc")
                _attach(connection, local / "fresh", "fresh", "rwc")
                connection.execute("BEGIN")
                _room(connection.execute, journal.parent)
                rows = list(increments.rest(connection, copy, *reached))
                last, chain = (rows[-1].last, rows[-1].after) if rows else reached
                mark, changed = _collect(connection, copy, number, since, last, chain)
                _list_open(connection, "fresh", "main")
                _put_mark(connection, "fresh", mark, "main")
                connection.execute("COMMIT")
            if not changed:
                return None
            for content in rows:
                increments.store(copy, content)
            older = list(copy.path.glob("*.known"))
            written, digest = _named(copy, local / "state", f"{number:06}-{mark.last:012}-", ".state")
            _named(copy, local / "fresh", f"{number:06}-", ".known")  # a crash before it makes the next one larger
            _remove(*older)
            return StateSnapshot(written, number, mark.last, digest)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{copy.path}: the state of messages could not be written there: {error}") from error


def check(standing: StateSnapshot) -> None:
    """Check that a snapshot is unchanged.

    Raises:
        IntegrityError: it is damaged.
        OSError: it cannot be read.
    """
    if _digest(standing.path) != standing.sha256:
        raise IntegrityError(f"{standing.path}: not what was written")


def whole(copy: Copy) -> Iterator[StateSnapshot]:
    """The snapshots beside a copy in their order, up to the first damaged one.

    Raises:
        IntegrityError, OSError: the next one is missing or damaged.
    """
    for number, standing in enumerate(copy.standings(), start=1):
        if standing.number != number:
            raise IntegrityError(f"{copy.path}: the file before {standing.path.name} is missing")
        check(standing)
        yield standing


# -- writing -------------------------------------------------------------------------------------------------------


def _collect(
    connection: sqlite3.Connection,
    copy: Copy,
    number: int,
    since: list[StateSnapshot] | None,
    end: int,
    end_chain: bytes,
) -> tuple[_Mark, bool]:
    """Fill the attached file; return its extent, and whether it has anything new.

    Args:
        end, end_chain: the last row in the pieces, and its chain value.
        since: the snapshots after the one that is compared with, where that is not the last; else None.
    """
    execute = connection.execute
    before = _Mark(*execute("SELECT * FROM known.mark").fetchone())
    last, chain = execute("SELECT id, chain FROM main.journal ORDER BY id DESC LIMIT 1").fetchone() or (0, bytes(32))
    if (end, end_chain) != (last, chain):  # it was restored or salvaged from another source since
        raise IntegrityError(f"{copy.path}: its pieces do not end where the journal does, at row {last}")
    execute("CREATE TABLE state.delivery AS SELECT * FROM main.delivery WHERE id > ?", (before.delivery,))
    execute(
        "INSERT INTO state.delivery SELECT d.* FROM known.delivery k JOIN main.delivery d ON d.id = k.id"  # noqa: S608 - constant
        f" WHERE {_STANDS.format('d')} <> k.state OR d.flags <> k.flags OR d.cause <> k.cause"
        " OR d.attempt <> k.attempt OR ?",
        (since is not None,),
    )
    execute("CREATE TABLE state.touched (id INTEGER PRIMARY KEY)")
    if since is not None:
        execute("INSERT INTO state.touched SELECT id FROM known.message")
        for deliveries, messages in map(_named_in, since):
            connection.executemany(
                "INSERT INTO state.delivery SELECT * FROM main.delivery WHERE id = ? AND id <= ?"
                " AND id NOT IN (SELECT id FROM known.delivery)",
                [(one, before.delivery) for one in deliveries],
            )
            connection.executemany("INSERT OR IGNORE INTO state.touched VALUES (?)", messages)
    for touched in (
        "SELECT id FROM main.message_state WHERE id > :clear",
        "SELECT k.id FROM known.message k JOIN main.message_state s ON s.id = k.id WHERE s.state <> k.state",
        "SELECT id FROM main.message_state WHERE state IN ('dead', 'incomplete')"
        " AND id NOT IN (SELECT id FROM known.message)",
        "SELECT message_id FROM main.document WHERE id > :document",
        "SELECT message_id FROM state.delivery",
    ):
        values = {"clear": before.clear, "document": before.document}
        execute(f"INSERT OR IGNORE INTO state.touched {touched}", values)
    values = {
        "document": before.document, "last": before.last, "bits": BLOCK_BITS,
        "since": before.at_us - _AMID_US, "day": _DAY_US, "memory": REPORT_MEMORY_US,
    }  # fmt: skip
    execute("CREATE TABLE state.data_key AS SELECT * FROM main.data_key")
    _collect_reports(connection)
    for table in _collected():
        _collect_table(execute, table, values)
    mark = _reached(execute, "main", last)
    execute("CREATE TABLE state.meta (name TEXT PRIMARY KEY, value)")
    meta = {"journal_id": bytes.fromhex(copy.manifest.journal_id), "number": number, "last": last, "chain": chain}
    connection.executemany("INSERT INTO state.meta (name, value) VALUES (?, ?)", meta.items())
    touched = execute("SELECT EXISTS (SELECT 1 FROM state.touched)").fetchone()[0]
    return mark, bool(touched) or (last, mark.others_us) != (before.last, before.others_us)


def _collect_reports(connection: sqlite3.Connection) -> None:
    """The present owners of these messages' numbers; and the numbers that may have no owner any more."""
    execute = connection.execute
    execute("CREATE TABLE state.report_key (key BLOB, message_id INTEGER, PRIMARY KEY (key, message_id))")
    rows = execute("SELECT o.message_id, o.reports FROM state.touched t JOIN main.document o ON o.message_id = t.id")
    for message_id, packed in rows.fetchall():
        connection.executemany(
            "INSERT OR IGNORE INTO state.report_key (key, message_id) VALUES (?, ?)",
            [(key, message_id) for one in unpack_reports(packed) for key in (one.key, one.patient) if key],
        )
    execute(
        "CREATE TABLE state.report AS SELECT r.* FROM state.report_key k"
        " JOIN main.report r ON r.key = k.key AND r.message_id = k.message_id"
    )


def _collected() -> list[Table]:
    """The tables that are collected as they say, each behind those that it asks for."""
    return [one for one in (*_OWN, *of_features()) if one.copied is not None]


def _collect_table(execute: Execute, table: Table, values: Mapping[str, int]) -> None:
    name, select = table.name, table.copied or f"SELECT * FROM main.{table.name}"  # noqa: S608 - constants
    if table.by:
        execute(f"CREATE TABLE state.{name}_key (key PRIMARY KEY)")
        execute(f"INSERT OR IGNORE INTO state.{name}_key {select}", values)
        select = f"SELECT t.* FROM state.{name}_key k JOIN main.{name} t ON t.{table.by} = k.key"  # noqa: S608 - constants
    execute(f"CREATE TABLE state.{name} AS {select}", values)


def _reached(execute: Execute, of: str, last: int) -> _Mark:
    """How far the journal attached as ``of`` has come, whose newest row is ``last``."""
    (first,) = execute(
        f"SELECT min(j.id) FROM {of}.journal j LEFT JOIN {of}.message_state s ON s.id = j.id"  # noqa: S608 - constants
        " WHERE j.kind = 1 AND s.id IS NULL AND j.id > coalesce((SELECT value FROM"
        f" {of}.meta WHERE name = 'watermark'), 0)"
    ).fetchone()
    at = execute(f"SELECT received_us FROM {of}.journal WHERE id = ?", (last,)).fetchone()  # noqa: S608 - constants
    return _Mark(
        last=last,
        clear=last if first is None else int(first) - 1,
        delivery=_highest(execute, of, "delivery"),
        document=_highest(execute, of, "document"),
        at_us=at[0] if at else 0,
        others_us=max((_newest(execute, of, one.name, one.newest) for one in of_features() if one.newest), default=0),
    )


def _highest(execute: Execute, of: str, table: str) -> int:
    return int(execute(f"SELECT coalesce(max(id), 0) FROM {of}.{table}").fetchone()[0])  # noqa: S608 - constants


def _newest(execute: Execute, of: str, table: str, column: str) -> int:
    return int(execute(f"SELECT coalesce(max({column}), 0) FROM {of}.{table}").fetchone()[0])  # noqa: S608 - constants


# -- the basis of comparison ---------------------------------------------------------------------------------------


def _known(copy: Copy, local: Path) -> tuple[Path, int, list[StateSnapshot] | None]:
    """A file on this disk to compare with; the number of the next snapshot; and the snapshots since, where it
    is older.
    """
    standings = copy.standings()
    number = max([0, *(standing.number for standing in standings)]) + 1
    for path in sorted(copy.path.glob("*.known"), reverse=True):
        at, _, digest = path.stem.partition("-")
        if at.isdigit() and int(at) < number and _digest(path) == digest:
            since = [standing for standing in standings if standing.number > int(at)]
            return Path(shutil.copyfile(path, local / "known")), number, since or None
    making = local / "known"
    with closing(sqlite3.connect(making, uri=True, isolation_level=None)) as connection:
        write_without_log(connection)
        _attach(connection, copy.path / JOURNAL_NAME, "copy", "ro&immutable=1")
        execute = connection.execute
        _list_open(connection, "main", "copy")
        _put_mark(connection, "main", _reached(execute, "copy", copy.manifest.last_id), "copy")
    return making, number, standings or None


def _named_in(standing: StateSnapshot) -> tuple[list[int], list[tuple[int]]]:
    """The deliveries and the messages in a snapshot; none where it cannot be read, and so not be applied."""
    try:
        with closing(connect(standing.path, immutable=True)) as connection:
            deliveries = connection.execute("SELECT id FROM delivery").fetchall()
            return [row[0] for row in deliveries], connection.execute("SELECT id FROM touched").fetchall()
    except sqlite3.Error:
        return [], []


def _list_open(connection: sqlite3.Connection, into: str, of: str) -> None:
    # One state at a time, for each has its own small index.
    parts = " UNION ALL ".join(
        f"SELECT d.id, {_STANDS.format('d')} AS state, d.flags, d.cause, d.attempt"  # noqa: S608 - constants
        f" FROM {of}.delivery d WHERE d.state {which}"
        for which in ("= 'waiting'", "= 'sending'", "IN ('dead', 'held')")
    )
    connection.execute(f"CREATE TABLE {into}.delivery AS {parts}")
    connection.execute(
        f"CREATE TABLE {into}.message AS SELECT id, state FROM {of}.message_state WHERE state IN ('dead', 'incomplete')"  # noqa: S608 - constants
    )
    connection.execute(f"CREATE UNIQUE INDEX {into}.message_id ON message (id)")


def _put_mark(connection: sqlite3.Connection, into: str, mark: _Mark, of: str) -> None:
    connection.execute(f"CREATE TABLE {into}.mark ({', '.join(_Mark._fields)})")
    connection.execute(f"INSERT INTO {into}.mark VALUES ({', '.join('?' * len(mark))})", mark)  # noqa: S608 - constants
    connection.execute(f"CREATE TABLE {into}.highest (name, number)")
    for one in of_features():
        if one.numbered:
            row = (one.name, _highest(connection.execute, of, one.name))
            connection.execute(f"INSERT INTO {into}.highest VALUES (?, ?)", row)  # noqa: S608 - constant


# -- restoring -----------------------------------------------------------------------------------------------------


def apply(connection: sqlite3.Connection, standing: StateSnapshot, journal_id: bytes) -> None:
    """Put the rows of a snapshot into the new journal, which must have the snapshot's journal rows. No transaction is
    open.

    Raises:
        IntegrityError: it belongs to another journal, or to other rows.
    """
    execute = connection.execute
    _attach(connection, standing.path, "state", "ro&immutable=1")
    try:
        meta = dict(execute("SELECT name, value FROM state.meta").fetchall())
        row = execute("SELECT chain FROM main.journal WHERE id = ?", (meta["last"],)).fetchone()
        chain = row[0] if row is not None else bytes(32)
        if meta["journal_id"] != journal_id or meta["chain"] != chain or (row is None) is not (meta["last"] == 0):
            raise IntegrityError(f"{standing.path}: does not fit the rows that are there")
        execute("BEGIN")
        connection.executemany(
            "DELETE FROM main.report WHERE key = ? AND message_id = ?",
            execute("SELECT key, message_id FROM state.report_key").fetchall(),
        )
        collected = _collected()
        for table in collected:
            if not table.copied:
                execute(f"DELETE FROM main.{table.name}")  # noqa: S608 - constant
            elif table.by:
                keys = f"SELECT key FROM state.{table.name}_key"  # noqa: S608 - constant
                execute(f"DELETE FROM main.{table.name} WHERE {table.by} IN ({keys})")  # noqa: S608 - constants
        for name in ("delivery", "report", *(one.name for one in collected)):
            names = ", ".join(sorted(_columns(execute, "state", name) & _columns(execute, "main", name)))
            if not names:  # written before the schema step that made it
                continue
            execute(f"INSERT OR REPLACE INTO main.{name} ({names}) SELECT {names} FROM state.{name}")  # noqa: S608 - names of our own schema
        execute("COMMIT")
    finally:
        if connection.in_transaction:
            execute("ROLLBACK")
        execute("DETACH state")


def keys(standing: StateSnapshot) -> list[tuple[int, str, str, bytes, int]]:
    """The wrapped data keys that the journal had then."""
    with closing(connect(standing.path, immutable=True)) as connection:
        return connection.execute("SELECT id, class, month, wrapped, created_us FROM data_key").fetchall()


def _columns(execute: Execute, schema: str, table: str) -> set[str]:
    return {row[1] for row in execute(f"PRAGMA {schema}.table_info({table})")}


# -- files ---------------------------------------------------------------------------------------------------------


def _attach(connection: sqlite3.Connection, path: Path, name: str, mode: str) -> None:
    if mode == "rwc":
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?mode={mode}",))
    if mode == "rwc":  # it gets durable with its name
        write_without_log(connection, name)


def _named(copy: Copy, local: Path, prefix: str, suffix: str) -> tuple[Path, str]:
    """Move a finished file into the folder of copies, with its checksum in its final name, durable."""
    digest = _digest(local)
    path = copy.path / f"{prefix}{digest}{suffix}"
    with (
        write_atomically(path, copy.path / MAKING, copy.may_grow) as new,
        local.open("rb") as source,
        new.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    return path, digest


def _room(execute: Execute, data: Path) -> None:
    """Check that the journal's disk has room for the collected rows.

    Raises:
        StoreError: it has none.
    """
    (new,) = execute(
        "SELECT coalesce(sum(length(body)), 0) FROM main.document WHERE id > (SELECT document FROM known.mark)"
    ).fetchone()
    if shutil.disk_usage(data).free < 2 * new + SPARE_BYTES:
        raise StoreError(f"{data}: no room there to collect the state of messages for the backup; new rows are written")


def _tidy(copy: Copy, data: Path) -> None:
    """Remove leftovers of a crash."""
    _remove(copy.path / MAKING)
    for left in data.glob(f"{LOCAL}*"):
        shutil.rmtree(left, ignore_errors=True)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
