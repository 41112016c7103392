"""Verify the journal: report every row that is missing or changed.

The short form needs no key: hashes and chain cover stored bytes. It checks that every number from 1 on exists, every
row's hash and the chain, the numbering of channels and lanes, documents, the tallies, the anchor, and SQLite's own
structures. The deep form also opens every sealed column.

It may run beside the daemon: rows never change, so they are read in short transactions that do not block the truncation
of the log, and the anchor is read before the newest row number.
"""

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import orjson

from engine.feature import Hook
from engine.model.errors import ConfigError, DamagedError, IntegrityError, LossError, StoreError
from engine.model.journal.records import KIND_ERASED, KIND_MESSAGE, KIND_PRUNED
from engine.store.core import anchor, connecting
from engine.store.core.chain import GENESIS, JournalRow, document_hash
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import AccountedRows, Range, find_loss, find_total_loss, last_number
from engine.store.core.connecting import DAMAGE, access, connect, key_check
from engine.store.core.key_encryption_key import key_id, unlock
from engine.store.core.vault import Vault, WrappedKey
from engine.store.integrity import looks, rollback, row_check
from engine.store.integrity.rollback import Witness

Progress = Callable[[int, int], None]
Elsewhere = Callable[[bytes], Iterable[Witness]]
Check = Callable[[sqlite3.Connection, Vault | None], Iterator[row_check.Finding]]  # without the key: what needs none
CHECKS: Hook[Mapping[str, Check]] = Hook("checks")


def run(
    data: Path, *, deep: bool = False, progress: Progress | None = None, elsewhere: Elsewhere = lambda journal_id: ()
) -> list[row_check.Finding]:
    """Check the journal in folder ``data``; return an empty list without a problem.

    Args:
        deep: also open every sealed column; needs the key.
        progress: called with (rows checked, rows in all).
        elsewhere: finds witnesses of the journal outside of ``data``, by its id
        (`engine.runtime.upkeep.other_history`).

    Raises:
        StoreError: there is no journal, or the file cannot be opened for a reason other than damage.
        ConfigError, IntegrityError: ``deep``, and the key is missing or another one.
    """
    path = data / "journal.db"
    reading = anchor.read(data / anchor.ANCHOR_NAME)
    lost = _nothing_left(path, reading)
    if lost is not None:
        return [_lost(lost)]
    if not path.exists():
        raise StoreError(f"{path}: there is no journal")
    findings: list[row_check.Finding] = []
    try:
        with access(path) as immutable, closing(connect(path, immutable=immutable)) as connection:
            try:
                vault = _vault(connection, data) if deep else None
                findings.extend(_elsewhere(connection, reading, data, elsewhere))
                findings.extend(_findings(connection, reading, vault, progress or (lambda done, total: None)))
            except DAMAGE as error:  # no row can be read: the schema itself is damaged
                findings.append(row_check.Finding("structure", "", 0, 0, f"the journal cannot be read: {error}"))
    except DamagedError as error:  # its header cannot be read either
        findings.append(row_check.Finding("structure", "", 0, 0, error.what))
    return findings


def run_file(path: Path, anchor_path: Path, *, progress: Progress | None = None) -> list[row_check.Finding]:
    """The short check of a journal file without a writer, such as a copy; leaves no files beside it.

    Raises:
        sqlite3.Error: it cannot be opened.
        StoreError: this version cannot read it.
    """
    reading = anchor.read(anchor_path)
    with closing(connect(path, immutable=True)) as connection:
        try:
            connecting.check_readable(connection)
            return list(_findings(connection, reading, None, progress or (lambda done, total: None)))
        except DAMAGE as error:
            return [row_check.Finding("structure", "", 0, 0, f"the journal cannot be read: {error}")]


def recent(connection: sqlite3.Connection, last_id: int) -> list[row_check.Finding]:
    """The quick check at the start of the daemon: the newest rows, back to the one that was verified last.

    At least `START_LEAST` rows; at most `START_MOST`, or fewer where they hold more than `START_BYTES`: the cost of a
    start depends on new rows, not on kept ones.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (looks.VERIFIED,)).fetchone()
    known, chain_there = orjson.loads(row[0]) if row is not None else (0, "")
    there = connection.execute("SELECT chain FROM journal WHERE id = ?", (known,)).fetchone()
    if there is not None and there[0].hex() != chain_there:
        text = f"row {known}: not the one that was verified under this number"
        return [row_check.Finding("chain", "journal", known, known, text), *tail(connection, last_id, START_LEAST)]
    return tail(connection, last_id, max(START_LEAST, min(last_id - known + 1, _affordable(connection))))


def _affordable(connection: sqlite3.Connection) -> int:
    """How many of the newest rows a start can check."""
    total = count = 0
    for (size,) in connection.execute("SELECT size FROM journal ORDER BY id DESC LIMIT ?", (START_MOST,)):
        total, count = total + size, count + 1
        if total > START_BYTES:
            break
    return count


def tail(connection: sqlite3.Connection, last_id: int, rows: int) -> list[row_check.Finding]:
    """The problems of the newest ``rows`` rows, up to ``last_id``."""
    first = max(1, last_id - rows + 1)
    before = connection.execute("SELECT chain FROM journal WHERE id = ?", (first - 1,)).fetchone()
    chain = before[0] if before else GENESIS if first == 1 else None
    gone = [one for one in vouched(connection, pruned_ranges.JOURNAL) if one.last >= first]
    # A gap that began before it: a restore leaves a million numbers unused.
    gaps = [(max(begin, first), end) for begin, end in _gaps(connection) if end >= first]
    check = row_check.RowCheck(first, gaps, chain, gone, pruned_ranges.AccountedRows(connection.execute))
    findings = [finding for row in row_check.journal_rows(connection, first, last_id) for finding in check.feed(row)]
    return findings + list(check.end(last_id))


# -- rows ----------------------------------------------------------------------------------------------------------


# Errors from a value of the wrong type, where a damaged page is readable.
NO_VALUE = (TypeError, ValueError, KeyError, OverflowError)
ROLLBACK = "rollback"
START_LEAST = 1000
START_MOST = 20_000
START_BYTES = 64 * 1024 * 1024


# -- everything ----------------------------------------------------------------------------------------------------


def _findings(
    connection: sqlite3.Connection, reading: anchor.AnchorState, vault: Vault | None, progress: Progress
) -> Iterator[row_check.Finding]:
    steps: list[tuple[str, Iterator[row_check.Finding]]] = [
        ("anchor", _anchor(connection, reading)),
        ("pruned", _records(connection)),
        ("journal", _journal(connection, vault, progress)),
        ("document", _documents(connection, vault)),
        ("delivery", _lanes(connection)),
        ("tallies", _tallies(connection)),
        ("notes", row_check.check(connection, vault)),
        *((name, check(connection, vault)) for checks in CHECKS.each() for name, check in checks.items()),
        ("structure", _structure(connection)),
    ]
    for name, step in steps:
        try:
            yield from step
        except DAMAGE as error:  # this step needs a damaged page; the others may do without
            yield row_check.Finding("unreadable", name, 0, 0, f"{name}: cannot be checked: {error}")
        except NO_VALUE as error:
            kind = type(error).__name__
            yield row_check.Finding("unreadable", name, 0, 0, f"{name}: cannot be checked: a value is damaged ({kind})")


def _nothing_left(path: Path, reading: anchor.AnchorState) -> LossError | None:
    """Whether no journal, or an empty file, is in the place where the anchor knows one."""
    with suppress(*DAMAGE), closing(connect(path) if path.exists() else sqlite3.connect(":memory:")) as connection:
        return find_total_loss(connection, reading)
    return None


def _lost(loss: LossError) -> row_check.Finding:
    return row_check.Finding("anchor", "journal", loss.first, loss.last, str(loss))


def _anchor(connection: sqlite3.Connection, reading: anchor.AnchorState) -> Iterator[row_check.Finding]:
    loss = find_total_loss(connection, reading)
    try:
        if loss is None:
            (journal_id,) = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
            loss = find_loss(connection, reading, journal_id)
    except DAMAGE:
        return  # the anchor's row is on a damaged page, which the scan reports
    if loss is not None:
        yield _lost(loss)
    for slot in reading.damaged:
        yield row_check.Finding(
            "anchor", "anchor", slot, slot, f"slot {slot} of the anchor is damaged; the next commit renews it"
        )


def _elsewhere(
    connection: sqlite3.Connection, reading: anchor.AnchorState, data: Path, ask: Elsewhere
) -> Iterator[row_check.Finding]:
    """Findings of the witnesses outside of the journal's folder; with the key, also the seals of their anchors."""
    with suppress(*DAMAGE, TypeError):  # unreadable tables are reported by the scan
        (journal_id,) = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
        vault: Vault | None = None
        with suppress(ConfigError, IntegrityError, OSError):
            vault = _vault(connection, data)
        if vault is not None and reading.mark is not None and reading.mark.journal_id == journal_id:
            forged = find_loss(connection, reading, journal_id, vault)
            if forged is not None and find_loss(connection, reading, journal_id) is None:
                yield _lost(forged)
        back = rollback.undecided(connection.execute) or rollback.find(
            connection.execute, ask(journal_id), journal_id, None if vault is None else vault.anchor_seal
        )
        if back is not None:
            yield row_check.Finding(ROLLBACK, "journal", back.first, back.last, back.text)


def _records(connection: sqlite3.Connection) -> Iterator[row_check.Finding]:
    """Ranges without a valid record: their numbers count as missing."""
    with _at_once(connection):
        every = pruned_ranges.every(connection.execute)
        wrong = [one for one in every if not pruned_ranges.is_vouched_for(connection.execute, one)]
    for one in wrong:
        text = f"{one.what} {one.first} to {one.last}: listed as deleted, but row {one.record} does not attest it"
        yield row_check.Finding("reference", "pruned", one.first, one.last, text)


def vouched(connection: sqlite3.Connection, what: str | None = None) -> list[Range]:
    """The pruned ranges with a valid record."""
    with _at_once(connection):
        every = [one for one in pruned_ranges.every(connection.execute) if what is None or one.what == what]
        return [one for one in every if pruned_ranges.is_vouched_for(connection.execute, one)]


@contextmanager
def _at_once(connection: sqlite3.Connection) -> Iterator[None]:
    """Statements that need one snapshot: retention may run beside a check."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _journal(connection: sqlite3.Connection, vault: Vault | None, progress: Progress) -> Iterator[row_check.Finding]:
    last_id = last_number(connection.execute)
    emptied = pruned_ranges.AccountedRows(connection.execute)
    gone = partial(vouched, connection, pruned_ranges.JOURNAL)
    check = row_check.RowCheck(1, _gaps(connection), GENESIS, gone(), emptied, gone)
    for row in row_check.journal_rows(connection, 1, last_id):
        yield from check.feed(row)
        if isinstance(row, row_check.UnreadableRow):
            continue
        if vault is not None:
            yield from _open_row(vault, row, emptied)
        if row.id % row_check.CHUNK_ROWS == 0:
            progress(row.id, last_id)
    yield from check.end(last_id)
    progress(last_id, last_id)


def _open_row(vault: Vault, row: JournalRow, emptied: AccountedRows) -> Iterator[row_check.Finding]:
    try:
        payload = row_check.open_sealed(vault, row)["body"]
    except (IntegrityError, TypeError) as error:
        yield row_check.Finding("sealed", "journal", row.id, row.id, str(error))
        return
    if not payload and row.size and emptied.covers(pruned_ranges.JOURNAL, row.id, row.hash, row.computed):
        return
    if len(payload) != row.size:
        text = f"row {row.id}: {len(payload)} bytes, {row.size} were stored"
        yield row_check.Finding("sealed", "journal", row.id, row.id, text)
    if row.kind == KIND_MESSAGE and not vault.fits(row.token, row.channel, sha256(payload).digest()):
        yield row_check.Finding(
            "sealed", "journal", row.id, row.id, f"row {row.id}: its token is not that of its content"
        )
    if row.kind in (KIND_PRUNED, KIND_ERASED) and not _vouches(payload, row.token):
        text = f"row {row.id}: its digests are not those that it was written with"
        yield row_check.Finding("sealed", "journal", row.id, row.id, text)


def _vouches(payload: bytes, token: bytes) -> bool:
    """Whether a record's token is the one under its seal."""
    with suppress(ValueError, AttributeError):
        return bool(orjson.loads(payload).get("vouches") == sha256(token).hexdigest())
    return False


def _documents(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[row_check.Finding]:
    expected, given_up = 1, document_gaps(connection)
    given_up.update((one.first, one.last) for one in vouched(connection, pruned_ranges.DOCUMENT))
    emptied = pruned_ranges.AccountedRows(connection.execute)
    columns = "id, message_id, revision, ordinal, media_type, conditional, reports, body, hash"
    last = _number(connection, "SELECT max(id) FROM document")
    for row in row_check.read_rows(connection, 1, last, columns, "document"):
        if isinstance(row, row_check.UnreadableRow):
            expected = row.id + 1
            yield row_check.Finding("unreadable", "document", row.id, row.id, f"document {row.id}: on a damaged page")
            continue
        document_id, message_id, *fields, stored = row
        while expected < document_id:
            if expected not in given_up:  # it may have been pruned since
                now = vouched(connection, pruned_ranges.DOCUMENT)
                # This row existed when it was read, and may have been pruned since, in one range with those before it.
                before = document_id - 1
                given_up.update((expected, min(one.last, before)) for one in now if one.first <= expected <= one.last)
            if expected not in given_up:
                break
            expected = given_up[expected] + 1
        if document_id != expected:
            text = f"documents {expected} to {document_id - 1} are missing"
            yield row_check.Finding("missing", "document", expected, document_id - 1, text)
        expected = document_id + 1
        computed = b""
        with suppress(Exception):
            computed = document_hash(document_id, message_id, *fields)
        if computed != stored and not emptied.covers(pruned_ranges.DOCUMENT, document_id, stored, computed):
            yield row_check.Finding(
                "changed", "document", document_id, document_id, f"document {document_id}: not what was stored"
            )
        elif vault is not None:
            channel = connection.execute("SELECT channel FROM journal WHERE id = ?", (message_id,)).fetchone()
            if channel or connection.execute("SELECT 1 FROM document WHERE id = ?", (document_id,)).fetchone():
                yield from row_check.open_one(
                    vault, fields[-1], "document", "document", document_id, channel[0] if channel else ""
                )


def _lanes(connection: sqlite3.Connection) -> Iterator[row_check.Finding]:
    with _at_once(connection):
        lanes = connection.execute("SELECT id, channel, destination, last_seq FROM lane ORDER BY id").fetchall()
        let_go: dict[str, dict[int, int]] = {}
        for one in vouched(connection):
            let_go.setdefault(one.what, {})[one.first] = one.last
        taken = {row[0]: array("q") for row in lanes}
        for lane_id, seq in connection.execute("SELECT lane, seq FROM delivery ORDER BY id"):
            if lane_id in taken:  # else it is reported below
                taken[lane_id].append(seq)
    for lane_id, channel, destination, last_seq in lanes:
        name, expected = f"lane {channel} to {destination}", 1
        gone = let_go.get(pruned_ranges.lane(lane_id), {})
        for seq in sorted(taken.pop(lane_id)):
            while expected < seq and expected in gone:
                expected = gone[expected] + 1
            if seq < expected:
                yield row_check.Finding("reference", "delivery", seq, seq, f"{name}: delivery {seq} is there twice")
                continue
            if seq != expected:
                yield row_check.Finding(
                    "missing", "delivery", expected, seq - 1, f"{name}: deliveries {expected} to {seq - 1} are missing"
                )
            expected = seq + 1
        while expected in gone:
            expected = gone[expected] + 1
        if expected <= last_seq:
            yield row_check.Finding(
                "missing", "delivery", expected, last_seq, f"{name}: deliveries {expected} to {last_seq} are missing"
            )
    for delivery_id, message_id, document_id, there in connection.execute(
        "SELECT d.id, d.message_id, d.document_id, o.id IS NOT NULL AND j.id IS NOT NULL FROM delivery d"
        " LEFT JOIN document o ON o.id = d.document_id LEFT JOIN journal j ON j.id = d.message_id"
        " LEFT JOIN lane l ON l.id = d.lane"
        " WHERE o.id IS NULL OR j.id IS NULL OR o.message_id <> d.message_id OR l.channel IS NOT j.channel"
    ).fetchall():
        text = f"delivery {delivery_id}: its document {document_id} or message {message_id} is missing"
        if there:
            text = f"delivery {delivery_id}: its document {document_id} or lane is not one of message {message_id}"
        yield row_check.Finding("reference", "delivery", delivery_id, delivery_id, text)


def _tallies(connection: sqlite3.Connection) -> Iterator[row_check.Finding]:
    """The tallies against a recount, each pair in one snapshot."""
    for channel, kept, counted in connection.execute(
        "SELECT c.name, c.last_seq || ' ' || c.stored || ' ' || c.dead || ' ' || c.incomplete,"
        # where the newest rows were pruned or given up, only the tally knows the highest number
        " CASE WHEN max((SELECT coalesce(max(last), 0) FROM pruned WHERE what = 'journal'),"
        "  (SELECT coalesce(max(last_id), 0) FROM gap)) > coalesce(n.newest, 0)"
        "  THEN c.last_seq ELSE coalesce(n.last, 0) END || ' ' || coalesce(n.stored, 0) || ' '"
        " || coalesce(n.dead, 0) || ' ' || coalesce(n.incomplete, 0)"
        " FROM channel c LEFT JOIN (SELECT j.channel, max(j.seq) last, max(j.id) newest, sum(s.id IS NULL) stored,"
        "  sum(s.state = 'dead') dead, sum(s.state = 'incomplete') incomplete"
        "  FROM journal j LEFT JOIN message_state s ON s.id = j.id"
        "  WHERE j.kind = 1 GROUP BY j.channel) n ON n.channel = c.name"
    ).fetchall():
        if kept != counted:
            text = f"channel {channel}: last, stored, dead, incomplete are kept as {kept} and count as {counted}"
            yield row_check.Finding("tally", "channel", 0, 0, text)
    for lane_id, channel, destination, kept, counted in connection.execute(
        "SELECT l.id, l.channel, l.destination, l.open || ' ' || l.dead || ' ' || l.held, coalesce(n.counted, '0 0 0')"
        " FROM lane l LEFT JOIN (SELECT lane, sum(state IN ('waiting', 'sending')) || ' ' || sum(state = 'dead') || ' '"
        "  || sum(state = 'held') counted FROM delivery GROUP BY lane) n ON n.lane = l.id"
    ).fetchall():
        if kept != counted:
            text = f"lane {channel} to {destination}: open, dead, held are kept as {kept} and count as {counted}"
            yield row_check.Finding("tally", "lane", lane_id, lane_id, text)


def _structure(connection: sqlite3.Connection) -> Iterator[row_check.Finding]:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    for (table,) in tables:
        for (text,) in connection.execute(f"PRAGMA integrity_check('{table}')").fetchall():
            if text != "ok":
                yield row_check.Finding("structure", table, 0, 0, f"table {table}: {text}")


def _gaps(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    return connection.execute("SELECT first_id, last_id FROM gap").fetchall()


def document_gaps(connection: sqlite3.Connection) -> dict[int, int]:
    """Documents that `engine.store.recovery.salvage` could not copy: first -> last."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'document_gaps'").fetchone()
    return dict(orjson.loads(row[0])) if row else {}


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0] or 0)


def _vault(connection: sqlite3.Connection, data: Path) -> Vault:
    expected = key_check(connection)
    try:
        kek = unlock(data, expected).kek
    except (ConfigError, IntegrityError, OSError) as error:
        raise IntegrityError(
            f"the key of this journal is not at hand: a deep check needs it ({key_id(expected)})"
        ) from error
    return _Keys(kek, connection)


class _Keys(Vault):
    """The keys of the journal, and those that a daemon makes beside the check: each month has its own."""

    def __init__(self, kek: bytes, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: set[int] = set()
        super().__init__(kek, self._fresh())

    def open_packed(self, sealed: bytes, column: str, row_id: int, channel: str) -> tuple[bytes, bool]:
        try:
            return super().open_packed(sealed, column, row_id, channel)
        except IntegrityError:
            fresh = self._fresh()
            if not fresh:
                raise
            for wrapped in fresh:
                self.add(wrapped, self._unwrap(wrapped))
            return super().open_packed(sealed, column, row_id, channel)

    def _fresh(self) -> list[WrappedKey]:
        """Keys that are not known yet."""
        rows = self._connection.execute("SELECT id, class, month, wrapped FROM data_key").fetchall()
        fresh = [WrappedKey(*row) for row in rows if row[0] not in self._known]
        self._known.update(one.id for one in fresh)
        return fresh
