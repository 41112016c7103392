"""The simulated analyzer on a real socket, with a host of another maker at the other end that behaves well, or not."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest

from engine.model.texts.units import HostPort
from tests.support.astm_host import Habit, Served, StrictHost, serving
from tests.support.mllp_peer import CLOSE, PAUSE, ack, mllp_peer
from tests.support.waiting import until
from workbench.simulator.astm import Habits
from workbench.simulator.dialogue import Dialogue, readable
from workbench.simulator.faults import ALL, Fault
from workbench.simulator.packs import find_model
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import PlannedMessage, shift
from workbench.simulator.wires import ClientWire, ServerWire

QUICK = Habits(answer_within=2.0, holds=0.002)
HASTY = Habits(answer_within=0.15, block_answer_within=0.15, holds=0.002)
START = datetime(2026, 3, 2, 8, 0)


def work(name: str, count: int, seed: int = 1) -> list[PlannedMessage]:
    return list(shift(find_model(name), seed=seed, start=START, specimens=count, again=False))


def manner(
    faults: frozenset[Fault] = frozenset(), seed: int = 1, habits: Habits = QUICK, tries: int = 2
) -> PlaySettings:
    return PlaySettings(faults=faults, seed=seed, habits=habits, again_after=0.001, trickle=0.0, tries=tries)


async def play(
    link: str, port: int, sendings: list[PlannedMessage], how: PlaySettings, lines: list[str] | None = None
) -> tuple[Analyzer, Dialogue]:
    wire = ClientWire(HostPort("127.0.0.1", port))
    dialogue = Dialogue(lines.append if lines is not None else None)
    analyzer = Analyzer(link, wire, dialogue, how)
    try:
        await analyzer.work(sendings)
    finally:
        await wire.close()
    return analyzer, dialogue


# -- E1381 ---------------------------------------------------------------------------------------------------------


async def test_every_message_arrives_and_the_dialogue_shows_it() -> None:
    sendings = work("sysmex-xp", 3)
    lines: list[str] = []
    async with serving() as host:
        _, dialogue = await play("e1381", host.port, sendings, manner(), lines)
        await until(lambda: len(host.messages) == 3)
    assert host.messages == [sending.payload for sending in sendings]
    assert dialogue.tally.broken == 0
    assert lines[1:5] == ["> ENQ", "< ACK", lines[3], "< ACK"]
    assert lines[3].startswith("> <STX>1H|\\^&|")
    assert lines[3].endswith("<CR><LF>")
    assert lines.count("> EOT") == 3


@pytest.mark.parametrize("seed", range(6))
async def test_with_every_fault_everything_arrives_at_a_host_of_another_maker(seed: int) -> None:
    sendings = work("erba-em200", 15, seed)
    async with serving() as host:
        analyzer, dialogue = await play("e1381", host.port, sendings, manner(ALL, seed), None)
        await until(lambda: sendings[-1].payload in host.messages)
    assert dialogue.tally.violations == []
    assert dialogue.tally.failed == 0
    assert analyzer.acknowledged == sendings
    assert list(dict.fromkeys(text for text in host.messages if text in whole(sendings))) == list(whole(sendings))


def whole(sendings: list[PlannedMessage]) -> dict[bytes, None]:
    return dict.fromkeys(sending.payload for sending in sendings)


@pytest.mark.parametrize("fault", list(Fault))
async def test_each_fault_alone_is_survived_and_told(fault: Fault) -> None:
    lines: list[str] = []
    async with serving() as host:
        sendings = work("sysmex-xp", 12)
        _, dialogue = await play("e1381", host.port, sendings, manner(frozenset({fault})), lines)
        await until(lambda: set(host.messages) >= set(whole(sendings)))
    assert set(dialogue.tally.faults) == {fault.value}
    assert sum(line.startswith("! ") for line in lines) == dialogue.tally.faults[fault.value]
    assert dialogue.tally.violations == []
    if fault is Fault.BAD_CHECKSUM:
        assert sum(each.bad for each in host.hosts) == dialogue.tally.faults[fault.value]
    if fault is Fault.LOST_ACK:
        assert sum(each.again for each in host.hosts) == dialogue.tally.faults[fault.value]


def once(wrong: bytes, when: Callable[[bytes], bool]) -> Habit:
    done: list[bytes] = []

    def habit(came: bytes, answer: bytes) -> bytes:
        if not done and when(came):
            done.append(came)
            return wrong
        return answer

    return habit


def is_frame(came: bytes) -> bool:
    return came[:1] == b"\x02"


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        (once(b"\x06\x06", is_frame), "<ACK><ACK> in answer to frame 1"),
        (once(b"\x06\x06", lambda came: came == b"\x05"), "<ACK><ACK> in answer to ENQ"),
        (once(b"A", is_frame), "A in answer to frame 1"),
        (once(b"\x04", lambda came: came == b"\x05"), "EOT in answer to ENQ"),
        (once(b"", is_frame), "no answer to frame 1 within 0.15 s"),
        (once(b"", lambda came: came == b"\x05"), "no answer to ENQ within 0.15 s"),
        (lambda came, answer: b"\x06" * came.count(b"\x04") + answer, "ACK"),
    ],
)
async def test_a_host_that_breaks_the_protocol_is_told_of_it(habit: Habit, words: str) -> None:
    async with serving(habit) as host:
        _, dialogue = await play("e1381", host.port, work("sysmex-xp", 2), manner(habits=HASTY, tries=3))
    assert any(words in text for text in dialogue.tally.violations), dialogue.tally.violations


async def test_a_host_that_takes_a_damaged_frame_is_told_of_it() -> None:
    def trusting(came: bytes, answer: bytes) -> bytes:
        return b"\x06" if answer == b"\x15" else answer

    async with serving(trusting) as host:
        _, dialogue = await play("e1381", host.port, work("sysmex-xp", 6), manner(frozenset({Fault.BAD_CHECKSUM})))
    assert dialogue.tally.violations
    assert all("which was damaged" in text for text in dialogue.tally.violations)


async def test_a_host_that_is_busy_or_wants_the_line_breaks_nothing() -> None:
    answers = iter([b"\x15", b"\x05"])

    def busy(came: bytes, answer: bytes) -> bytes:
        return next(answers, answer) if came == b"\x05" else answer

    async with serving(busy) as host:
        analyzer, dialogue = await play("e1381", host.port, work("sysmex-xp", 1), manner())
    assert (dialogue.tally.broken, dialogue.tally.naks, len(analyzer.acknowledged)) == (0, 1, 1)


async def test_a_host_that_never_takes_a_frame_costs_the_message_and_no_more() -> None:
    refused: list[bytes] = []

    def stubborn(came: bytes, answer: bytes) -> bytes:
        if came[:2] == b"\x022" and len(refused) < 12:
            refused.append(came)
            return b"\x15"
        return answer

    async with serving(stubborn) as host:
        analyzer, dialogue = await play("e1381", host.port, work("sysmex-xp", 2), manner(tries=2))
    assert len(refused) == 12  # six sendings, in two tries
    assert (dialogue.tally.failed, len(analyzer.acknowledged)) == (1, 1)


async def test_nobody_there_costs_the_message(unused_tcp_port: int) -> None:
    _, dialogue = await play("e1381", unused_tcp_port, work("sysmex-xp", 1), manner(tries=2))
    assert (dialogue.tally.lost, dialogue.tally.failed) == (2, 1)


async def test_an_analyzer_that_is_the_server_waits_for_its_peer_and_for_the_next_after_a_drop() -> None:
    sendings = work("sysmex-xp", 10)
    wire = ServerWire(HostPort("127.0.0.1", 0))
    port = await wire.listen()
    served = Served(port, [])
    dialogue = Dialogue()

    async def connect_again_and_again() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            host = StrictHost()
            served.hosts.append(host)
            try:
                while data := await reader.read(4096):
                    writer.write(host.take(data))
            except OSError:
                pass
            finally:
                writer.close()

    peer = asyncio.create_task(connect_again_and_again())
    try:
        await Analyzer("e1381", wire, dialogue, manner(frozenset({Fault.DROP}))).work(sendings)
        await until(lambda: set(served.messages) >= set(whole(sendings)))
    finally:
        peer.cancel()
        await asyncio.gather(peer, return_exceptions=True)
        await wire.close()
    assert dialogue.tally.faults["drop"] > 0
    assert len(served.hosts) > dialogue.tally.faults["drop"]


# -- MLLP ----------------------------------------------------------------------------------------------------------


async def test_mllp_messages_arrive_with_every_fault() -> None:
    sendings = work("mindray-bs200", 20)
    async with mllp_peer(ack()) as peer:
        _, dialogue = await play(
            "mllp", peer.port, sendings, manner(ALL - {Fault.BAD_CHECKSUM, Fault.GARBAGE}, seed=2)
        )  # the peer of this test takes what is before VT for part of the message
    assert dialogue.tally.violations == []
    assert list(dict.fromkeys(peer.messages)) == list(whole(sendings))
    assert set(dialogue.tally.faults) == {"lost-ack", "drop", "contention", "slow", "split"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ack(control_id="other"), "an answer to message 'other'"),
        (b"\x0bnonsense\x1c\r", "no acknowledgement"),
        ((ack(), ack()), "behind the answer"),
        (b"junk" + ack(), "junk before the answer's VT"),
        (PAUSE, "no answer within"),
    ],
)
async def test_an_mllp_peer_that_breaks_the_protocol_is_told_of_it(answer: object, words: str) -> None:
    async with mllp_peer(answer) as peer:  # type: ignore[arg-type]  # one of its kinds of answer
        _, dialogue = await play("mllp", peer.port, work("mindray-bs200", 1), manner(habits=HASTY, tries=1))
    assert any(words in text for text in dialogue.tally.violations), dialogue.tally.violations


@pytest.mark.parametrize("answer", [ack("AE"), ack("AR"), CLOSE])
async def test_a_refusal_and_a_closed_connection_are_no_fault_of_the_protocol(answer: object) -> None:
    async with mllp_peer(answer, ack()) as peer:  # type: ignore[arg-type]  # one of its kinds of answer
        analyzer, dialogue = await play("mllp", peer.port, work("mindray-bs200", 1), manner(tries=2))
    assert (dialogue.tally.broken, len(analyzer.acknowledged)) == (0, 1)
    assert dialogue.tally.naks + dialogue.tally.lost == 1


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x05", "ENQ"),
        (b"\x021H|\xc3\xa9\r\x0300\r\n", "<STX>1H|é<CR><ETX>00<CR><LF>"),
        (b"\xe9\x7f\x1b", "é<7F><1B>"),
        (b"", ""),
    ],
)
def test_bytes_are_shown_with_their_control_characters_named(data: bytes, words: str) -> None:
    assert readable(data) == words
