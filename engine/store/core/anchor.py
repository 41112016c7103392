"""The anchor: a mark of the journal's newest row, kept outside of it. Only the anchor notices that rows are missing at
the end.

A database file does not show that its tail is missing: after a flipped bit in the write-ahead log, a lost log file or a
restored old copy it opens without complaint, only shorter. The anchor is a second, tiny file that is written after each
commit and before anything is acknowledged::

    slot 0 at byte 0, slot 1 at byte 4096, written in turn; big-endian
    8  magic "LRANCHOR"      2  version 2            16  journal id
    8  last row id           32 chain hash there     16  seal: keyed hash of the bytes before (`Vault.anchor_seal`)
    4  CRC-32 of the bytes before

Two slots, because a write may be torn: the other slot is then one commit behind, which is harmless. An anchor *behind*
the journal is normal after a crash; an anchor *ahead* proves loss. It is synced only once a second: an unsynced anchor
never causes loss, it can only miss a loss that coincides with a power failure.

The checksum detects a torn write; the seal detects a forged one: without the key, a person who deletes rows can write
no anchor for the rest. Restoring the whole folder restores the anchor with it: against that a second one is kept
elsewhere (`engine.runtime.upkeep.other_history`).

It covers rows of the journal: messages, frames, audit rows. A verdict or a delivery state that is lost without them is
made again at the next start, under the same delivery key.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core.files.durable import sync_folder
from engine.store.core.files.ownership import open_own, read_own

ANCHOR_NAME = "journal.anchor"
MAGIC = b"LRANCHOR"
VERSION = 2
READ_AGAIN = 3  # times, where a slot holds no valid mark
SLOT_BYTES = 4096

_OWNED = "it has to be a file of the service's user, as the journal is"

SEAL_BYTES = 16

_RECORD = struct.Struct(">8sH16sQ32s")
_SEALED_BYTES = _RECORD.size + SEAL_BYTES
_CRC = struct.Struct(">I")

Sealing = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Mark:
    """One readable slot.

    Attributes:
        journal_id: 16 bytes, which journal this anchor belongs to.
        last_id: the newest row that was committed.
        chain: the chain hash of that row (zeros before the first).
        seal: 16 bytes, by the journal's key; empty for a mark that is not from an anchor.
    """

    journal_id: bytes
    last_id: int
    chain: bytes
    seal: bytes = b""

    @property
    def said(self) -> bytes:
        """The bytes that the seal covers."""
        return _RECORD.pack(MAGIC, VERSION, self.journal_id, self.last_id, self.chain)


@dataclass(frozen=True, slots=True)
class AnchorState:
    """The content of the anchor file.

    Attributes:
        mark: the newest readable slot, or None.
        exists: whether the file exists.
        damaged: slots without a valid mark (0, 1).
    """

    mark: Mark | None
    exists: bool
    damaged: tuple[int, ...] = ()


def encode(mark: Mark) -> bytes:
    """The bytes of one slot."""
    record = mark.said + mark.seal
    return record + _CRC.pack(zlib.crc32(record))


def decode(slot: bytes) -> Mark | None:
    """The mark in ``slot``, or None where it holds no valid one."""
    record, crc = slot[:_SEALED_BYTES], slot[_SEALED_BYTES : _SEALED_BYTES + _CRC.size]
    if crc != _CRC.pack(zlib.crc32(record)):
        return None
    magic, version, journal_id, last_id, chain = _RECORD.unpack_from(record)
    return Mark(journal_id, last_id, chain, record[_RECORD.size :]) if (magic, version) == (MAGIC, VERSION) else None


def read(path: Path) -> AnchorState:
    """Read both slots, whatever they contain.

    Raises:
        StoreError: the file exists and cannot be read.
    """
    reading = _read(path)
    for _ in range(READ_AGAIN):
        if not reading.damaged:  # else a daemon may be writing the slot, and half of it was read
            break
        reading = _read(path)
    return reading


def _read(path: Path) -> AnchorState:
    try:
        content = read_own(path)
    except FileNotFoundError:
        return AnchorState(None, exists=False)
    except OSError as error:
        raise StoreError(f"{path}: the journal's anchor cannot be read: {error.strerror}; {_OWNED}") from error
    slots = [content[at : at + SLOT_BYTES] for at in (0, SLOT_BYTES)]
    marks = [decode(slot) for slot in slots]
    damaged = tuple(n for n in (0, 1) if marks[n] is None and slots[n].strip(b"\0"))
    readable = [mark for mark in marks if mark is not None]
    return AnchorState(max(readable, key=lambda mark: mark.last_id, default=None), exists=True, damaged=damaged)


class Anchor:
    """The anchor file, open for writing. Used by the writer thread only.

    Attributes:
        unsynced: whether a mark was written since the last `sync`.
    """

    def __init__(
        self, path: Path, journal_id: bytes, last_id: int, chain: bytes, seal: Sealing, *, disputed: bool = False
    ) -> None:
        """Open or create the file and write the journal's end into both slots; durable when this returns.

        The caller has compared the old content with the journal before.

        Args:
            seal: of the journal's vault, `Vault.anchor_seal`.
            disputed: anchor and journal disagree, and a person is about to decide: the old content stays until `renew`.

        Raises:
            StoreError: the file cannot be written.
        """
        self._journal_id = journal_id
        self._seal = seal
        fresh = not path.exists()
        try:
            self._descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StoreError(f"{path}: the journal's anchor cannot be written: {error.strerror}; {_OWNED}") from error
        if os.fstat(self._descriptor).st_size < 2 * SLOT_BYTES:
            os.ftruncate(self._descriptor, 2 * SLOT_BYTES)
        self._slot = 0
        self.unsynced = False
        if not disputed:
            self.renew(last_id, chain)
        if fresh:
            sync_folder(path.parent)

    def write(self, last_id: int, chain: bytes) -> None:
        """Write a mark of the newest row. Costs a few microseconds: the bytes go to the page cache."""
        mark = Mark(self._journal_id, last_id, chain)
        os.pwrite(self._descriptor, encode(replace(mark, seal=self._seal(mark.said))), self._slot * SLOT_BYTES)
        self._slot = 1 - self._slot
        self.unsynced = True

    def renew(self, last_id: int, chain: bytes) -> None:
        """Write the journal's end into both slots, durable."""
        self.write(last_id, chain)
        self.write(last_id, chain)
        self.sync()

    def sync(self) -> None:
        os.fdatasync(self._descriptor)
        self.unsynced = False

    def close(self) -> None:
        os.close(self._descriptor)
