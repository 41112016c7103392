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
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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
from engine.store.core import anchor, connecting, key_encryption_key, notes
from engine.store.core.connecting import JOURNAL_NAME, key_check
from engine.store.core.files.durable import RESTORING, publish, raise_if_in_use, sync_file
from engine.store.core.files.ownership import open_below
from engine.store.core.vault import KEY_NAME, Vault, write_kek
from engine.store.core.writing.batch import Batch
from engine.store.integrity import looks, rollback, verify
from engine.store.integrity.verify import Progress
from engine.store.journal import Journal
from engine.store.operations import audit, bulk, dedup, incarnation, incomplete, pauses, search_index
from engine.store.operations.incarnation import Incarnation
from engine.store.operations.pruning import of_features
from engine.store.recovery.backups import applying, decisions
from engine.store.recovery.backups.applying import ENDED, Applying, transaction
from engine.store.recovery.backups.catalog import SITE_FOLDER, Copy, incarnations
from engine.store.recovery.backups.copying import CONFIGURATION
from engine.store.recovery.rebuilding import moment, put_state

DATA_FOLDER = "var"
RESERVED = 1_000_000  # numbers that lost rows may have had, where the journal's end is unknown
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
            said = progress or (lambda done, total: None)
            restored = Restoration(copy, Path(scratch), clock, keys, old_anchor, said, leave_key, ours, beside).run(
                actor, reason
            )
            # The data folder last, and the journal last in it: a daemon cannot start on the leftovers of a crash here.
            publish(Path(scratch), target, last=DATA_FOLDER)
            return restored
    except (OSError, sqlite3.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise StoreError(f"{target}: cannot be restored there: {words}") from error


@dataclass(eq=False)
class Restoration:
    """One restore, step by step; a spare takes the steps one after the other, over days
    (`engine.store.recovery.backups.following`).
    """

    _copy: Copy
    _folder: Path
    _clock: Clock
    _keys: Path | None = None
    _old_anchor: Path | None = None
    _progress: Progress = lambda done, total: None
    _leave_key: bool = True
    _ours: bool = False
    _beside: Path | None = None

    def __post_init__(self) -> None:
        self._data = self._folder / DATA_FOLDER
        self.result = RestoreResult(self._copy.name)

    def run(self, actor: str, reason: str) -> RestoreResult:
        self.begin()
        with self.opened(synced=False) as following:
            self.result.from_pieces = following.run()
            self.end(following, self._latest())
            self.look(following)
        self.seal(actor, "restore", reason)
        began = time.monotonic()
        self.result.findings = [str(found) for found in verify.run(self._data, progress=self._progress)]
        self.result.check_seconds = round(time.monotonic() - began, 2)
        return self.result

    def begin(self) -> None:
        """The files of the copy, in a folder that has none."""
        self._data.mkdir(mode=0o700, parents=True)
        self._copy_files(self._data / JOURNAL_NAME)

    @contextmanager
    def opened(self, *, synced: bool) -> Iterator[Applying]:
        """The new journal; it is unlocked.

        Args:
            synced: each transaction is durable; else one sync at the end makes it a journal.
        """
        path = self._data / JOURNAL_NAME
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # no log: it would hold everything a second time
            connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'OFF'}")
            connection.execute("PRAGMA cache_size = -65536")
            connecting.upgrade(connection)
            self._unlock(key_check(connection))
            connection.execute("PRAGMA secure_delete = ON")  # content erased since must not stay in a free page
            total = 0 if synced else self._copy.last_id()  # of a spare it is shown nowhere
            yield Applying(connection, self._copy, self._kek, self._places, lambda row: self._progress(row, total))
        sync_file(path)

    def end(self, following: Applying, after: int = 0) -> None:
        """What is no state of the old machine: marks, numbers and the next incarnation, in one transaction.

        Args:
            after: the next incarnation is later than this number; 0: it has begun.
        """
        connection = following.connection
        self.result.wrong[:0] = following.wrong
        with transaction(connection):
            if following.stands_to < following.last_id:
                self._count(connection, following.vault, following.stands_to + 1)
            self._mark_open(connection)
            bulk.cancel_all(connection.execute)
            incomplete.take_stock(connection.execute)
            if after:
                incarnation.begin(connection.execute, after)
            connection.execute("UPDATE meta SET value = value + ? WHERE name = 'boot'", (BOOTS,))
            restored_to = "INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_to', ?)"
            connection.execute(restored_to, (following.last_id,))
            following.note(ENDED)

    def look(self, following: Applying) -> None:
        """What the journal has now."""
        execute, result = following.connection.execute, self.result
        (result.rows,) = execute("SELECT count(*) FROM journal").fetchone()
        (result.again,) = execute("SELECT coalesce(sum(stored), 0) FROM channel").fetchone()
        result.last_id, result.stands_to = following.last_id, following.stands_to
        newest = execute("SELECT received_us FROM journal WHERE id = ?", (result.last_id,)).fetchone()
        result.received = moment(newest)
        paused = execute("SELECT channel, destination FROM pause ORDER BY channel, destination")
        result.paused = ["/".join(filter(None, row)) or "deliveries" for row in paused]
        self._anchored = (following.last_id, following.chain, following.vault.anchor_seal)

    def seal(self, actor: str, verb: str, reason: str) -> None:
        """The anchor, and the audit row."""
        journal_id = bytes.fromhex(self._copy.manifest.journal_id)
        anchor.Anchor(self._data / anchor.ANCHOR_NAME, journal_id, *self._anchored).close()
        self._note(journal_id, actor, verb, reason)

    def _latest(self) -> int:
        """The number of the latest incarnation that has written beside the copy."""
        others = self._others()
        if (later := self._copy.incarnation.overtaken_by(others)) is not None:
            self.result.wrong.append(
                f"{self._copy.name} is of {self._copy.incarnation}, and the journal went on after it: {later}"
            )
        return max((one.number for one in others), default=1)

    def _others(self) -> list[Incarnation]:
        """Those that have written beside the copy. Where that cannot be read, a sentence says so."""
        try:
            beside = self._beside or self._copy.path.absolute().parent
            return incarnations(beside, self._copy.manifest.journal_id)
        except StoreError as error:
            self.result.wrong.append(f"{error}: whether the journal went on after this copy is not known")
            return [self._copy.incarnation]

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
                self.result.wrong.append(f"{relative}: no file of a configuration, left out; see who changed the copy")
                continue
            with open_below(source / SITE_FOLDER, relative) as file:
                content = file.read()
            if sha256(content).hexdigest() != expected:
                self.result.wrong.append(f"{relative}: not what was copied; look at it before you start LabRelay")
            place = self._folder / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def _unlock(self, check: bytes) -> None:
        """Find the key in any of its places; a key file goes along with the new journal."""
        self._places = [place for place in (self._keys, self._data, self._copy.path) if place is not None]
        try:
            found = key_encryption_key.unlock_in(self._places, check)
        except (ConfigError, IntegrityError) as error:
            raise ConfigError(
                f"the key of this journal ({key_encryption_key.key_id(check)}) is not at hand, and without it nothing "
                "can be read: name its folder with --keys, or type it in from its recovery sheet (labrelay key init "
                "--from-sheet)"
            ) from error
        source = key_encryption_key.Source
        if self._leave_key and found.source not in (source.CREDENTIAL, source.ENVIRONMENT):
            write_kek(self._data / KEY_NAME, found.kek)
        self._kek = found.kek

    # -- messages behind the last state snapshot ----------------------------------------------------------------------

    def _count(self, connection: sqlite3.Connection, vault: Vault, first: int) -> None:
        """Set numbers and states of rows behind the last state snapshot, as far as the rows contain them."""
        execute = connection.execute
        rows = execute(
            "SELECT id, channel, seq, received_us, token, meta FROM journal WHERE id >= ? AND kind = ? ORDER BY id",
            (first, KIND_MESSAGE),
        ).fetchall()
        closed: set[int] = set()
        in_part: set[int] = set()
        for act in decisions.acts(connection, vault, first):
            self.result.decided += decisions.apply(connection, act, vault)
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
                    self.result.decided.append(row_id)
                state = "dismissed"
            elif row_id in in_part and not state:
                self.result.decided.append(row_id)
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
        self.result.maybe = cursor.rowcount

    # -- the end -------------------------------------------------------------------------------------------------

    def _note(self, journal_id: bytes, actor: str, verb: str, reason: str) -> None:
        """Write the audit row and the gaps of the unused numbers."""
        known = False
        if self._old_anchor is not None:
            mark = anchor.read(self._old_anchor).mark
            if mark is not None and mark.journal_id == journal_id:
                known = True
                if mark.last_id > self.result.last_id:
                    self.result.lost = (self.result.last_id + 1, mark.last_id)
                else:
                    self.result.complete = True
        last_id = self.result.last_id
        skipped = self.result.lost if known else (last_id + 1, last_id + RESERVED)
        what = {
            "copy": self._copy.name, "rows": self.result.rows, "last": last_id,
            "stands_to": self.result.stands_to, "missing": skipped, "known": known, "reason": reason,
        }  # fmt: skip
        if skipped is not None:
            self.result.stands_still = True
            what["paused"] = "a copy was restored, and rows that were acknowledged after it are missing"
        journal = Journal.open(self._data, clock=self._clock, key=self._kek)
        try:
            journal.run_alone(partial(_note_gap, what, skipped, actor, verb))
        finally:
            journal.close()


def _is_configuration(relative: str) -> bool:
    """Whether it is a place that `copying` takes files from: a manifest is no more trusted than its folder."""
    first, *more = relative.split("/")
    return first in CONFIGURATION and bool(more) and not {"", ".", ".."} & set(more) and "\0" not in relative


def _note_gap(what: dict[str, Any], skipped: tuple[int, int] | None, actor: str, verb: str, batch: Batch) -> int:
    act = audit.give_up(batch, actor, verb, what, [skipped] if skipped is not None else [])
    applying.forget(batch.execute)
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
