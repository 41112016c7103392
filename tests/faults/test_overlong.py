"""A sender repeats, for ever, what cannot be taken: the disk does not fill, it is told why, others are served."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from engine.model.errors import ErasedError
from engine.model.journal.records import KIND_FRAME
from engine.store.journal.upkeep import CHECKPOINT_BYTES
from engine.store.queries.lanes import list_channels
from engine.store.queries.reader import stored_payload
from tests.support.astm_peer import cut_every, session
from tests.support.channels import block, hl7
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import VT, AstmAnalyzer, blocks_of, lines, send_blocks, send_raw
from tests.support.serial_peers import Cable
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import until

MiB = 1 << 20
LIMIT = 1 * MiB
GROWS = 2 * MiB + CHECKPOINT_BYTES  # what other channels bring fills the log before it is folded in
HEAD = b"MSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|4711|P|2.5\rOBR|1|||x\rNTE|1||"
LONG = HEAD + b"A" * (LIMIT + LIMIT // 8)
RECORDS = (
    b"H|\\^&|||XN\rP|1\rO|1|S1\r" + b"".join(b"C|%d|I|%s\r" % (n, b"a" * 900) for n in range(1, 1300)) + b"L|1|N\r"
)

Send = Callable[[int], Awaitable[bytes]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    (tmp_path / "site").mkdir()
    with small_disk(tmp_path / "site" / "var", 48 * MiB) as disk:
        yield disk


def used(folder: Path) -> int:
    """Bytes of the journal and its log; the reserve beside it is given back when it is needed."""
    return sum(file.stat().st_blocks * 512 for file in (folder / "var").glob("journal.db*"))


async def is_answered(port: int, control_id: str) -> bool:
    return [lines(answer)["MSA"][1] for answer in await send_blocks(port, [hl7(control_id)])] == ["AA"]


async def with_end(port: int) -> bytes:
    return await send_raw(port, block(LONG))


async def without_end(port: int) -> bytes:
    return await send_raw(port, VT + LONG)


async def as_astm(port: int) -> bytes:
    played = await AstmAnalyzer(port).play(session(*cut_every(RECORDS, 60_000)))
    assert played.gave_up
    return b""


@pytest.mark.parametrize(("kind", "send"), [("mllp", with_end), ("mllp", without_end), ("astm", as_astm)])
async def test_what_is_sent_again_and_again_is_kept_once_and_the_other_channel_answers(
    tmp_path: Path, disk: SmallDisk, kind: str, send: Send
) -> None:
    make = astm_channel if kind == "astm" else hl7_channel
    source = {"kind": kind, "listen": "127.0.0.1:0", "max_message": "1MiB"}
    async with running_site(tmp_path / "site", {"big": make(source=source), "other": hl7_channel()}) as site:
        assert await is_answered(site.port("other"), "0")
        await send(site.port("big"))
        before = used(site.folder)
        for turn in range(1, 40):
            answer = await send(site.port("big"))
            if kind == "mllp":
                (said,) = blocks_of(answer)
                assert lines(said)["MSA"][1:3] == ["AR", "4711"]
                assert "max_message" in said.decode()
            assert await is_answered(site.port("other"), str(turn))
        assert used(site.folder) - before < GROWS + (LIMIT if kind == "astm" else 0)
        await only_one_is_shown(site, 40)
        ran = await site.labrelay("verify")
        assert (ran.code, ran.err) == (0, ""), ran.out


async def only_one_is_shown(site: RunningSite, times: int) -> None:
    """One message waits for a person; it says how often it came, and why it was not taken."""
    await until(lambda: sum(view.incomplete for view in list_channels(site.journal)) == 1)
    (kept,) = [view for view in site.messages("big") if view.state == "incomplete"]
    await until(lambda: site.trace(kept.id).times == times)
    assert kept.reason == "TOO_LARGE"
    assert len(stored_payload(site.journal, kept.id)) == 64 * 1024
    ran = await site.labrelay("messages", "show", str(kept.id))
    assert "max_message" in ran.out
    assert f"{times} times" in ran.out


async def test_an_endless_message_on_a_serial_line_is_kept_once(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "usb-analyzer")
    async with AsyncExitStack() as stack:
        stack.callback(cable.close)
        source = {"kind": "astm-serial", "device": cable.path, "max_message": "32KiB"}
        site = await stack.enter_async_context(running_site(tmp_path / "site", {"big": astm_channel(source=source)}))
        for _ in range(3):
            played = await cable.play(session(*cut_every(RECORDS[:48_000], 8_000)))
            assert played.gave_up
        await until(lambda: [site.trace(view.id).times for view in site.messages("big")] == [3])
        assert [view.state for view in site.messages("big")] == ["incomplete"]


async def test_of_an_endless_message_in_small_frames_no_frame_is_kept(tmp_path: Path) -> None:
    source = {"kind": "astm", "listen": "127.0.0.1:0", "max_message": "96KiB"}
    async with running_site(tmp_path / "site", {"big": astm_channel(source=source)}) as site:
        for times in range(1, 4):
            played = await AstmAnalyzer(site.port("big")).play(session(*cut_every(RECORDS[:120_000], 150)))
            assert played.gave_up
            await until(lambda: [site.trace(view.id).times for view in site.messages("big")] == [times])  # noqa: B023
        with closing(sqlite3.connect(site.folder / "var" / "journal.db")) as journal:
            assert journal.execute("SELECT count(*) FROM journal WHERE kind = ?", (KIND_FRAME,)).fetchone() == (0,)
            (kept,) = journal.execute("SELECT sum(length(body) + length(meta) + length(token)) FROM journal").fetchone()
            (pieces,) = journal.execute("SELECT count(*) FROM pruned").fetchone()
        assert kept < 100_000  # of 300,000 that came: the beginning, once
        assert pieces < 10
        (message,) = site.messages("big")
        assert len(stored_payload(site.journal, message.id)) == 64 * 1024
        acts = (await site.labrelay("audit", "list", "--act", "incomplete", "-o", "json")).json
        assert len(acts["acts"]) == 3
        ran = await site.labrelay("verify")
        assert (ran.code, ran.err) == (0, ""), ran.out


async def test_another_message_that_is_too_large_is_kept_beside_the_first(tmp_path: Path) -> None:
    source = {"kind": "mllp", "listen": "127.0.0.1:0", "max_message": "100KiB"}
    async with running_site(tmp_path, {"big": hl7_channel(source=source)}) as site:
        for end in (b"B", b"C", b"B", b"D"):  # a difference far behind what is kept of them
            await send_raw(site.port("big"), VT + HEAD + b"A" * 80_000 + end * 90_000)
        assert [site.trace(view.id).times for view in site.messages()] == [2, 1, 1]
        heads = {stored_payload(site.journal, view.id) for view in site.messages()}
        assert len(heads) == 1
        ran = await site.labrelay("dlq", "dismiss", "--code", "TOO_LARGE", "--reason", "seen", "--yes")
        assert ran.code == 0, ran.err
        await send_raw(
            site.port("big"), VT + HEAD + b"A" * 80_000 + b"B" * 90_000
        )  # it goes on: a person sees it again
        assert [view.state for view in site.messages()] == [*["dismissed"] * 3, "incomplete"]


async def test_all_incomplete_messages_together_have_a_limit_and_dismissed_ones_go_first(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"big": hl7_channel()}) as site:
        site.app.journal.tail.incomplete_bytes, site.app.journal.tail.incomplete_us = LIMIT, 0
        port, size = site.port("big"), 300_000
        for number in range(3):
            await send_raw(port, VT + HEAD + bytes([65 + number]) * size)
        await until(lambda: len(site.messages()) == 3)
        first, second, _ = (view.id for view in site.messages())
        assert (await site.labrelay("dlq", "dismiss", str(second), "--reason", "seen", "--yes")).code == 0
        await send_raw(port, VT + HEAD + b"D" * size)
        await until(lambda: len(site.messages()) == 4)
        assert emptied(site) == {second, first}
        before = used(site.folder)
        for number in range(40):
            await send_raw(port, VT + HEAD + b"%d " % number * (size // 3))
        await until(lambda: len(site.messages()) == 44)
        assert used(site.folder) - before < GROWS + LIMIT
        assert sum(view.incomplete for view in list_channels(site.journal)) == 43  # all of them are still shown
        assert len(stored_payload(site.journal, site.messages()[-1].id)) > 2 * size // 3
        acts = (await site.labrelay("audit", "list", "--act", "incomplete", "-o", "json")).json
        assert acts
        ran = await site.labrelay("verify")
        assert (ran.code, ran.err) == (0, ""), ran.out


def emptied(site: RunningSite) -> set[int]:
    """Messages whose content is gone; reading it says so."""
    gone = set()
    for view in site.messages():
        try:
            stored_payload(site.journal, view.id)
        except ErasedError:
            gone.add(view.id)
    return gone


async def test_a_sender_that_goes_on_and_never_reads_is_cut_off_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.receiving.large.THROW_AWAY_S", 0.2)
    source = {"kind": "mllp", "listen": "127.0.0.1:0", "max_message": "100KiB"}
    async with running_site(tmp_path, {"big": hl7_channel(source=source)}) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("big"))
        with pytest.raises(ConnectionError):
            writer.write(VT + HEAD)
            async with asyncio.timeout(240.0):
                while True:
                    writer.write(b"A" * 65_536)
                    await writer.drain()
        del reader
        await until(lambda: not site.app.parts.sources["big"].channel.connections)
