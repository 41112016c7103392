"""The anchor file and the lock, by themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import LockedError, StoreError
from engine.store.core import anchor
from engine.store.core.anchor import SLOT_BYTES, Anchor, Mark, decode, encode, read
from engine.store.core.files.lock import SiteLock
from engine.store.core.files.ownership import raise_if_foreign

JOURNAL = bytes(range(16))
CHAIN = bytes(range(32))
SEAL = bytes(range(16, 32))


def seal(said: bytes) -> bytes:
    return SEAL


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_a_mark_comes_back(journal_id: bytes, last_id: int, chain: bytes) -> None:
    mark = Mark(journal_id, last_id, chain, SEAL)
    assert decode(encode(mark).ljust(SLOT_BYTES, b"\0")) == mark


@given(st.binary(max_size=100))
def test_noise_is_no_mark(noise: bytes) -> None:
    assert decode(noise) is None


class HalfWritten:
    """The first reading of a file meets a write: half of a slot is as it was, half as it will be."""

    readings = 0

    def read(self, path: Path) -> bytes:
        content = bytearray(path.read_bytes())
        self.readings += 1
        if self.readings == 1:
            content[30:60] = bytes(30)
        return bytes(content)


def test_a_slot_that_is_being_written_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a journal reads it beside the daemon, and what it calls damaged is an alarm."""
    Anchor(tmp_path / "anchor", JOURNAL, 7, CHAIN, seal).close()
    half = HalfWritten()
    monkeypatch.setattr(anchor, "read_own", half.read)
    reading = read(tmp_path / "anchor")
    assert (reading.damaged, reading.mark) == ((), Mark(JOURNAL, 7, CHAIN, SEAL))
    assert half.readings == 2


@pytest.mark.parametrize("how", ["link", "second name", "pipe"])
def test_a_file_that_is_not_the_owners_own_is_neither_read_nor_written(tmp_path: Path, how: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"another account's")
    for name in ("labrelay.lock", "journal.anchor"):
        path = tmp_path / name
        if how == "link":
            path.symlink_to(other)
        elif how == "pipe":
            os.mkfifo(path)
        else:
            path.hardlink_to(other)
    for act in (
        lambda: SiteLock.acquire(tmp_path),
        lambda: read(tmp_path / "journal.anchor"),
        lambda: Anchor(tmp_path / "journal.anchor", JOURNAL, 7, CHAIN, seal),
    ):
        with pytest.raises(StoreError, match=r"(lock|anchor): it (is a link|has 3 names|is no file)\. .*move it aside"):
            act()
    assert other.read_bytes() == b"another account's"


@pytest.mark.parametrize("name", ["journal.db", "labrelay.key"])
def test_a_file_with_a_second_name_is_refused_with_the_command_that_makes_it_the_services_own(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"kept")
    (tmp_path / "snapshot").hardlink_to(path)  # what is written to one of them, as to a database, changes the other
    with pytest.raises(StoreError, match="it has 2 names") as refused:
        raise_if_foreign(tmp_path)
    command = str(refused.value).partition("sh -c '")[2].rstrip("'")
    assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 0
    raise_if_foreign(tmp_path)
    assert path.read_bytes() == b"kept"


def test_a_torn_write_leaves_the_mark_before(tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    anchor = Anchor(path, JOURNAL, 0, bytes(32), seal)
    for last_id in range(1, 8):
        before = path.read_bytes()
        anchor.write(last_id, CHAIN)
        after = path.read_bytes()
        for cut in (0, 1, 30, 69, SLOT_BYTES):
            torn = bytearray(after)
            changed = [at for at in range(len(after)) if before[at] != after[at]]
            for at in changed[cut:]:
                torn[at] = before[at]
            path.write_bytes(torn)
            mark = read(path).mark
            assert mark is not None
            assert mark.last_id in (last_id - 1, last_id)
        path.write_bytes(after)
    anchor.close()


def test_a_closed_anchor_keeps_no_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    Anchor(tmp_path / "anchor", JOURNAL, 3, CHAIN, seal).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_newest_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    assert not read(path).exists
    anchor = Anchor(path, JOURNAL, 3, CHAIN, seal)
    assert read(path).mark == Mark(JOURNAL, 3, CHAIN, SEAL)
    assert not anchor.unsynced
    for last_id in (4, 5, 9):
        anchor.write(last_id, CHAIN)
        assert read(path).mark == Mark(JOURNAL, last_id, CHAIN, SEAL)
    assert anchor.unsynced
    anchor.sync()
    assert not anchor.unsynced
    anchor.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_mark_is_on_the_disk_once_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    path = tmp_path / "anchor"
    anchor = Anchor(path, JOURNAL, 3, CHAIN, seal)
    assert synced == [path.stat().st_ino]  # before anything is acknowledged on the strength of it
    anchor.write(4, CHAIN)
    assert len(synced) == 1  # once a second is enough, and somebody else's business
    anchor.sync()
    assert len(synced) == 2
    anchor.close()


def test_a_lock_is_held_by_one_process_and_freed_by_its_end(tmp_path: Path) -> None:
    lock = SiteLock.acquire(tmp_path)
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        SiteLock.acquire(tmp_path)
    lock.release()
    lock.release()
    code = (
        "import pathlib, sys; from engine.store.core.files.lock import SiteLock\n"
        "SiteLock.acquire(pathlib.Path(sys.argv[1])); print(1)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True)
    assert ended.stdout == "1\n"
    SiteLock.acquire(tmp_path).release()


def test_an_anchor_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "anchor").mkdir()
    with pytest.raises(StoreError, match="anchor: the journal's anchor cannot be read: Is a directory"):
        read(tmp_path / "anchor")
    with pytest.raises(StoreError, match="anchor: the journal's anchor cannot be written: Is a directory"):
        Anchor(tmp_path / "anchor", JOURNAL, 3, CHAIN, seal)
