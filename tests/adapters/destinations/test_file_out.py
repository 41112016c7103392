# ruff: noqa: ASYNC240 - a test looks at its folder when nothing else runs
"""Files: whole or not at all, the same name for the same delivery, and a full disk is nobody's loss."""

import asyncio
import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from adapters.destinations import file_out
from adapters.destinations.file_out import FileOut, file_name, write_batch
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Settings, delivery


@asynccontextmanager
async def archive(folder: Path, timeout: float = 5.0) -> AsyncIterator[FileOut]:  # noqa: ASYNC109 - a setting
    built = file_out.build("archive", Settings(folder=folder, timeout=timeout), ManualClock())
    await built.start()
    try:
        yield built
    finally:
        await built.close()


async def test_a_document_becomes_a_file_with_a_telling_name(tmp_path: Path) -> None:
    async with archive(tmp_path / "var" / "archive") as out:
        await out.deliver(delivery(b'{"a":1}'))
    [path] = (tmp_path / "var" / "archive").iterdir()
    assert path.name == "20260301-chemistry-0000004711-3f9c2a7e51d04b86.json"
    assert path.read_bytes() == b'{"a":1}'
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("application/fhir+json", ".json"),
        ("application/json; charset=utf-8", ".json"),
        ("x-application/hl7-v2+er7", ".hl7"),
        ("application/hl7-v2", ".hl7"),
        ("application/pdf", ".bin"),
    ],
)
def test_the_suffix_follows_the_media_type(media_type: str, suffix: str) -> None:
    assert Path(file_name(delivery(media_type=media_type))).suffix == suffix


def test_a_name_leads_nowhere_else() -> None:
    name = file_name(delivery(channel="../../etc/x", key="../../../../passwd"))
    assert "/" not in name
    assert not name.startswith(".")


async def test_a_repeat_replaces_itself(tmp_path: Path) -> None:
    async with archive(tmp_path) as out:
        await out.deliver(delivery(b"first"))
        await out.deliver(delivery(b"first", attempt=4, maybe_delivered=True))
    assert len(list(tmp_path.iterdir())) == 1


async def test_many_at_once_share_the_sync_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    original = write_batch
    gate = threading.Event()

    def counted(folder: Path, batch: list[Delivery]) -> list[OSError | None]:
        gate.wait(5)
        batches.append(len(batch))
        return original(folder, batch)

    monkeypatch.setattr(file_out, "write_batch", counted)
    async with archive(tmp_path) as out:
        tasks = [asyncio.create_task(out.deliver(delivery(b"%d" % n, message_id=n))) for n in range(150)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)
    assert sum(batches) == 150
    assert max(batches) == file_out.MAX_BATCH
    assert len(batches) <= 4
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"%d" % n for n in range(150)}


async def test_a_watcher_never_sees_half_a_file(tmp_path: Path) -> None:
    """Large files are rewritten while a thread reads whatever is visible."""
    sizes: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in tmp_path.glob("[!.]*.json"):
                sizes.add(len(path.read_bytes()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        async with archive(tmp_path) as out:
            for _ in range(20):
                await out.deliver(delivery(b"x" * 3_000_000))
    finally:
        done.set()
        watcher.join()
    assert sizes <= {3_000_000}


async def test_syncs_come_before_the_name_and_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def spy(name: str) -> None:
        original: Callable[..., object] = getattr(os, name)

        def recorded(*args: object) -> object:
            if name == "fsync":
                assert isinstance(args[0], int)
                calls.append("sync folder" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else "sync file")
            else:
                calls.append(name)
            return original(*args)

        monkeypatch.setattr(os, name, recorded)

    async with archive(tmp_path) as out:
        spy("fsync")
        spy("replace")
        await out.deliver(delivery(b"x"))
        assert calls == ["sync file", "replace", "sync folder"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_does_not_fit_leaves_no_trace_and_can_come_again(tmp_path: Path) -> None:
    async with archive(tmp_path) as out:
        with file_size_limit(10_000):
            outcomes = await asyncio.gather(
                out.deliver(delivery(b"x" * 50_000, message_id=1)),
                out.deliver(delivery(b"fits", message_id=2)),
                return_exceptions=True,
            )
        assert isinstance(outcomes[0], TransientDeliveryError)
        assert outcomes[0].reason is ReasonCode.STORAGE
        assert outcomes[1] is None
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"fits"]
        await out.deliver(delivery(b"x" * 50_000, message_id=1))
    assert len(list(tmp_path.iterdir())) == 2


FULL_DISK = """
from pathlib import Path
from adapters.destinations.file_out import write_batch
from tests.support.deliveries import delivery

folder = Path("{folder}")
large, small = delivery(b"x" * 200_000, message_id=1), delivery(b"fits", message_id=2)
print([error and error.errno for error in write_batch(folder, [large, small])])
print(sorted(path.name[:30] for path in folder.iterdir()))
"""


def test_a_disk_that_is_really_full_costs_only_what_does_not_fit(tmp_path: Path) -> None:
    """On a file system of 64 KiB, in a mount namespace of its own."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mount in a user namespace")
    program = FULL_DISK.format(folder=tmp_path)
    ran = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.splitlines() == [f"[{errno.ENOSPC}, None]", "['20260301-chemistry-0000000002-']"]


async def test_a_failed_sync_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, faults = os.fsync, iter([OSError(28, "No space left on device")])

    def failing(descriptor: int) -> None:
        for fault in faults:
            raise fault
        fsync(descriptor)

    async with archive(tmp_path) as out:
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(TransientDeliveryError, match="no space left on device") as caught:
            await out.deliver(delivery(b"x"))
        assert not isinstance(caught.value, DestinationDownError)
        assert list(tmp_path.iterdir()) == []
        await out.deliver(delivery(b"x"))


async def test_the_name_of_the_folder_is_durable_before_the_first_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that fails at the start it is done again, and nothing counts as delivered meanwhile."""
    fsync = os.fsync
    synced: list[Path] = []
    fails = True

    def recorded(descriptor: int) -> None:
        if fails:
            raise OSError(5, "Input/output error")
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    async with archive(tmp_path / "new" / "archive") as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"x"))
        fails = False
        await out.deliver(delivery(b"x"))
    assert synced[:2] == [tmp_path / "new", tmp_path]
    assert synced[-1] == tmp_path / "new" / "archive"


async def test_a_failed_sync_of_the_folder_fails_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file_out, "_sync_folder", broken)
    async with archive(tmp_path) as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"x"))


async def test_a_folder_that_cannot_be_used_is_the_destinations_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with archive(tmp_path / "file" / "archive") as out:
        with pytest.raises(DestinationDownError) as caught:
            await out.deliver(delivery(b"x"))
        assert caught.value.reason is ReasonCode.STORAGE
        with pytest.raises(DestinationDownError):
            await out.probe()


async def test_a_folder_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    async with archive(tmp_path / "archive") as out:
        (tmp_path / "archive").rmdir()
        await out.deliver(delivery(b"x"))
        await out.probe()


async def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / f".{file_name(delivery())}.part").symlink_to(victim)
    async with archive(folder) as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"x"))
    assert victim.read_text() == "untouched"


async def test_a_hanging_drive_costs_the_time_of_one_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def hanging(folder: Path, batch: list[Delivery]) -> list[OSError | None]:
        gate.wait(10)
        return [None] * len(batch)

    monkeypatch.setattr(file_out, "write_batch", hanging)
    async with archive(tmp_path, timeout=0.05) as out:
        with pytest.raises(TransientDeliveryError, match=r"not written within 0\.05 s"):
            await out.deliver(delivery(b"x"))
        gate.set()
