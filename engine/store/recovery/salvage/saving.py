"""A salvage from beginning to end: the ways to read the damaged files, the steps, and the audit row.

Places in lanes, tallies of lanes and channels, and pauses are counted from the remaining rows.

A damaged write-ahead log is made readable to its end. SQLite reads a log up to the first frame with a wrong checksum,
for each checksum covers all frames before it: one flipped bit hides every commit behind it. The hidden frames are still
there. Here each frame gets the checksum of its present content, so that SQLite reads on; whether the pages are right,
the reader must check (rows of the journal carry a hash of their own). Source: the SQLite file format, section 4, "The
Write-Ahead Log". Pure.

    32  header: magic, version, page size, sequence number, salts 1 and 2, checksums 1 and 2; big-endian
    then frames, each a page behind 24 bytes: page number, pages in all after a commit (else 0), salts, checksums
"""

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from engine.model.errors import ConfigError, DamagedError, IntegrityError, StoreError
from engine.model.process.clock import Clock
from engine.store.core import anchor, connecting
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME, connect, data_keys
from engine.store.core.files.durable import SALVAGING, publish, raise_if_in_use
from engine.store.core.files.lock import SiteLock
from engine.store.core.key_encryption_key import FoundKey, Source, unlock
from engine.store.core.vault import KEY_NAME, Vault, write_kek
from engine.store.core.writing.batch import Batch
from engine.store.integrity import rollback, verify
from engine.store.integrity.verify import Progress
from engine.store.journal import Journal
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import audit, bulk, pruning, search_index
from engine.store.recovery.salvage import proven
from engine.store.recovery.salvage.found import Salvage
from engine.store.recovery.salvage.proven import JournalRows
from engine.store.recovery.salvage.tables import SALVAGE, Tables, without_own_indexes

REPORT_NAME = "salvage.json"
_VERDICT = (  # verdicts that are trusted
    "?2 IN ('mapped', 'filtered', 'dead', 'incomplete', 'dismissed')"
    " AND EXISTS (SELECT 1 FROM journal WHERE id = ?1 AND kind = 1)"
)


@dataclass(frozen=True, slots=True)
class _Order:
    reading: anchor.AnchorState  # the old anchor
    clock: Clock
    actor: str
    reason: str
    progress: Progress


def run(
    data: Path,
    target: Path,
    *,
    clock: Clock,
    actor: str,
    reason: str,
    progress: Progress | None = None,
) -> Salvage:
    """Make a new journal in folder ``target`` from the readable rows in ``data``. The daemon must not be running.

    Args:
        actor, reason: the person and the reason, for the audit trail.
        progress: called with (rows checked, rows in all).

    Raises:
        LockedError: a daemon has the journal.
        StoreError: there is none, ``target`` is in use, or has no room.
        DamagedError: its tables or its keys cannot be read.
        ConfigError, IntegrityError: its key is missing or another one.
    """
    try:
        return _run(data, target, clock, actor, reason, progress or (lambda done, total: None))
    except OSError as error:
        raise StoreError(f"{target}: the journal cannot be saved there: {error.strerror}") from error


def _run(data: Path, target: Path, clock: Clock, actor: str, reason: str, progress: Progress) -> Salvage:
    path = (data / JOURNAL_NAME).resolve()  # of a link to another disk the log is beside the file itself
    if not path.exists():
        raise StoreError(f"{path}: there is no journal")
    raise_if_in_use(target)
    with SiteLock.acquire(data):
        order = _Order(anchor.read(data / ANCHOR_NAME), clock, actor, reason, progress)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        trouble: Exception | None = None
        with TemporaryDirectory(prefix=SALVAGING, dir=target) as scratch:
            for number, (whole, hidden) in enumerate(_readings(path, Path(scratch))):
                made = Path(scratch) / f"new{number}"
                made.mkdir(mode=0o700)
                try:
                    with closing(connect(whole)) as source:
                        connecting.check_readable(source)
                        saved = _copy(source, data, made, order, hidden)
                except DAMAGE as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                        raise StoreError(
                            f"{target}: no room there for a copy of the journal; nothing was made"
                        ) from error
                    trouble = error
                else:
                    # The journal last: a daemon cannot start on the leftovers of a crash here.
                    publish(made, target, last=JOURNAL_NAME)
                    return saved
        raise DamagedError(
            f"{path}: its tables or its keys cannot be read ({trouble}), and nothing was made of it",
            "labrelay restore brings back a backup; without one, docs/runbook.md says how to begin anew",
        )


def _readings(path: Path, scratch: Path) -> Iterator[tuple[Path, int]]:
    """The ways to read the journal, the most promising first, each with the number of log frames that it recovers.

    A log with a damaged frame is repaired twice: with that frame, for the damage most often hits a row that the others
    do not need; and without it, for its page may have replaced one that is needed.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists():
        content, pages = log.read_bytes(), path.stat().st_size // PAGE_BYTES
        for number, keep in enumerate((True, False)):
            repaired = repair(content, pages, keep_damaged=keep)
            if repaired is not None:
                folder = scratch / f"mended{number}"
                folder.mkdir(mode=0o700)
                shutil.copyfile(path, folder / path.name)
                (folder / log.name).write_bytes(repaired.log)
                yield folder / path.name, repaired.hidden
                shutil.rmtree(folder)
    yield path, 0


def _copy(source: sqlite3.Connection, data: Path, folder: Path, order: _Order, hidden: int) -> Salvage:
    """Make the new journal in ``folder``, step by step; later steps use the results of earlier ones."""
    wrapped = data_keys(source)
    key = _key(source, data)
    vault = Vault(key.kek, wrapped)
    salvage = Salvage(hidden=hidden)
    tables = Tables(source, folder / JOURNAL_NAME, salvage)
    with closing(tables.new) as new:
        rows = JournalRows(tables, vault, order.reading.mark, order.progress)
        new.execute("BEGIN IMMEDIATE")
        tables.take_meta()
        last_id, chain = rows.take()
        decided = proven.decided(new, vault)
        for table in tables.memories():
            tables.take(table)
        lost = [one for part in SALVAGE.each() for one in part.take(tables, vault, rows.gone)]
        tables.take("message_state", _VERDICT)
        search_index.add_again(new.execute)
        proven.take_documents(tables, rows.emptied)
        tables.take("lane")
        pause_lanes(new)
        proven.take_deliveries(tables, vault)
        proven.restore_verdicts(tables, vault, decided)
        proven.process_again(tables, rows.gone, decided)
        for part in SALVAGE.each():
            part.again(tables)
        proven.remember_reports(new, order.clock.now_us())
        number_lanes(new)
        count_channels(tables, all_may_be_gone=bool(rows.gone))
        tables.take("open_act", "EXISTS (SELECT 1 FROM journal WHERE id = ?1 AND kind = 3)")
        bulk.cancel_all(new.execute)
        without_own_indexes(new)
        new.execute("COMMIT")
        (journal_id,) = new.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
        gone = [*rows.ranges_now(), *lost]
    if key.source in (Source.FILE, Source.NEW_FILE, Source.OLD_FILE):  # a file beside the journal goes with it
        write_kek(folder / KEY_NAME, key.kek)
    Anchor(folder / ANCHOR_NAME, journal_id, last_id, chain, vault.anchor_seal).close()
    salvage.damaged = sorted(tables.damaged)
    journal = Journal.open(folder, clock=order.clock)
    try:
        journal.run_alone(partial(_note_gaps, salvage, order, gone))
    finally:
        journal.close()
    salvage.findings = [str(found) for found in verify.run(folder, deep=True)]
    (folder / REPORT_NAME).write_bytes(orjson.dumps(asdict(salvage), option=orjson.OPT_INDENT_2))
    return salvage


def _key(source: sqlite3.Connection, data: Path) -> FoundKey:
    expected = source.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
    if expected is None:
        raise sqlite3.DatabaseError("the check of its key is missing")
    try:
        return unlock(data, expected[0])
    except (ConfigError, IntegrityError, OSError) as error:
        raise IntegrityError(
            "the key of this journal is not at hand: put it back first, for without it nothing is proven"
        ) from error


def _note_gaps(salvage: Salvage, order: _Order, gone: list[Range], batch: Batch) -> int:
    """Write the audit row with its gaps, and the record of the pruned ranges."""
    ranges = [(one.first, one.last) for one in salvage.missing]
    what = {
        "rows": salvage.rows,
        "missing": ranges,
        "mended": salvage.mended,
        "orders": [(one.first, one.last) for one in salvage.orders],
        "chain_before": order.reading.mark.chain.hex() if order.reading.mark else "",
        "reason": order.reason,
    }
    act = audit.give_up(batch, order.actor, "salvage", what, _joined(ranges))
    rollback.begin_history(batch, act)
    if gone:
        pruning.vouch(batch, gone, {"salvaged": len(gone)})
    for part in SALVAGE.each():
        part.go_on(batch)
    rollback.go_on_from_earlier_state(batch, act)
    return act


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join adjacent ranges."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def pause_lanes(new: sqlite3.Connection) -> None:
    """Keep pauses that are recorded in either place; a person can resume them."""
    new.execute(
        "INSERT OR IGNORE INTO pause (channel, destination, since_us, act)"
        " SELECT channel, destination, 0, 0 FROM lane WHERE paused <> 0"
    )
    new.execute("UPDATE lane SET paused = 1 WHERE (channel, destination) IN (SELECT channel, destination FROM pause)")


def number_lanes(new: sqlite3.Connection) -> None:
    """Close the gaps in a lane's numbers: remaining deliveries move up, in order. Then recount the tallies."""
    execute = new.execute
    for (lane_id,) in execute("SELECT id FROM lane").fetchall():
        rows = execute("SELECT id, seq FROM delivery WHERE lane = ? ORDER BY seq", (lane_id,)).fetchall()
        for wanted, (delivery_id, seq) in enumerate(rows, 1):
            if seq != wanted:  # always downwards, so never onto a used number
                execute("UPDATE delivery SET seq = ? WHERE id = ?", (wanted, delivery_id))
        execute("UPDATE lane SET last_seq = ? WHERE id = ?", (len(rows), lane_id))
    for column, states in (("open", "'waiting', 'sending'"), ("dead", "'dead'"), ("held", "'held'")):
        execute(
            f"UPDATE lane SET {column} ="  # noqa: S608 - constants
            f" (SELECT count(*) FROM delivery WHERE lane = lane.id AND state IN ({states}))"
        )
    execute("UPDATE lane SET held_by = 0 WHERE held_by NOT IN (SELECT id FROM delivery WHERE state = 'dead')")


def count_channels(tables: Tables, *, all_may_be_gone: bool) -> None:
    """Recount the tallies. A number that was ever given stays given, also where its message is lost."""
    columns = ["name", "last_seq", "last_us", "stored", "dead", "incomplete"]  # the others are unknown now
    known = {row[0]: row for row in tables.rows("channel", columns)}
    kept = {name: int(row[1]) for name, row in known.items()}
    for one in tables.salvage.missing:
        for channel, (_, last) in one.channels.items():
            kept[channel] = max(kept.get(channel, 0), last)
    for name, seq, last_us, stored, dead, incomplete in tables.new.execute(
        "SELECT j.channel, max(j.seq), max(j.received_us), sum(s.id IS NULL), coalesce(sum(s.state = 'dead'), 0),"
        " coalesce(sum(s.state = 'incomplete'), 0) FROM journal j LEFT JOIN message_state s ON s.id = j.id"
        " WHERE j.kind = 1 GROUP BY j.channel"
    ).fetchall():
        tables.insert("channel", columns, (name, max(seq, kept.get(name, 0)), last_us, stored, dead, incomplete))
        known.pop(name, None)
    if all_may_be_gone:  # retention may have deleted all messages before the remaining ones
        for name, row in known.items():
            tables.insert("channel", columns, (name, kept[name], row[2], 0, 0, 0))


_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_MAGIC = (0x377F0682, 0x377F0683)  # checksums over little-endian, over big-endian words
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Repaired:
    """A log that SQLite reads to its last commit.

    Attributes:
        log: its bytes.
        damaged: the frames, from 1, whose own checksum was wrong.
        hidden: frames that could not be read before.
    """

    log: bytes
    damaged: tuple[int, ...]
    hidden: int


def repair(log: bytes, pages: int, *, keep_damaged: bool = True) -> Repaired | None:
    """None where no frame of ``log`` is hidden, or its header is damaged.

    Args:
        pages: the least number of pages of the database; a page number far beyond it is damaged.
        keep_damaged: also keep damaged frames that name their page.
    """
    if len(log) < _HEADER.size:
        return None
    magic, _, page_size, _, salt_1, salt_2, *stored = _HEADER.unpack_from(log)
    if magic not in _MAGIC or page_size < 512 or page_size & (page_size - 1):
        return None
    words = struct.Struct(f"{'<' if magic == _MAGIC[0] else '>'}{page_size // 4}I")
    order = "<" if magic == _MAGIC[0] else ">"
    head = _sum(struct.unpack_from(f"{order}6I", log), (0, 0))
    if head != tuple(stored):
        return None
    size = _FRAME.size + page_size
    frames = (len(log) - _HEADER.size) // size
    most = pages + frames  # each frame can add one page
    out = bytearray(log[: _HEADER.size])
    was, now = head, head  # the running checksums: as they were written, and as we write them
    damaged: list[int] = []
    hidden = kept = last_commit = strange = 0
    for number in range(1, frames + 1):
        at = _HEADER.size + (number - 1) * size
        page, commit, first, second, *stored = _FRAME.unpack_from(log, at)
        # Frames of an earlier use of the file have other salts and end the log. One such value may be damage.
        if (first, second) != (salt_1, salt_2):
            strange += 1
            if strange > 1 or (first != salt_1 and second != salt_2):
                break
        else:
            strange = 0
        content = words.unpack_from(log, at + _FRAME.size)
        lead = struct.unpack_from(f"{order}2I", log, at)
        was = _sum(content, _sum(lead, was))
        if was != tuple(stored) or (first, second) != (salt_1, salt_2):
            damaged.append(number)
            was = (stored[0], stored[1])
        hidden += bool(damaged)
        astray = not 0 < page <= most or commit > most
        if astray or (damaged and damaged[-1] == number and not keep_damaged):
            continue
        now = _sum(content, _sum(struct.unpack(f"{order}2I", struct.pack(">2I", page, commit)), now))
        out += _FRAME.pack(page, commit, salt_1, salt_2, *now) + log[at + _FRAME.size : at + size]
        kept += 1
        if commit:
            last_commit = kept
    if not damaged:
        return None
    return Repaired(bytes(out[: _HEADER.size + last_commit * size]), tuple(damaged), hidden)


def _sum(words: tuple[int, ...], start: tuple[int, int]) -> tuple[int, int]:
    """SQLite's running checksum, continued from ``start``."""
    first, second = start
    for at in range(0, len(words), 2):
        first = first + words[at] + second & _MASK
        second = second + words[at + 1] + first & _MASK
    return first, second
