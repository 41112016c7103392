"""Bring the last rows of the old machine, which no piece carried, into the journal that went on on another one.

Both journals have the same rows up to one whose chain value is the same; this journal has been restored, or taken over,
there. Messages behind it in the old folder are stored here as received then, by the same channel, under the token that
they had: documents of them have the same delivery keys, and are marked as maybe delivered. They are processed at the
next start, as all are. The rules of results know which messages came here meanwhile: an adopted one takes the place of
none of theirs (`engine.succession.judge`). What came here again is a repeat.

Nothing of a damaged folder is taken, nor of another journal. All comes in with one transaction, which notes how far
this came: given the folder once more, it takes what the old machine received later. Not taken: acts of people, and
edits with them.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.model.errors import IntegrityError, StoreError
from engine.model.journal.records import KIND_ACT, KIND_FRAME, KIND_MESSAGE
from engine.model.message import Received
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor, key_encryption_key
from engine.store.core.adopted import Adopted
from engine.store.core.chain import ROW_COLUMNS, JournalRow
from engine.store.core.checks.pruned_ranges import last_number
from engine.store.core.connecting import JOURNAL_NAME, Execute, access, connect, data_keys, key_check
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.journal.opening import wal_of
from engine.store.operations import append, audit

_NEWEST = "SELECT id, chain FROM journal WHERE id <= ? ORDER BY id DESC LIMIT 1"
_BEHIND = f"SELECT {ROW_COLUMNS} FROM journal WHERE id > ? ORDER BY id"  # noqa: S608 - constants


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
    path = next((one for one in (old / "var" / JOURNAL_NAME, old / JOURNAL_NAME) if one.exists()), None)
    if path is None:
        raise StoreError(f"{old}: no journal there; name the data folder of the old machine")
    with access(path) as immutable, closing(connect(path, immutable=immutable)) as connection:
        if immutable and wal_of(path).exists() and wal_of(path).stat().st_size:
            raise StoreError(f"{path}: its newest rows are in a log, and the folder cannot be written; copy it")
        execute = connection.execute
        execute("BEGIN")
        if execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone() != (journal.journal_id,):
            raise StoreError(f"{path}: is another journal; nothing of it is taken")
        last = last_number(execute)
        with journal.snapshot() as own:
            common, known = _common(execute, own, last), Adopted.read(own)
        if not common:
            raise StoreError("the two journals have no row in common; nothing is taken")
        _check(path, connection, common, last)
        kek = key_encryption_key.unlock_in((path.parent, journal.path.parent), key_check(connection)).kek
        vault, result = Vault(kek, data_keys(connection)), Result(common, last)
        is_known = execute(_NEWEST, (known.to,)).fetchone() == (known.to, bytes.fromhex(known.chain))
        rows = execute(_BEHIND, (max(common, known.to if is_known else 0),))
        journal.run_alone(_take, map(JournalRow._make, rows), vault, known, actor, result)
        return result


def _common(old: Execute, own: Execute, last: int) -> int:
    """The last row that both have; 0: there is none."""

    def differ(number: int) -> bool:
        found = old(_NEWEST, (number,)).fetchone()
        return found is None or found != own(_NEWEST, (number,)).fetchone()

    return bisect_left(range(1, last + 1), True, key=differ)


def _check(path: Path, connection: sqlite3.Connection, common: int, last: int) -> None:
    found = list(map(str, verify.tail(connection, last, last - common)))
    if (mark := anchor.read(path.with_name(anchor.ANCHOR_NAME)).mark) is not None and mark.last_id > last:
        found.append(f"rows {last + 1} to {mark.last_id} are missing")
    if found:
        raise IntegrityError(
            f"{path}: {found[0]}; nothing of it is taken. labrelay journal salvage makes a whole folder of what is left"
        )


def _take(batch: Batch, rows: Iterable[JournalRow], vault: Vault, known: Adopted, actor: str, result: Result) -> None:
    """Store what the old machine received, and note how far this came: one transaction."""

    def content(row: JournalRow, column: str = "body") -> bytes:
        return vault.open(getattr(row, column), column, row.id, row.channel)

    first = batch.last_id
    frames: dict[int, list[JournalRow]] = {}  # of no message yet
    for row in rows:
        if row.kind == KIND_FRAME:
            frames.setdefault(row.session, []).append(row)
        elif row.kind == KIND_ACT:
            result.acts += orjson.loads(content(row)).get("actor", "labrelay") != "labrelay"
        elif row.kind == KIND_MESSAGE:
            frames.pop(row.session, None)
            meta = orjson.loads(content(row, "meta"))
            if "erased" in meta:
                result.erased += 1
            elif "edited_from" in meta:
                result.edited += 1
            else:
                _message(batch, row, meta, content(row), result)
    for part in frames.values():
        one = Received(channel=part[0].channel, payload=b"".join(map(content, part)), received_us=part[-1].received_us)
        _incomplete(batch, one, ReasonCode.INCOMPLETE, result)
    if batch.last_id > first:
        ranges = [*known.ranges, [result.common, first, batch.last_id]]
        Adopted(row.id, row.chain.hex(), ranges).write(batch.execute)
        # Their documents may have been delivered.
        batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('restored_to', ?)", (batch.last_id,))
        audit.note(batch, actor, "adopt", asdict(result))
    result.paused = bool(batch.execute("SELECT 1 FROM pause WHERE channel = '' AND destination = ''").fetchone())


def _message(batch: Batch, row: JournalRow, meta: dict[str, Any], payload: bytes, result: Result) -> None:
    received = Received(
        channel=row.channel, payload=payload, received_us=row.received_us,
        peer=meta.get("peer", ""), control_id=meta.get("id", ""), message_type=row.message_type,
        notes=tuple(meta.get("notes", ())), filtered=ReasonCode[meta["filtered"]] if "filtered" in meta else None,
    )  # fmt: skip
    if "incomplete" in meta:
        _incomplete(batch, received, ReasonCode[meta["incomplete"]], result)
    else:
        stored = append.store_adopted(batch, received, row.token, repeats="repeat_of" in meta)
        result.messages += 1
        result.repeats += stored.repeat_of is not None


def _incomplete(batch: Batch, received: Received, reason: ReasonCode, result: Result) -> None:
    append.store_incomplete(batch, received, reason)
    result.messages += 1
    result.incomplete += 1


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
