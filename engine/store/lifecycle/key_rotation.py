"""Rotate a journal's key-encryption key. No row is rewritten: the data keys are wrapped anew, all in one transaction.

    1  labrelay.key.new     written, synced, read back
    2  one transaction      every data key wrapped by the new key, the check value, the row of the audit trail
    3  proof                another connection, with the key from the file, opens every data key
    4  labrelay.key         becomes labrelay.key.old-<id>, and labrelay.key.new takes its place

A kill after any step leaves a site that opens: `engine.store.core.key_encryption_key.unlock` tries every key that it
finds; before the commit the old one is right, after it the new one. The next rotation removes what a killed one leaves
behind.

Where the key is a credential or in the environment, LabRelay cannot put the new one there: it stays in
``labrelay.key.new``, where it is found as well, until a person has moved it.

The old key stays beside the new one, since older backups were made with it; if a stranger may know it, it can be
discarded.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.model.errors import IntegrityError, StoreError
from engine.store.core import key_encryption_key
from engine.store.core.connecting import Execute, connect, key_check
from engine.store.core.files.durable import sync_folder
from engine.store.core.key_encryption_key import NEW_NAME, OLD_NAME, FoundKey, Source, key_id
from engine.store.core.vault import KEY_BYTES, KEY_NAME, Vault, WrappedKey, check_value, read_kek, rewrap, write_kek
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationResult:
    """The result of a rotation.

    Attributes:
        before, after: ids of the keys.
        keys: data keys that were wrapped anew.
        place: the place of the new key.
        to_move: a person has to move it to the place of the old one.
        kept: the file of the old key; empty where it was discarded, or is not ours.
    """

    before: str
    after: str
    keys: int
    place: str
    to_move: bool
    kept: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """Facts about the journal's keys; none of them helps to open anything.

    Attributes:
        id: of the key-encryption key in use.
        made_us: the start of its use.
        sheet_us: when a person confirmed to have its recovery sheet; 0: never.
        data_keys: (class, month, creation time), oldest first; month is empty for those that never rotate.
    """

    id: str
    check: bytes = field(repr=False)
    made_us: int
    sheet_us: int
    data_keys: tuple[tuple[str, str, int], ...]


def facts(execute: Execute) -> KeyFacts:
    names = ("key_check", "key_made_us", "created_us", "sheet_of", "sheet_us")
    rows = execute(f"SELECT name, value FROM meta WHERE name IN ({','.join('?' * len(names))})", names)  # noqa: S608 - a constant
    meta = dict(rows.fetchall())
    check = meta["key_check"]
    return KeyFacts(
        id=key_id(check),
        check=check,
        made_us=meta.get("key_made_us") or meta.get("created_us", 0),
        sheet_us=meta.get("sheet_us", 0) if meta.get("sheet_of") == check else 0,
        data_keys=tuple(
            execute("SELECT class, month, created_us FROM data_key ORDER BY month = '' DESC, month, class").fetchall()
        ),
    )


def begin(data: Path, expected: bytes) -> FoundKey:
    """Remove leftovers of an earlier rotation, and find the key in use.

    Raises:
        StoreError: it is in ``labrelay.key.new``, and a person has to move it first.
    """
    clear_up(data, expected)
    found = key_encryption_key.unlock(data, expected)
    if found.source is Source.NEW_FILE:
        raise StoreError(
            f"{found.place}: the key was changed before, and its new one still lies there: bring it to where the old "
            "one is (the credential or the environment of the service), start LabRelay with it, and remove this file"
        )
    if found.source is Source.OLD_FILE:
        raise StoreError(f"{found.place}: this is the key in use; give it its name back: {data / KEY_NAME}")
    return found


def write_new(data: Path, step: Step = lambda name: None) -> bytes:
    """Create a new key, durable in ``labrelay.key.new``.

    Raises:
        StoreError: the file cannot be written, or reads back differently.
    """
    path, new = data / NEW_NAME, os.urandom(KEY_BYTES)
    try:
        path.unlink(missing_ok=True)  # of a rotation that failed: the caller has checked that it opens nothing
        write_kek(path, new)
        step("written")
        if read_kek(path) != new:
            raise StoreError(f"{path}: does not hold what was written to it; the key was not changed")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; the key was not changed") from error
    return new


@operation(priority=Priority.SETTLE)
def take(batch: Batch, *, old: bytes, new: bytes, actor: str) -> int:
    """Wrap every data key by ``new``, in this transaction; return how many there are."""
    keys = [WrappedKey(*row) for row in batch.execute("SELECT id, class, month, wrapped FROM data_key ORDER BY id")]
    renewed = rewrap(old, new, keys)
    batch.executemany("UPDATE data_key SET wrapped = ? WHERE id = ?", [(one.wrapped, one.id) for one in renewed])
    batch.executemany(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
        [("key_check", check_value(new)), ("key_made_us", batch.now_us)],
    )
    what = {"before": key_id(check_value(old)), "after": key_id(check_value(new)), "keys": len(renewed)}
    audit.note(batch, actor, "key-rotate", what)
    return len(renewed)


def wrapped_again(keys: Iterable[WrappedKey], by: bytes, others: Iterable[bytes]) -> list[WrappedKey]:
    """Data keys that were made after another rotation, wrapped by ``by`` like the rest of a restored journal.

    Args:
        others: the keys that were found; one of them, or ``by``, has wrapped each of ``keys``.

    Raises:
        IntegrityError: one of these is opened by none of them.
    """
    at_hand = [by, *others]
    made = []
    for wrapped in keys:
        for old in at_hand:
            try:
                made += rewrap(old, by, [wrapped])
                break
            except IntegrityError:
                continue
        else:
            month = wrapped.month or "all time"
            raise IntegrityError(
                f"the data key of {month} was wrapped by another key than that of the copy (it was rotated since): "
                "have both at hand"
            )
    return made


@operation(priority=Priority.SETTLE)
def confirm_sheet(batch: Batch, *, actor: str) -> None:
    """Record that a person has the recovery sheet of the key in use; a rotation makes the sheet outdated."""
    (check,) = batch.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
    batch.executemany(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", [("sheet_of", check), ("sheet_us", batch.now_us)]
    )
    audit.note(batch, actor, "key-sheet-confirmed", {"key": key_id(check)})


def prove(journal: Path, data: Path, new: bytes) -> None:
    """Prove that the key in its file opens every data key in the journal.

    Raises:
        IntegrityError: it does not. Nothing was removed: both files stay.
    """
    if read_kek(data / NEW_NAME) != new:
        raise IntegrityError(f"{data / NEW_NAME}: the new key is not what was written; keep both files")
    with closing(connect(journal)) as connection:
        if key_check(connection) != check_value(new):
            raise IntegrityError("the journal does not know the new key; keep both files")
        Vault(new, [WrappedKey(*row) for row in connection.execute("SELECT id, class, month, wrapped FROM data_key")])


def put_in_place(
    data: Path, old: FoundKey, *, discard_old: bool = False, step: Step = lambda name: None
) -> tuple[str, str]:
    """Give the files their final names; (place of the new key, file of the old one)."""
    new, kept = data / NEW_NAME, ""
    if old.source in (Source.CREDENTIAL, Source.ENVIRONMENT):
        return str(new), kept
    place = data / KEY_NAME
    if place.exists() and read_kek(place) == old.kek:
        name = data / f"{OLD_NAME}{old.id}"
        place.rename(name)
        kept = str(name)
        step("moved")
    elif place.exists():  # it opened nothing here: another journal's key, put here by mistake
        stray = key_encryption_key.key_id(check_value(read_kek(place)))
        place.rename(data / f"{OLD_NAME}{stray}")
    new.rename(place)
    sync_folder(data)
    step("named")
    if discard_old and kept:
        _erase(Path(kept))
        sync_folder(data)
        kept = ""
    return str(place), kept


def clear_up(data: Path, expected: bytes) -> None:
    """Finish a killed rotation: a new key that the journal needs gets its final name.

    Only where the key was a file before; a daemon does this at its start, a command before a rotation.
    """
    new = data / NEW_NAME
    with suppress(OSError, StoreError):
        found = key_encryption_key.unlock(data, expected)
        if found.source is Source.NEW_FILE and any(
            other.source in (Source.FILE, Source.OLD_FILE) for other in key_encryption_key.candidates(data)
        ):
            place = data / KEY_NAME
            if place.exists():
                place.rename(data / f"{OLD_NAME}{key_id(check_value(read_kek(place)))}")
            new.rename(place)
            sync_folder(data)


def _erase(path: Path) -> None:
    """Overwrite and remove a file; copies of it in other blocks of the disk cannot be excluded."""
    with suppress(OSError), path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
