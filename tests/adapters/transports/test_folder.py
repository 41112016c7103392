"""A watched folder: which files are taken and when, and that each is in exactly one place whatever happens."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.codecs.text.whole_link import ACK, NAK
from adapters.transports import folder as folder_module
from adapters.transports.folder import WatchedFolder
from adapters.transports.folder_files import CLAIMED, Files
from adapters.transports.whole_stream import WholeStream
from engine.model.process.clock import ManualClock
from tests.support.waiting import until


class Reader:
    """What reads the files: it notes each, and answers as it is told."""

    def __init__(self, answer: bytes = ACK) -> None:
        self.answer = answer
        self.read: list[bytes] = []

    async def __call__(self, stream: WholeStream) -> None:
        self.read.append(await stream.read())
        assert await stream.read() == b""
        await stream.write(self.answer)


def source_of(folder: Path, **more: object) -> Any:
    usual = {"folder": folder, "pattern": "*.csv", "marker": "", "max_message": 1000, "settle": 0.0, "every": 0.005}
    return SimpleNamespace(
        **{**usual, "finished_folder": folder / "finished", "failed_folder": folder / "failed", **more}
    )


def files_of(folder: Path, **more: object) -> Files:
    return Files(source_of(folder, **more))


@asynccontextmanager
async def watching(
    folder: Path,
    reader: Callable[[WholeStream], object],
    *,
    clock: ManualClock | None = None,
    **more: object,
) -> AsyncIterator[WatchedFolder]:
    watched = WatchedFolder(source_of(folder, **more), reader, clock)  # type: ignore[arg-type] # or a function of a test
    await watched.start()
    try:
        yield watched
    finally:
        await watched.stop()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def test_a_file_is_read_once_and_put_away(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "a.CSV").write_bytes(b"one")
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "finished") == ["a.CSV"])

    assert reader.read == [b"one"]
    assert names(tmp_path) == [CLAIMED, "failed", "finished"]
    assert names(tmp_path / CLAIMED) == []


async def test_a_second_file_of_the_same_name_replaces_nothing(tmp_path: Path) -> None:
    reader = Reader()
    async with watching(tmp_path, reader):
        for number in range(3):
            (tmp_path / ".writing").write_bytes(b"%d" % number)
            (tmp_path / ".writing").rename(tmp_path / "result.csv")
            await _finished(tmp_path, number + 1)

    assert reader.read == [b"0", b"1", b"2"]
    assert {path.read_bytes() for path in (tmp_path / "finished").iterdir()} == {b"0", b"1", b"2"}


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "é" * 125 + ".csv", "x" * 230 + ".csv"])
async def test_names_as_long_as_they_can_be(tmp_path: Path, name: str) -> None:
    reader = Reader()
    async with watching(tmp_path, reader) as watched:
        for number in range(2):
            (tmp_path / ".writing").write_bytes(b"%d" % number)
            (tmp_path / ".writing").rename(tmp_path / name)
            await _finished(tmp_path, number + 1)
        assert (watched.fault, watched.notice) == ("", "")
    assert reader.read == [b"0", b"1"]
    assert all(one.endswith(".csv") for one in names(tmp_path / "finished"))


async def test_older_files_come_first(tmp_path: Path) -> None:
    reader = Reader()
    for name, age in (("a.csv", 10), ("b.csv", 30), ("c.csv", 20)):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (1_700_000_000 - age, 1_700_000_000 - age))
    async with watching(tmp_path, reader):
        await until(lambda: len(reader.read) == 3)

    assert reader.read == [b"b.csv", b"c.csv", b"a.csv"]


@pytest.mark.parametrize("name", [".a.csv", "~a.csv", "a.csv.tmp", "a.csv.part", "a.csv~", "a.txt", "a.csv.filepart"])
async def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    reader = Reader()
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / name)
    (tmp_path / "last.csv").write_bytes(b"last")
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "finished") == ["last.csv"])

    assert reader.read == [b"last"]
    assert {name, "sub.csv", "link.csv"} <= set(names(tmp_path))


async def test_a_file_that_is_still_written_waits_until_it_has_settled(tmp_path: Path) -> None:
    reader = Reader()
    clock = ManualClock()
    (tmp_path / "a.csv").write_bytes(b"half")
    async with watching(tmp_path, reader, settle=5.0, clock=clock) as watched:
        await _looked(watched)
        clock.advance(4.0)
        (tmp_path / "a.csv").write_bytes(b"half and half")
        await _looked(watched)
        clock.advance(4.0)
        await _looked(watched)
        assert reader.read == []
        clock.advance(2.0)
        await until(lambda: bool(reader.read))

    assert reader.read == [b"half and half"]


async def test_a_marker_says_that_a_file_is_whole(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "a.csv").write_bytes(b"half")
    async with watching(tmp_path, reader, marker=".ok") as watched:
        await _looked(watched)
        assert reader.read == []
        (tmp_path / "a.csv").write_bytes(b"whole")
        (tmp_path / "a.csv.ok").touch()
        await until(lambda: names(tmp_path / "finished") == ["a.csv"])

    assert reader.read == [b"whole"]
    assert "a.csv.ok" not in names(tmp_path)


async def test_a_marker_left_over_says_nothing_about_the_next_file(tmp_path: Path) -> None:
    """A crash between claiming a file and removing its marker; then a file of the same name is being written."""
    clock = ManualClock()
    reader = Reader()
    (tmp_path / "a.csv.ok").touch()
    os.utime(tmp_path / "a.csv.ok", ns=(10**18, 10**18))
    (tmp_path / "a.csv").write_bytes(b"half")
    async with watching(tmp_path, reader, marker=".ok", settle=5.0, clock=clock) as watched:
        await _looked(watched)
        assert reader.read == []
        (tmp_path / "a.csv").write_bytes(b"whole")
        (tmp_path / "a.csv.ok").touch()
        await until(lambda: reader.read == [b"whole"])


async def test_an_empty_file_waits_and_is_shown(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "a.csv").touch()
    async with watching(tmp_path, reader) as watched:
        await until(lambda: "empty files: 1" in watched.notice)
        (tmp_path / "a.csv").write_bytes(b"x")
        await until(lambda: reader.read == [b"x"])
        await until(lambda: watched.notice == "")


async def test_an_empty_file_is_told_once_it_has_settled(tmp_path: Path) -> None:
    """A sender that has only just opened its file is no trouble."""
    clock = ManualClock()
    (tmp_path / "a.csv").touch()
    async with watching(tmp_path, Reader(), settle=5.0, clock=clock) as watched:
        await _looked(watched)
        assert watched.notice == ""
        clock.advance(5.0)
        await until(lambda: "empty files: 1" in watched.notice)


async def test_an_empty_file_with_its_marker_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "a.csv.ok").touch()
    async with watching(tmp_path, Reader(), marker=".ok") as watched:
        await until(lambda: "empty files: 1" in watched.notice)


async def test_a_file_without_an_answer_stays_claimed_and_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.005)
    reader = Reader(b"")
    (tmp_path / "a.csv").write_bytes(b"one")
    (tmp_path / "b.csv").write_bytes(b"two")
    async with watching(tmp_path, reader) as watched:
        await until(lambda: len(reader.read) >= 2)
        assert set(reader.read) == {b"one"}  # the others wait: they could not be kept either
        assert "could not be kept yet" in watched.fault
        assert names(tmp_path / "finished") == []
        reader.answer = ACK
        await until(lambda: names(tmp_path / "finished") == ["a.csv", "b.csv"])
        await until(lambda: watched.fault == "")


async def test_a_file_that_was_claimed_when_the_process_ended_is_read_again(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"one")
    (found,) = files.look().files
    name = files.claim(found)
    assert name is not None
    assert files.read(name) == b"one"  # and here the process ends, before or after the commit

    reader = Reader()
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "finished") == ["a.csv"])
    assert reader.read == [b"one"]


async def test_a_refused_file_is_put_where_a_person_looks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"one")
    async with watching(tmp_path, Reader(NAK)) as watched:
        await until(lambda: "could not be taken: 1" in watched.notice)
        assert watched.fault == ""  # others are taken
        assert names(tmp_path / "failed") == ["a.csv"]
        (tmp_path / "failed" / "a.csv").unlink()
        await until(lambda: watched.notice == "")


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "a.csv").write_bytes(b"x" * 1001)
    (tmp_path / "b.csv").write_bytes(b"x" * 1000)
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "finished") == ["b.csv"])
        await until(lambda: names(tmp_path / "failed") == ["a.csv"])
    assert [len(content) for content in reader.read] == [1000]


async def test_a_file_that_grew_while_it_was_read_has_failed(tmp_path: Path) -> None:
    async def reader(stream: WholeStream) -> None:
        (claimed,) = (tmp_path / CLAIMED).iterdir()
        with claimed.open("ab") as late:
            late.write(b" and more")
        await stream.write(ACK)

    (tmp_path / "a.csv").write_bytes(b"one")
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "failed") == ["a.csv"])
    assert (tmp_path / "failed" / "a.csv").read_bytes() == b"one and more"


async def test_a_share_that_vanishes_is_shown_and_comes_back(tmp_path: Path) -> None:
    share = tmp_path / "share"
    reader = Reader()
    async with watching(share, reader) as watched:
        await until(lambda: watched.fault == "the folder is not there (no such file or directory)")
        assert not share.exists()  # it is not made: that would hide the missing share
        share.mkdir()
        (share / "a.csv").write_bytes(b"one")
        await until(lambda: reader.read == [b"one"])
        await until(lambda: watched.fault == "")
        share.rename(tmp_path / "gone")
        await until(lambda: "not there" in watched.fault)


async def test_a_folder_that_cannot_be_written_is_shown(tmp_path: Path) -> None:
    (tmp_path / "finished").write_bytes(b"a file where a folder belongs")
    (tmp_path / "a.csv").write_bytes(b"one")
    reader = Reader()
    async with watching(tmp_path, reader) as watched:
        await until(lambda: watched.fault == "the folder finished: cannot be written (file exists)")
        assert reader.read == []
        (tmp_path / "finished").unlink()
        await until(lambda: reader.read == [b"one"])


async def test_a_file_that_is_kept_and_cannot_be_moved_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if full and Path(target).parent.name == "finished":
            raise OSError(errno.ENOSPC, "")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    reader = Reader()
    (tmp_path / "a.csv").write_bytes(b"one")
    async with watching(tmp_path, reader) as watched:
        await until(lambda: "cannot be put away (no space left on device)" in watched.fault)
        await _looked(watched)
        full = False
        await until(lambda: names(tmp_path / "finished") == ["a.csv"])
        await until(lambda: watched.fault == "")
    assert reader.read == [b"one"]


async def test_a_folder_that_hangs_is_shown_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "ANSWER_WITHIN_S", 0.02)
    import threading

    hanging = threading.Event()
    look = Files.look
    monkeypatch.setattr(Files, "look", lambda self: (hanging.wait(10), look(self))[1])
    reader = Reader()
    (tmp_path / "a.csv").write_bytes(b"one")
    async with watching(tmp_path, reader) as watched:
        await until(lambda: "has not answered" in watched.fault)
        hanging.set()
        await until(lambda: reader.read == [b"one"])
        await until(lambda: watched.fault == "")


async def test_a_fault_of_the_reader_costs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.005)
    attempts = 0

    async def reader(stream: WholeStream) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("a fault")
        await stream.write(ACK)

    (tmp_path / "a.csv").write_bytes(b"one")
    async with watching(tmp_path, reader):
        await until(lambda: names(tmp_path / "finished") == ["a.csv"])
    assert attempts == 2


async def test_no_name_of_a_file_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.005)
    (tmp_path / "KUMAR_ASHA_1980.csv").write_bytes(b"x" * 1001)
    (tmp_path / "SINGH_RAVI_1975.csv").write_bytes(b"one")
    async with watching(tmp_path, Reader(b"")) as watched:
        await until(lambda: "could not be kept" in watched.fault and "could not be taken" in watched.notice)
        said = watched.fault + watched.notice + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "KUMAR" not in said
    assert "SINGH" not in said


async def test_stopping_waits_for_the_file_that_is_being_read(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def reader(stream: WholeStream) -> None:
        begun.set()
        await asyncio.sleep(0)
        await stream.write(ACK)

    for number in range(5):
        (tmp_path / f"{number}.csv").write_bytes(b"x")
    async with watching(tmp_path, reader):
        await begun.wait()
    # Each is in one place: finished, or where it was.
    assert (
        len(names(tmp_path / "finished"))
        + sum(name.endswith(".csv") for name in names(tmp_path))
        + len(names(tmp_path / CLAIMED))
        == 5
    )
    assert names(tmp_path / CLAIMED) == []


async def _finished(folder: Path, count: int) -> None:
    await until(lambda: len(names(folder / "finished")) == count)


async def _looked(watched: WatchedFolder) -> None:
    """Wait until the folder was looked at twice: at least once after now, from begin to end."""
    looks = 0
    files = watched._files
    look = files.look

    def counted() -> object:
        nonlocal looks
        looks += 1
        return look()

    files.look = counted  # type: ignore[method-assign, assignment] # counted, and otherwise the real one
    try:
        await until(lambda: looks >= 3)
    finally:
        files.look = look  # type: ignore[method-assign]
