"""What a running site says about the lines of its analyzers."""

import ast
import asyncio
from pathlib import Path

import pytest

from engine.model.texts.link_words import FAULT_WORDS
from engine.monitoring.snapshot.channels import ChannelSnapshot, LinkState
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame
from tests.support.channels import END, block
from tests.support.mllp_peer import ack, mllp_peer
from tests.support.packages import PACKAGES
from tests.support.running import ASTM, RunningSite, astm_channel, hl7_channel, running_site
from tests.support.waiting import until

HOST = "127.0.0.1"
CHECKOUT = Path(__file__).parents[4]
RESULT = (
    b"H|\\^&|||XN^1|||||||P|1394-97|20260301101530\rP|1||P1||Rao^Anil||19800101|M\rO|1|S1||^^^WBC|R\r"
    b"R|1|^^^WBC|5|10*9/L||N||F||||20260301101000\rL|1|N\r"
)


def look(site: RunningSite, name: str = "chem") -> ChannelSnapshot:
    observer = site.app.observer
    observer._snapshot = None  # a new look, whatever the time
    return next(channel for channel in observer.snapshot().channels if channel.name == name)


async def test_a_session_is_told_and_the_state_follows_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": astm_channel()}) as site:
        assert look(site).link.state is LinkState.UNCONNECTED
        reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
        await until(lambda: look(site).link.state is LinkState.WAITING_ENQ)
        writer.write(b"noise" + ENQ)
        assert await reader.readexactly(1) == ACK
        assert look(site).link.state is LinkState.RECEIVING
        good = one_record_a_frame(RESULT)
        bad = good[0][:-4] + b"00\r\n"
        for frame, answer in [(bad, NAK), *((frame, ACK) for frame in good)]:
            writer.write(frame)
            assert await reader.readexactly(1) == answer
        writer.write(EOT)
        await until(lambda: look(site).link.state is LinkState.WAITING_ENQ)
        link = look(site).link
        assert [(one.kind, one.n) for one in link.faults] == [("bad-checksum", 1)]
        assert link.last_fault == "bad-checksum"
        assert link.stray_bytes == len("noise")
        writer.close()
        await until(lambda: look(site).link.state is LinkState.UNCONNECTED)
        link = look(site).link
        assert link.stray_bytes == len("noise")  # also once the connection is gone
        told = [(step.way, str(step.words), str(step.verdict or "")) for step in link.steps]
        sizes = [len(frame) for frame in good]
        assert told[-1] == ("in", "EOT", "")
        assert told[-3:-1] == [("in", f"frame 5, {sizes[4]} bytes", "checksum right"), ("out", "ACK", "")]
        assert ("in", f"frame 1, {sizes[0]} bytes", "checksum right") in told
        said = str(site.app.observer.snapshot().to_json())
        assert "Rao" not in said
        assert "5|10*9" not in said


async def test_a_refused_frame_is_told_with_its_reason(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": astm_channel()}) as site:
        reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
        frame = one_record_a_frame(RESULT)[0]
        for part in (ENQ, frame[:-4] + b"00\r\n"):
            writer.write(part)
            await reader.readexactly(1)
        await until(lambda: any(step.way == "about" for step in look(site).link.steps))
        told = [(step.way, str(step.words), step.good) for step in look(site).link.steps]
        assert ("in", f"frame 1, {len(frame)} bytes", False) in told
        about = next(text for way, text, _ in told if way == "about")
        assert about.startswith("frame with a wrong checksum, refused (")
        assert "Rao" not in str(told)
        writer.close()


async def test_mllp_and_a_line_that_cannot_be_opened(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
    port = taken.sockets[0].getsockname()[1]
    channels = {"chem": hl7_channel(), "down": astm_channel(source={**ASTM, "listen": f"{HOST}:{port}"})}
    async with running_site(tmp_path, channels) as site:
        assert look(site, "down").link.state is LinkState.DOWN
        _, writer = await asyncio.open_connection(HOST, site.port("chem"))
        await until(lambda: look(site).link.state is LinkState.CONNECTED)
        writer.write(b"\x0bMSH|^~\\&|half")
        await until(lambda: look(site).link.state is LinkState.RECEIVING)
        writer.close()
        await until(lambda: look(site).link.state is LinkState.UNCONNECTED)
    taken.close()


async def test_a_tee_counts_both_directions(tmp_path: Path) -> None:
    message = b"MSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|1|P|2.5\rPID|1||P1\rOBR|1|S1||GLU\r"
    async with mllp_peer(ack(), ack("AE")) as lis:
        source = {"kind": "mllp", "tee": {"listen": f"{HOST}:0", "connect": f"{HOST}:{lis.port}"}}
        async with running_site(tmp_path, {"chem": hl7_channel(source=source)}) as site:
            reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
            for number in (b"1", b"2"):
                writer.write(block(message.replace(b"|1|P|", b"|" + number + b"|P|")))
                await reader.readuntil(END)
            await until(lambda: len(site.messages()) == 2)
            shown = look(site)
            assert shown.tee is not None
            assert (shown.tee.seen, shown.tee.acknowledged, shown.tee.refused) == (2, 1, 1)
            told = [(step.way, str(step.words), str(step.verdict)) for step in shown.link.steps]
            size = len(message)
            assert told == [
                ("analyzer", f"message, {size} bytes", "accepted"),
                ("analyzer", f"message, {size} bytes", "refused"),
            ]
            assert shown.link.state is LinkState.CONNECTED
            writer.close()


async def test_lots_are_shown_with_their_analyzer(tmp_path: Path) -> None:
    message = RESULT.replace(b"XN^1", b"STA_Max^1").replace(b"L|1|N", b"M|1|SPT||||||NEO CI^254169\rL|1|N")
    async with running_site(tmp_path, {"chem": astm_channel()}) as site:
        reader, writer = await asyncio.open_connection(HOST, site.port("chem"))
        for part in (ENQ, *one_record_a_frame(message)):
            writer.write(part)
            assert await reader.readexactly(1) == ACK
        writer.write(EOT)
        await until(lambda: [(one.lot, one.name) for one in look(site).reagents] == [("254169", "NEO CI")])
        writer.close()


# -- words -------------------------------------------------------------------------------------------------------------


def fault_kinds() -> set[str]:
    """The kind of every `LinkFault` that is made anywhere, where it is a constant."""
    found = set()
    for folder in PACKAGES:
        for path in (CHECKOUT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "LinkFault":
                    kind = call.args[0] if call.args else None
                    if isinstance(kind, ast.Constant):
                        found.add(str(kind.value))
    return found


def test_every_fault_has_words() -> None:
    missing = fault_kinds() - set(FAULT_WORDS)
    assert missing == set(), (
        "give each words in FAULT_WORDS (engine/model/texts/link_words.py), and a row in docs/page.md"
    )


@pytest.mark.parametrize("kind", ["frame-number", "checksum-tolerated", "not-stored", "text-timeout"])
def test_faults_whose_kind_is_not_written_out_have_words_too(kind: str) -> None:
    assert kind in FAULT_WORDS
