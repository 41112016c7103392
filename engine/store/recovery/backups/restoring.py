"""Restore a site from a copy and its pieces, in a new folder. Existing files are never overwritten.

    1  the copy's journal and configuration, checked by their sums
    2  rows of the pieces, as far as they continue the chain; the first that does not ends this step
    3  the state snapshots: verdicts, documents, deliveries and their ends, pauses, people's decisions
       (`engine.store.recovery.backups.state_snapshot`). For rows after the last snapshot, the rows and the audit trail
       show a part of it: repeats, filtered and incomplete messages, decisions. Other messages are processed again
    4  deliveries that were open then, and all deliveries of messages that are processed again, are marked as maybe
       delivered: they are sent under their old keys, so a server that has them recognises them
    5  numbers that were given after the last restored row are never given again: exactly those, where the old anchor
       still shows the journal's end; else a million
    6  the journal begins its next incarnation (`engine.store.operations.incarnation`); log-in sessions end; users
       and tokens are those of the copy; operations that were under way end as cancelled
    7  an audit row has person, copy, time and reason; where rows are missing it pauses all deliveries, for a correction
       or a withdrawal may be among them, and an older result must not overwrite it
    8  each feature goes on from an earlier state (`engine.store.integrity.rollback`): consents of patients are
       suspended, for one may have been revoked since, and orders that wait may have gone out

The new journal is consistent: `labrelay verify` finds no problem in it. Missing rows are reported as ranges.
"""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from engine.model.errors import ConfigError, IntegrityError, StoreError
from engine.model.journal.records import KIND_MESSAGE, MAYBE_DELIVERED
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor, key_encryption_key, migrate, notes
from engine.store.core.chain import PUT_ROW, JournalRow
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import JOURNAL_NAME, data_keys
from engine.store.core.files.durable import RESTORING, publish, raise_if_in_use, sync_file
from engine.store.core.files.ownership import open_below
from engine.store.core.vault import KEY_NAME, Vault, WrappedKey, write_kek
from engine.store.core.writing.batch import Batch
from engine.store.integrity import looks, rollback, verify
from engine.store.integrity.verify import Progress
from engine.store.journal import Journal
from engine.store.lifecycle import key_rotation
from engine.store.operations import audit, bulk, dedup, incarnation, incomplete, pauses, search_index
from engine.store.operations.incarnation import Incarnation
from engine.store.operations.pruning import of_features
from engine.store.recovery.backups import decisions, increments, state_snapshot
from engine.store.recovery.backups.catalog import SITE_FOLDER, Copy, incarnations
from engine.store.recovery.backups.copying import CONFIGURATION
from engine.store.recovery.rebuilding import moment, put_state

DATA_FOLDER = "var"
RESERVED = 1_000_000  # numbers that lost rows may have had, where the journal's end is unknown
_PUT_KEY = "INSERT OR IGNORE INTO data_key (id, class, month, wrapped, created_us) VALUES (?, ?, ?, ?, ?)"
_AT_ONCE = 1024 * 1024  # bytes
BOOTS = 1_000  # possible starts since the copy: leases and sessions are numbered by them


@dataclass(slots=True)
class RestoreResult:
    """The result of a restore.

    Attributes:
        copy: name of the full copy.
        rows: of the journal; ``from_pieces`` of them came from pieces.
        last_id: the newest restored row; ``received`` when it was received, ISO 8601.
        lost: (first, last) of rows that were acknowledged later and are missing, where the old anchor shows it.
        complete: the old anchor proves that there are none.
        stands_to: the last row of the newest state snapshot; ``last_id`` but for a crash or damage.
        again: messages that are processed again.
        maybe: deliveries that were open then, and may have been made since.
        decided: later messages that a person had dismissed, rejected or edited: they stay closed.
        paused: the active pauses; ``stands_still``: of deliveries, until a person resumes them, for rows are missing.
        check_seconds: the duration of the check of the new journal.
        wrong: pieces that could not be used, and why.
        findings: the findings of `labrelay verify` in the new journal; empty without a problem.
    """

    copy: str
    rows: int = 0
    from_pieces: int = 0
    last_id: int = 0
    received: str = ""
    lost: tuple[int, int] | None = None
    complete: bool = False
    stands_to: int = 0
    again: int = 0
    maybe: int = 0
    decided: list[int] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    stands_still: bool = False
    check_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def run(
    copy: Copy,
    target: Path,
    *,
    clock: Clock,
    actor: str,
    reason: str,
    keys: Path | None = None,
    old_anchor: Path | None = None,
    progress: Progress | None = None,
    leave_key: bool = True,
    ours: bool = False,
    beside: Path | None = None,
) -> RestoreResult:
    """Restore a site into folder ``target``, which is new or empty.

    Args:
        actor, reason: the person and the reason, for the audit trail.
        keys: a folder to search for the key, beside the usual places: the old data folder.
        old_anchor: the anchor of the journal that was lost, where there is one.
        progress: called with (rows, rows in all).
        leave_key: put the key beside the new journal, where it was a file.
        ours: the copy is a working copy, whose journal may be moved.
        beside: the journal's folder of copies, where that of the copy is another.

    Raises:
        StoreError: ``target`` is in use or cannot be written; the copy cannot be read.
        IntegrityError: the copy was changed since it was verified.
        ConfigError: the key was not found.
    """
    try:
        raise_if_in_use(target)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=RESTORING, dir=target) as scratch:
            said, beside = progress or (lambda done, total: None), beside or copy.path.absolute().parent
            restored = _Restoration(copy, Path(scratch), clock, keys, old_anchor, said, leave_key, ours, beside).run(
                actor, reason
            )
            # The data folder last, and the journal last in it: a daemon cannot start on the leftovers of a crash here.
            publish(Path(scratch), target, last=DATA_FOLDER)
            return restored
    except (OSError, sqlite3.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise StoreError(f"{target}: cannot be restored there: {words}") from error


@dataclass(eq=False)
class _Restoration:
    """One restore, step by step."""

    _copy: Copy
    _folder: Path
    _clock: Clock
    _keys: Path | None
    _old_anchor: Path | None
    _progress: Progress
    _leave_key: bool
    _ours: bool
    _beside: Path

    def __post_init__(self) -> None:
        self._data = self._folder / DATA_FOLDER
        self._restored = RestoreResult(self._copy.name)
        self._erasures: list[increments.Content] = []  # without their rows

    def run(self, actor: str, reason: str) -> RestoreResult:
        self._data.mkdir(mode=0o700)
        path = self._data / JOURNAL_NAME
        self._copy_files(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # no log: it would hold everything a second time
            connection.execute("PRAGMA synchronous = OFF")  # one sync at the end: until then this is no journal
            connection.execute("PRAGMA cache_size = -65536")
            migrate.upgrade(connection)
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            self._unlock(connection, meta["key_check"])
            connection.execute("PRAGMA secure_delete = ON")  # content erased since must not stay in a free page
            connection.execute("BEGIN")
            last_id, chain = self._take_pieces(connection)
            connection.execute("COMMIT")
            first = self._take_standings(connection, meta["journal_id"], last_id) + 1
            connection.execute("BEGIN")
            for content in self._erasures:
                decisions.run(connection, self._vault(connection), content, first)
            if first <= last_id:
                self._count(connection, first)
            self._mark_open(connection)
            bulk.cancel_all(connection.execute)
            incomplete.take_stock(connection.execute)
            others = self._others()
            if (later := self._copy.incarnation.overtaken_by(others)) is not None:
                self._restored.wrong.append(
                    f"{self._copy.name} is of {self._copy.incarnation}, and the journal went on after it: {later}"
                )
            incarnation.begin(connection.execute, max((one.number for one in others), default=0))
            connection.execute("UPDATE meta SET value = value + ? WHERE name = 'boot'", (BOOTS,))
            connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_to', ?)", (last_id,))
            connection.execute("COMMIT")
            (self._restored.rows,) = connection.execute("SELECT count(*) FROM journal").fetchone()
            (self._restored.again,) = connection.execute("SELECT coalesce(sum(stored), 0) FROM channel").fetchone()
            self._restored.last_id = last_id
            newest = connection.execute("SELECT received_us FROM journal WHERE id = ?", (last_id,)).fetchone()
            self._restored.received = moment(newest)
            self._restored.paused = [
                "/".join(filter(None, row)) or "deliveries"
                for row in connection.execute("SELECT channel, destination FROM pause ORDER BY channel, destination")
            ]
            seal = self._vault(connection).anchor_seal
        sync_file(path)
        anchor.Anchor(self._data / anchor.ANCHOR_NAME, meta["journal_id"], last_id, chain, seal).close()
        self._note(meta["journal_id"], actor, reason)
        began = time.monotonic()
        self._restored.findings = [str(found) for found in verify.run(self._data, progress=self._progress)]
        self._restored.check_seconds = round(time.monotonic() - began, 2)
        return self._restored

    def _others(self) -> list[Incarnation]:
        """Those that have written beside the copy. Where that cannot be read, a sentence says so."""
        try:
            return incarnations(self._beside, self._copy.manifest.journal_id)
        except StoreError as error:
            self._restored.wrong.append(f"{error}: whether the journal went on after this copy is not known")
            return [self._copy.incarnation]

    def _vault(self, connection: sqlite3.Connection) -> Vault:
        return Vault(self._kek, data_keys(connection))

    # -- files ---------------------------------------------------------------------------------------------------

    def _copy_files(self, path: Path) -> None:
        source = self._copy.path
        if self._ours:
            (source / JOURNAL_NAME).rename(path)
        else:
            with open_below(source, JOURNAL_NAME) as journal, open(path, "xb") as new:
                shutil.copyfileobj(journal, new, _AT_ONCE)
        path.chmod(0o600)
        if self._copy.verified is not None:
            with open(path, "rb") as file:
                if file_digest(file, "sha256").hexdigest() != self._copy.verified.sha256:
                    raise IntegrityError(
                        f"{source}: its journal is not what was verified; take an older copy (labrelay backup list)"
                    )
        for relative, expected in self._copy.manifest.files.items():
            if not _is_configuration(relative):
                self._restored.wrong.append(
                    f"{relative}: no file of a configuration, left out; see who changed the copy"
                )
                continue
            with open_below(source / SITE_FOLDER, relative) as file:
                content = file.read()
            if sha256(content).hexdigest() != expected:
                self._restored.wrong.append(f"{relative}: not what was copied; look at it before you start LabRelay")
            place = self._folder / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def _unlock(self, connection: sqlite3.Connection, check: bytes) -> None:
        """Find the key in any of its places; a key file goes along with the new journal."""
        places = [place for place in (self._keys, self._copy.path) if place is not None]
        self._places = places or [self._data]
        found: key_encryption_key.FoundKey | None = None
        trouble: ConfigError | IntegrityError | None = None
        for place in places or [self._data]:
            try:
                found = key_encryption_key.unlock(place, check)
                break
            except (ConfigError, IntegrityError) as error:
                trouble = trouble or error
        if found is None:
            raise ConfigError(
                f"the key of this journal ({key_encryption_key.key_id(check)}) is not at hand, and without it nothing "
                "can be read: name its folder with --keys, or type it in from its recovery sheet (labrelay key init "
                "--from-sheet)"
            ) from trouble
        source = key_encryption_key.Source
        if self._leave_key and found.source not in (source.CREDENTIAL, source.ENVIRONMENT):
            write_kek(self._data / KEY_NAME, found.kek)
        self._kek = found.kek

    # -- pieces --------------------------------------------------------------------------------------------------

    def _take_pieces(self, connection: sqlite3.Connection) -> tuple[int, bytes]:
        """Append the rows of the pieces; return the newest row and its chain value."""
        execute = connection.execute
        row = execute("SELECT id, chain FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        last_id, chain = row if row is not None else (0, bytes(32))
        total = self._copy.last_id()
        for piece in self._copy.pieces():
            try:
                content = increments.read(piece.path)
                if content.before != chain or content.journal_id.hex() != self._copy.manifest.journal_id:
                    raise IntegrityError(f"{piece.path}: does not go on from what is before it")
                emptied = {number for what, number, _, _ in content.erased if what == pruned_ranges.JOURNAL}
                after = chain
                for one in content.rows:
                    after = _checked(piece.path, one, after, emptied)
                keys = self._keys_of(connection, content.keys)
            except (IntegrityError, OSError) as error:
                self._restored.wrong.append(f"{error}; rows from {last_id + 1} on are not restored")
                break
            connection.executemany(_PUT_KEY, keys)
            connection.executemany(
                "INSERT OR IGNORE INTO gap (first_id, last_id, act) VALUES (?, ?, ?)",
                [(*gap, gap[1] + 1) for gap in content.gaps],
            )
            connection.executemany(PUT_ROW, content.rows)
            if content.erased:
                self._erasures.append(replace(content, rows=[]))
            last_id, chain = content.last, after
            self._restored.from_pieces += len(content.rows)
            self._progress(last_id, total)
        return last_id, chain

    def _take_standings(self, connection: sqlite3.Connection, journal_id: bytes, last_id: int) -> int:
        """Apply the state snapshots to the copy, file by file; return the last row that they cover."""
        known = self._copy.manifest.last_id
        try:
            for one in state_snapshot.whole(self._copy):
                if one.last > last_id:
                    break  # it covers rows that could not be restored, which was reported
                connection.executemany(_PUT_KEY, self._keys_of(connection, state_snapshot.keys(one)))
                state_snapshot.apply(connection, one, journal_id)
                known = one.last
        except (IntegrityError, OSError) as error:
            self._restored.wrong.append(f"{error}; the state of messages from {known + 1} on is not restored")
        self._restored.stands_to = known
        return known

    def _keys_of(
        self, connection: sqlite3.Connection, keys: list[tuple[int, str, str, bytes, int]]
    ) -> list[tuple[Any, ...]]:
        """The data keys that are not known yet, wrapped by the copy's key.

        Raises:
            IntegrityError: the site's key was rotated since, and the newer one was not found.
        """
        known = {row[0] for row in connection.execute("SELECT id FROM data_key")}
        created = {row[0]: row[4] for row in keys}
        fresh = [WrappedKey(*row[:4]) for row in keys if row[0] not in known]
        others = (
            [found.kek for place in self._places for found in key_encryption_key.candidates(place)] if fresh else []
        )
        return [
            (one.id, one.key_class, one.month, one.wrapped, created[one.id])
            for one in key_rotation.wrapped_again(fresh, self._kek, others)
        ]

    def _count(self, connection: sqlite3.Connection, first: int) -> None:
        """Set numbers and states of rows behind the last state snapshot, as far as the rows contain them."""
        execute = connection.execute
        vault = self._vault(connection)
        rows = execute(
            "SELECT id, channel, seq, received_us, token, meta FROM journal WHERE id >= ? AND kind = ? ORDER BY id",
            (first, KIND_MESSAGE),
        ).fetchall()
        closed: set[int] = set()
        in_part: set[int] = set()
        for act in decisions.acts(connection, vault, first):
            self._restored.decided += decisions.apply(connection, act, vault)
            closed.update(decisions.closed(act))
            in_part.update(decisions.in_part(act))
        for row_id, channel, seq, received_us, token, meta in rows:
            execute(
                "INSERT INTO channel (name, last_seq, last_us, stored, dead, incomplete) VALUES (?, 0, 0, 0, 0, 0)"
                " ON CONFLICT DO NOTHING",
                (channel,),
            )
            known = orjson.loads(vault.open(meta, "meta", row_id, channel))
            state, reason = _state_of(known)
            if row_id in closed and state in ("", "incomplete"):
                if not state:  # evidence is sent nowhere, whatever was decided about it
                    self._restored.decided.append(row_id)
                state = "dismissed"
            elif row_id in in_part and not state:
                self._restored.decided.append(row_id)
                state, reason = "dead", ReasonCode.DECIDED_IN_PART.value
            if state:
                put_state(connection, row_id, state, reason, received_us)
                if "erased" not in known:
                    search_index.note_unknown(execute, vault, row_id)
            else:
                execute(
                    "INSERT OR REPLACE INTO repeat (token, message_id, until_us) VALUES (?, ?, ?)",
                    (token[: dedup.TOKEN_BYTES], row_id, received_us + dedup.EQUAL_MEMORY_US),
                )
            execute(
                "UPDATE channel SET last_seq = ?, last_us = ?, stored = stored + ?, dead = dead + ?,"
                " incomplete = incomplete + ? WHERE name = ?",
                (seq, received_us, int(not state), int(state == "dead"), int(state == "incomplete"), channel),
            )

    def _mark_open(self, connection: sqlite3.Connection) -> None:
        """Mark open deliveries: they may have been made since. Features do the same for what is theirs."""
        cursor = connection.execute(
            "UPDATE delivery SET flags = flags | ?, state = CASE state WHEN 'sending' THEN 'waiting' ELSE state END,"
            " lease = 0 WHERE state IN ('waiting', 'sending', 'held', 'dead')",
            (MAYBE_DELIVERED,),
        )
        for statement in filter(None, (one.restored for one in of_features())):
            connection.execute(statement)
        notes.begin_anew(connection.execute)
        self._restored.maybe = cursor.rowcount

    # -- the end -------------------------------------------------------------------------------------------------

    def _note(self, journal_id: bytes, actor: str, reason: str) -> None:
        """Write the audit row and the gaps of the unused numbers."""
        known = False
        if self._old_anchor is not None:
            mark = anchor.read(self._old_anchor).mark
            if mark is not None and mark.journal_id == journal_id:
                known = True
                if mark.last_id > self._restored.last_id:
                    self._restored.lost = (self._restored.last_id + 1, mark.last_id)
                else:
                    self._restored.complete = True
        last_id = self._restored.last_id
        skipped = self._restored.lost if known else (last_id + 1, last_id + RESERVED)
        what = {
            "copy": self._copy.name, "rows": self._restored.rows, "last": last_id,
            "stands_to": self._restored.stands_to, "missing": skipped, "known": known, "reason": reason,
        }  # fmt: skip
        if skipped is not None:
            self._restored.stands_still = True
            what["paused"] = "a copy was restored, and rows that were acknowledged after it are missing"
        journal = Journal.open(self._data, clock=self._clock, key=self._kek)
        try:
            journal.run_alone(partial(_note_gap, what, skipped, actor))
        finally:
            journal.close()


def _is_configuration(relative: str) -> bool:
    """Whether it is a place that `copying` takes files from: a manifest is no more trusted than its folder."""
    first, *more = relative.split("/")
    return first in CONFIGURATION and bool(more) and not {"", ".", ".."} & set(more) and "\0" not in relative


def _note_gap(what: dict[str, Any], skipped: tuple[int, int] | None, actor: str, batch: Batch) -> int:
    act = audit.give_up(batch, actor, "restore", what, [skipped] if skipped is not None else [])
    looks.forget_times(batch.execute)
    if skipped is not None:
        pauses.stop_deliveries(batch, act)
    rollback.go_on_from_earlier_state(batch, act)
    return act


def _state_of(known: dict[str, Any]) -> tuple[str, str]:
    """The verdict and its reason, where the message's own row has them."""
    if "erased" in known:  # it has no content to process
        return "dismissed", ""
    if reason := known.get("incomplete"):
        return "incomplete", reason
    if "repeat_of" in known:
        return "filtered", ReasonCode.REPEAT.value
    if reason := known.get("filtered"):
        return "filtered", reason
    return "", ""


def _checked(path: Path, row: JournalRow, chain: bytes, emptied: set[int]) -> bytes:
    """The chain value behind a row that continues ``chain``."""
    changed = row.computed != row.hash and row.id not in emptied
    if not row.follows(chain) or changed:
        raise IntegrityError(f"{path}: row {row.id} is not what was stored")
    return row.chain


def sentences(restored: RestoreResult, target: Path) -> Iterator[str]:
    """The same for people."""
    yield f"{target}: {restored.rows} rows of {restored.copy}, {restored.from_pieces} of them from pieces"
    yield f"  the newest is row {restored.last_id}, received {restored.received or 'never'}"
    if restored.lost is not None:
        first, last = restored.lost
        yield f"  rows {first} to {last} were acknowledged and are missing: let the analyzers send again from then on"
    elif restored.complete:
        yield "  no acknowledged row is missing: the old anchor knows no later one"
    else:
        yield "  data received after it is missing: let the analyzers send again from then on"
    if restored.stands_to < restored.last_id:
        yield f"  the state of messages is known up to row {restored.stands_to}"
    if restored.again:
        yield f"  {restored.again} messages are processed again; their deliveries have the same keys as before"
    if restored.maybe:
        yield f"  {restored.maybe} deliveries were open, may have been made since, and are marked so"
    if restored.decided:
        numbers = ", ".join(map(str, restored.decided[:20]))
        yield f"  closed by a person after that, and so not sent: messages {numbers}"
    if restored.paused:
        yield f"  paused, as before: {', '.join(restored.paused)}; labrelay resume lets it go on"
    if restored.stands_still:
        yield "  nothing is delivered until a person resumes it: missing rows may have corrected restored ones. Let the"
        yield "  analyzers send again, then: labrelay resume deliveries --reason TEXT"
    yield from (f"  {text}" for text in (*restored.wrong, *restored.findings))
