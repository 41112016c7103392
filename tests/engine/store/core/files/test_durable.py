"""What is synced is the file and the folders that were named, and nothing stays open."""

import os
from pathlib import Path

import pytest

from engine.model.errors import StoreError
from engine.store.core.files.durable import (
    RESTORING,
    SALVAGING,
    raise_if_in_use,
    sync_file,
    sync_folder,
    sync_way_to,
    write_atomically,
)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were synced, in order."""
    found: list[Path] = []
    sync = os.fsync

    def told(descriptor: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", told)
    return found


def test_a_file_and_its_folder_are_two_things(tmp_path: Path, synced: list[Path]) -> None:
    (tmp_path / "a").write_bytes(b"1")
    opened = len(os.listdir("/proc/self/fd"))

    sync_file(tmp_path / "a")
    sync_folder(tmp_path)

    assert synced == [tmp_path / "a", tmp_path]
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_file_gets_its_name_once_its_content_is_durable(tmp_path: Path, synced: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    opened = len(os.listdir("/proc/self/fd"))

    with write_atomically(path) as new:
        new.write_bytes(b"new")
        assert path.read_bytes() == b"old"

    assert synced == [new, tmp_path]
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"a": b"new"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(os.listdir("/proc/self/fd")) == opened


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_of_a_file_that_was_not_written_whole_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    with pytest.raises(type(error)), write_atomically(path) as new:
        new.write_bytes(b"ne")
        raise error

    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"a": b"old"}


def test_the_part_that_a_crash_has_left_is_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "part").symlink_to(tmp_path / "other")

    with write_atomically(tmp_path / "a", tmp_path / "part") as new:
        new.write_bytes(b"new")

    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"a": b"new", "other": b"other"}


def test_a_new_folders_name_stands_in_those_above_it(tmp_path: Path, synced: list[Path]) -> None:
    made = tmp_path / "one" / "two"
    made.mkdir(parents=True)

    sync_way_to(made)

    assert synced[:2] == [tmp_path / "one", tmp_path]
    assert {folder.stat().st_dev for folder in synced} == {made.stat().st_dev}


def test_what_another_file_system_holds_was_not_made_here(synced: list[Path]) -> None:
    mounted = Path("/proc/self/fd").resolve().parents[1]  # /proc: what is above it is another file system's
    assert mounted.stat().st_dev != mounted.parent.stat().st_dev

    sync_way_to(mounted)

    assert synced == []


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ("notes.txt", "name a folder that is new"),
        (f"{RESTORING}x", "of a restore that was interrupted"),
        (f"{SALVAGING}x", "of a salvage that was interrupted"),
    ],
)
def test_a_folder_with_anything_in_it_is_not_written_to(tmp_path: Path, left: str, words: str) -> None:
    raise_if_in_use(tmp_path / "new")
    raise_if_in_use(tmp_path)
    (tmp_path / left).write_bytes(b"")
    with pytest.raises(StoreError, match=words):
        raise_if_in_use(tmp_path)
