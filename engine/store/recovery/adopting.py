"""Bring the last rows of the old machine, which no piece carried, into the journal that went on on another one.

Both journals have the same rows up to one whose chain value is the same; this journal has been restored, or taken over,
there. Messages behind it in the old folder are stored here as received then, by the same channel, under the token that
they had: documents of them have the same delivery keys, and are marked as maybe delivered. They are processed at the
next start, as all are. The rules of results know which messages came here meanwhile: an adopted one takes the place of
none of theirs (`engine.succession.judge`). What came here again is a repeat.

Nothing of a damaged folder is taken, nor of another journal. How far this came is noted with each row, so it goes on
after a kill, and takes what the old machine received later when it is given the folder once more. Not taken: acts of
people, and edits with them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from engine.model.errors import ConfigError, IntegrityError, StoreError
from engine.model.journal.records import KIND_ACT, KIND_FRAME, KIND_MESSAGE
from engine.model.message import Received
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor, key_encryption_key
from engine.store.core.adopted import Adopted
from engine.store.core.chain import JournalRow
from engine.store.core.checks.pruned_ranges import last_number
from engine.store.core.connecting import JOURNAL_NAME, Execute, access, connect, data_keys, key_check
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from engine.store.integrity.row_check import UnreadableRow, journal_rows
from engine.store.journal import Journal
from engine.store.journal.opening import wal_of
from engine.store.operations import append, audit

AT_ONCE = 50  # rows of a transaction


@dataclass(slots=True)
class Result:
    """
    Attributes:
        common: the last row that both journals have. last: the old machine's newest row.
        messages: that came in; ``repeats`` of them had come again here, ``incomplete`` never became a message.
        acts: of people on the old machine, since ``common``, which are not taken; ``edited``: messages of theirs.
        erased: messages that have no content any more.
        paused: deliveries wait for a person.
    """

    common: int
    last: int
    messages: int = 0
    repeats: int = 0
    incomplete: int = 0
    acts: int = 0
    edited: int = 0
    erased: int = 0
    paused: bool = False


def run(journal: Journal, old: Path, actor: str) -> Result:
    """
    Args:
        journal: open, and not started.
        old: the site, or its data folder.

    Raises:
        StoreError: no journal is there, or another one, or it cannot be read to its end.
        IntegrityError: it is damaged. ConfigError: its key is not there.
    """
    data = next((one for one in (old / "var", old) if (one / JOURNAL_NAME).exists()), None)
    if data is None:
        raise StoreError(f"{old}: no journal there; name the data folder of the old machine")
    path = data / JOURNAL_NAME
    with access(path) as immutable, closing(connect(path, immutable=immutable)) as connection:
        if immutable and wal_of(path).exists() and wal_of(path).stat().st_size:
            raise StoreError(f"{data}: its newest rows are in a log, and the folder cannot be written; copy it")
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if meta.get("journal_id") != journal.journal_id:
            raise StoreError(f"{data}: is another journal; nothing of it is taken")
        with journal.snapshot() as execute:
            common = _common(connection.execute, execute)
        last = last_number(connection.execute)
        _check(data, connection, common, last)
        adopting = _Adopting(journal, connection, _vault(connection, data, journal.path.parent), Result(common, last))
        adopting.run(actor)
        return adopting.result


def _common(old: Execute, own: Execute) -> int:
    """The last row that both have.

    Raises:
        StoreError: none; or the old journal itself is this one's past.
    """
    low, high = 0, last_number(old)
    newest = "SELECT id, chain FROM journal WHERE id <= ? ORDER BY id DESC LIMIT 1"
    while low < high:
        middle = (low + high + 1) // 2
        found = [execute(newest, (middle,)).fetchone() for execute in (old, own)]
        low, high = (middle, high) if found[0] is not None and found[0] == found[1] else (low, middle - 1)
    if not low:
        raise StoreError("the two journals have no row in common; nothing is taken")
    return low


def _check(data: Path, connection: sqlite3.Connection, common: int, last: int) -> None:
    found = list(map(str, verify.tail(connection, last, last - common)))
    mark = anchor.read(data / anchor.ANCHOR_NAME).mark
    if mark is not None and mark.last_id > last:
        found.append(f"rows {last + 1} to {mark.last_id} are missing")
    if found:
        raise IntegrityError(
            f"{data}: {found[0]}; nothing of it is taken. labrelay journal salvage makes a whole folder of what is left"
        )


def _vault(connection: sqlite3.Connection, *places: Path) -> Vault:
    for place in places:
        with suppress(ConfigError, IntegrityError):
            return Vault(key_encryption_key.unlock(place, key_check(connection)).kek, data_keys(connection))
    raise ConfigError(f"{places[0]}: the key of this journal is not there, nor is it that of this machine")


@dataclass(eq=False)
class _Adopting:
    _journal: Journal
    _old: sqlite3.Connection
    _vault: Vault  # of the old journal
    result: Result

    def run(self, actor: str) -> None:
        in_messages = [one["frames"] for row in self._rows(KIND_MESSAGE) if "frames" in (one := self._meta(row))]
        known = self._journal.tail.adopted
        there = self._old.execute("SELECT chain FROM journal WHERE id = ?", (known.to,)).fetchone()
        to, ended = (known.to, known.ended) if there == (known.chain,) else (0, 0)
        rows = self._rows(behind=to)
        while some := list(islice(rows, AT_ONCE)):
            self._journal.run_alone(self._take, some, ended)
        frames: dict[int, list[JournalRow]] = {}
        for row in self._rows(KIND_FRAME, behind=ended):
            if not any(first <= row.id <= last for first, last in in_messages):
                frames.setdefault(row.session, []).append(row)
        if newest := self._old.execute("SELECT id, chain FROM journal ORDER BY id DESC LIMIT 1").fetchone():
            self._journal.run_alone(
                self._end, list(frames.values()), Adopted(newest[0], newest[1], newest[0]), ended, actor
            )

    def _rows(self, *kinds: int, behind: int = 0) -> Iterator[JournalRow]:
        for row in journal_rows(self._old, max(behind, self.result.common) + 1, self.result.last):
            if not isinstance(row, UnreadableRow) and (not kinds or row.kind in kinds):  # `_check` refuses such a one
                yield row

    def _take(self, batch: Batch, rows: list[JournalRow], ended: int) -> None:
        first = batch.last_id
        for row in rows:
            if row.kind == KIND_MESSAGE:
                self._message(batch, row, self._meta(row))
            elif row.kind == KIND_ACT:
                act = orjson.loads(self._vault.open(row.body, "body", row.id, row.channel))
                self.result.acts += str(act.get("actor", "labrelay")) != "labrelay"
        self._note(batch, first, Adopted(rows[-1].id, rows[-1].chain, ended))

    def _note(self, batch: Batch, first: int, now: Adopted) -> None:
        """Note how far this is, and which rows it made: those behind ``first``."""
        ranges, made = Adopted.read(batch.execute).ranges, (self.result.common, first, batch.last_id)
        if ranges and (ranges[-1][0], ranges[-1][2]) == made[:2]:
            ranges, made = ranges[:-1], (*ranges[-1][:2], batch.last_id)
        now._replace(ranges=(*ranges, made)).write(batch.execute)
        # Their documents may have been delivered.
        batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_to', ?)", (batch.last_id,))

    def _message(self, batch: Batch, row: JournalRow, meta: dict[str, Any]) -> None:
        if "erased" in meta:
            self.result.erased += 1
            return
        if "edited_from" in meta:
            self.result.edited += 1
            return
        received = Received(
            channel=row.channel, payload=self._vault.open(row.body, "body", row.id, row.channel),
            received_us=row.received_us, peer=meta.get("peer", ""), control_id=meta.get("id", ""),
            message_type=row.message_type, notes=tuple(meta.get("notes", ())),
            filtered=ReasonCode[meta["filtered"]] if "filtered" in meta else None,
        )  # fmt: skip
        self.result.messages += 1
        if "incomplete" in meta:
            append.store_incomplete(batch, received, ReasonCode[meta["incomplete"]])
            self.result.incomplete += 1
        else:
            stored = append.store_adopted(batch, received, row.token, repeats="repeat_of" in meta)
            self.result.repeats += stored.repeat_of is not None

    def _end(self, batch: Batch, sessions: list[list[JournalRow]], now: Adopted, ended: int, actor: str) -> None:
        """Frames of no message are kept as evidence; then the audit row."""
        result, first = self.result, batch.last_id
        for frames in sessions:
            text = b"".join(self._vault.open(row.body, "body", row.id, row.channel) for row in frames)
            one = Received(channel=frames[0].channel, payload=text, received_us=frames[-1].received_us)
            append.store_incomplete(batch, one, ReasonCode.INCOMPLETE)
            result.messages += 1
            result.incomplete += 1
        self._note(batch, first, now)
        if now.ended != ended:
            audit.note(batch, actor, "adopt", asdict(result))
        result.paused = bool(batch.execute("SELECT 1 FROM pause WHERE channel = '' AND destination = ''").fetchone())

    def _meta(self, row: JournalRow) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._vault.open(row.meta, "meta", row.id, row.channel))
        return found


def sentences(done: Result) -> Iterator[str]:
    """The same for people."""
    yield f"rows {done.common + 1} to {done.last} of the old machine: {done.messages} messages came in"
    if done.repeats:
        yield f"  {done.repeats} of them had come here again, and are repeats"
    if done.incomplete:
        yield f"  {done.incomplete} of them never became a message: labrelay dlq list"
    if done.acts or done.edited or done.erased:
        yield (
            f"  not taken: {done.acts} acts of people and {done.edited} edited messages; {done.erased} are empty. "
            "labrelay --site OLD audit list: do again what still matters, erasures first"
        )
    yield "now start LabRelay: it processes them. A result that would take the place of a newer one is held"
    if done.paused:
        yield "nothing is delivered until a person says so: labrelay resume deliveries --reason TEXT"
