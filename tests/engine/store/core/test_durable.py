"""What is synced is the file and the folders that were named, and nothing stays open."""

import os
from pathlib import Path

import pytest

from engine.store.core.durable import sync_file, sync_folder, sync_way_to


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
