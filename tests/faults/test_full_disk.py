"""T4 and T5: a disk that is full to the last byte. Nothing is acknowledged, people can act, and then all goes on."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.rework.rows import dismissal
from engine.model.errors import NoRoomError, StoreError
from engine.model.process.clock import SystemClock
from engine.monitoring.snapshot.states import ChannelState
from engine.runtime.app import App
from engine.runtime.observing import notices, observe
from engine.store.core.files import reserve
from engine.store.core.files.reserve import RESERVE_NAME, Reserve
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, audit
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.trial import Trial
from tests.support.command_line import labrelay
from tests.support.journals import WINDOW_S, received
from tests.support.live import Analyzer, Server
from tests.support.running import QUICK, channel, make_running_site, running_app
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import until

MiB = 1 << 20
KEPT = 4 * MiB  # in place of 64 MiB
KINDS = ["mllp", "astm"]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    monkeypatch.setattr(reserve, "RESERVE_BYTES", KEPT)
    monkeypatch.setattr(reserve, "MARGIN_BYTES", 20 * MiB)
    monkeypatch.setattr(reserve, "STEP_BYTES", MiB)
    monkeypatch.setattr("engine.store.journal.upkeep.RESERVE_LOOK_S", 0.02)
    with small_disk(tmp_path / "var", 64 * MiB) as disk:
        yield disk


def size(disk: SmallDisk) -> int:
    file = disk.path / RESERVE_NAME
    return file.stat().st_blocks * 512 if file.exists() else 0


def is_settled(app: App) -> bool:
    channels, lanes = list_channels(app.journal), list_lanes(app.journal)
    return not any(view.stored for view in channels) and not any(view.open for view in lanes)


def each_refused_again(app: App) -> Callable[[], bool]:
    """Whether each channel has been unable to store something, twice from now on."""

    def refusals() -> list[int]:
        return [app.parts.sources[f"c{n}"].channel.counts.faults["not-stored"] for n in range(len(KINDS))]

    before = refusals()
    return lambda: all(now > count + 1 for now, count in zip(refusals(), before, strict=True))


async def test_nothing_is_acknowledged_people_can_act_and_all_goes_on(
    tmp_path: Path, disk: SmallDisk, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    server = Server(ledger=ledger, refuse={(0, 2), (0, 3), (0, 4)})
    await server.start()
    folder = make_running_site(
        tmp_path,
        {f"c{n}": channel({"kind": kind, "listen": "127.0.0.1:0"}, {"to": "server"}) for n, kind in enumerate(KINDS)},
        {"server": {"kind": "http", "url": f"http://127.0.0.1:{server.port}/", **QUICK}},
    )
    async with running_app(folder) as app:
        await until(lambda: size(disk) == KEPT)
        ports = [app.parts.sources[f"c{n}"].port or 0 for n in range(len(KINDS))]
        analyzers = [Analyzer(n, ports[n], kind, ledger=ledger, pause_s=0.005) for n, kind in enumerate(KINDS)]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        await until(lambda: all(len(analyzer.acked) > 5 for analyzer in analyzers), 240.0)
        numbers = [letter.message_id for letter in dead_letters(app.journal)]
        for turn in trial.rounds(quick=2, long=20, unit="full disks"):
            disk.fill()
            await until(lambda: app.journal.full, 240.0)
            await until(each_refused_again(app), 240.0)  # no answer to what came before is under way any more
            held = [len(analyzer.acked) for analyzer in analyzers]
            assert any("disk is full" in alarm for alarm in notices.no_room(app.journal))
            for shown_s in (observe.STORE_FAULT_S, 0.0):  # also where nobody has tried for long
                with monkeypatch.context() as patched:
                    patched.setattr(observe, "STORE_FAULT_S", shown_s)
                    app.observer.expire()
                    site = app.observer.snapshot()
                    assert any("nothing can be stored" in obstacle for obstacle in app.observer.obstacles())
                assert [row.state for row in site.channels] == [ChannelState.REFUSING] * len(KINDS)
                assert not site.journal.writable
            if turn < len(numbers):
                ran = await asyncio.to_thread(
                    labrelay, "dlq", "dismiss", str(numbers[turn]), "--reason", "seen", "--yes", site=folder
                )
                assert ran.code == ExitCode.OK, ran.err
            for _ in range(30):  # each is an entry of the audit trail
                await app.journal.run(audit.note, "ann", "unmask", {"message": 1})
            with pytest.raises(NoRoomError):
                await app.journal.run(append.store_message, received(b"x"), repeat_window_s=WINDOW_S)
            assert [len(analyzer.acked) for analyzer in analyzers] == held
            disk.free()
            await until(
                lambda held=held: all(len(a.acked) > n + 3 for a, n in zip(analyzers, held, strict=True)), 240.0
            )
            await until(lambda: size(disk) == KEPT)
            assert (app.journal.alarms, [*notices.no_room(app.journal)]) == ([], [])
            app.observer.expire()
            assert not {row.state for row in app.observer.snapshot().channels} & {ChannelState.REFUSING}
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: is_settled(app), 240.0)
    assert not (disk.path / RESERVE_NAME).exists()
    trial.note(judge(disk.path, ledger, settled=True).must_pass())
    await server.stop()


async def test_a_start_on_a_full_disk_takes_the_room_that_a_killed_process_has_kept(disk: SmallDisk) -> None:
    journal = Journal.open(disk.path, clock=SystemClock(), reserve=True)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await journal.run(append.store_message, received(b"first"), repeat_window_s=WINDOW_S)
    await until(lambda: size(disk) == KEPT)
    await journal.stop()
    for _ in range(KEPT // MiB):
        Reserve(disk.path).look()  # as a killed process leaves it
    kept = size(disk)
    assert kept
    disk.fill()
    assert disk.left == 0
    journal = Journal.open(disk.path, clock=SystemClock(), reserve=True)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    assert journal.full
    with pytest.raises(NoRoomError):
        await journal.run(append.store_message, received(b"second"), repeat_window_s=WINDOW_S)
    await journal.run(dismissal.dismiss, messages=[1], actor="ann", reason="seen")
    (alarm,) = notices.no_room(journal)
    assert "the rest of it is kept for acts of people" in alarm
    disk.fill()  # what was given back is gone as well
    (alarm,) = notices.no_room(journal)
    assert "is used up, too: pauses and decisions may fail" in alarm
    with pytest.raises(StoreError, match="SQLITE_FULL"):
        for _ in range(1000):
            await journal.run(audit.note, "ann", "unmask", {"message": 1})
    disk.free()
    await until(lambda: not journal.full)
    assert (await journal.run(append.store_message, received(b"second"), repeat_window_s=WINDOW_S)).id
    await journal.stop()


async def test_people_can_act_where_another_program_takes_what_was_given_back(disk: SmallDisk) -> None:
    journal = Journal.open(disk.path, clock=SystemClock(), reserve=True)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await until(lambda: size(disk) == KEPT)
    for number in range(6):  # an ordinary log
        content = random.Random(number).randbytes(MiB // 2)
        await journal.run(append.store_message, received(content), repeat_window_s=WINDOW_S)
    disk.fill()
    with pytest.raises(StoreError):  # until the log has used up its own room
        for number in range(6, 40):
            content = random.Random(number).randbytes(MiB // 2)
            await journal.run(append.store_message, received(content), repeat_window_s=WINDOW_S)
    assert journal.full
    disk.fill()
    assert disk.left == 0
    for _ in range(100):
        await journal.run(audit.note, "ann", "token-revoke", {"token": "screen"})
    disk.free()
    await journal.stop()


@pytest.mark.parametrize("mib", [40, 96])
def test_a_disk_smaller_than_the_mark_goes_on_once_most_of_it_is_free(tmp_path: Path, mib: int) -> None:
    with small_disk(tmp_path / "var", mib * MiB) as disk:
        kept = Reserve(disk.path)
        kept.look()
        assert 0 < size(disk) <= mib * MiB // 8
        disk.fill()
        assert kept.give()
        assert kept.given
        assert 0 < kept.lacking <= disk.path.joinpath("somebody else's").stat().st_size  # that much can be freed
        disk.fill()  # once more: also what was given back is gone
        assert kept.lacking == mib * MiB // 4
        disk.free()
        with (disk.path / "the journal").open("wb") as journal:
            os.posix_fallocate(journal.fileno(), 0, disk.left - mib * MiB // 4)
        assert kept.lacking == 0
        kept.look()
        assert not kept.given


def test_a_disk_that_has_room_keeps_the_reserve(disk: SmallDisk) -> None:
    kept, open_files = Reserve(disk.path), len(os.listdir("/proc/self/fd"))
    for _ in range(8):
        kept.look()
    assert size(disk) == KEPT
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert not kept.give()  # a write has failed for another reason: a quota, a limit on files
    assert (size(disk), kept.given) == (KEPT, False)


def test_a_disk_without_room_for_a_reserve_goes_without_one(disk: SmallDisk) -> None:
    disk.fill()
    kept = Reserve(disk.path)
    kept.look()
    assert size(disk) == 0
    assert kept.give()
    assert kept.given
    disk.free()
    kept.look()
    assert not kept.given


async def test_a_command_that_opens_the_journal_for_one_act_keeps_none(disk: SmallDisk) -> None:
    journal = Journal.open(disk.path, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await journal.run(append.store_message, received(b"first"), repeat_window_s=WINDOW_S)
    await journal.stop()
    assert size(disk) == 0
