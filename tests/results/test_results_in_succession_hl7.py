"""What a laboratory system that takes HL7 v2 has after histories of one order: the same rules as for a FHIR server, in
the codes of tables 0085 and 0123."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.results.test_results_in_succession import Lab
from tests.support.mllp_peer import MllpPeer, ack, mllp_peer
from tests.support.running import ASTM, MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from workbench.sandbox import Sandbox

RAW = "raw"


@asynccontextmanager
async def laboratory(folder: Path, peer: MllpPeer) -> AsyncIterator[Lab]:
    """An analyzer over ASTM, whose results a laboratory system gets as HL7 v2; another's messages go through as they
    come."""
    channels = {
        "astm": channel(ASTM, {"mapping": "astm-to-hl7", "to": "lis"}),
        RAW: channel(MLLP, {"to": "lis"}),
    }
    make_running_site(folder, channels, {"lis": {"kind": "mllp", "connect": f"127.0.0.1:{peer.port}", **QUICK}})
    async with running_app(folder) as app:
        yield Lab(RunningSite(folder, app, Sandbox()), "astm", count(1))


def segments(message: bytes, name: str) -> list[list[str]]:
    return [line.split("|") for line in message.decode().split("\r") if line.startswith(name)]


def has(peer: MllpPeer) -> dict[str, str]:
    """Code -> ``C 6.0`` of each result, as the newest message that tells it has it."""
    found: dict[str, str] = {}
    for message in peer.messages:
        for obx in segments(message, "OBX"):
            found[obx[3].split("^")[0]] = f"{obx[11]} {obx[5] or '-'}"
    return found


# What the analyzer says in turn, a list of messages -> what the receiver has; how the last one ended (the cause where
# it is held); how many messages the receiver got.
ORACLE = [
    pytest.param([["F GLU 9.9 09:30"]], {"GLU": "F 9.9"}, "delivered", 1, id="first"),
    pytest.param([["P GLU 9.1 09:30"], ["F GLU 9.9 09:30"]], {"GLU": "F 9.9"}, "delivered", 2, id="further on"),
    pytest.param([["F GLU 9.9 09:30"], ["P GLU 1.1 09:40"]], {"GLU": "F 9.9"}, "STATUS_BACK", 1, id="status back"),
    pytest.param([["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"]], {"GLU": "C 6.0"}, "delivered", 2, id="corrected"),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"], ["F GLU 9.9 09:30"]], {"GLU": "C 6.0"}, "ECHO", 2, id="memory"
    ),
    pytest.param(
        [["F GLU 9.9 09:30"], ["C GLU 6.0 09:32"], ["F GLU 7.7 09:50"]],
        {"GLU": "C 6.0"}, "STATUS_BACK", 2, id="final after corrected",
    ),
    pytest.param([["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"]], {"GLU": "C 6.1"}, "delivered", 2, id="a changed final"),
    pytest.param(
        [["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"], ["F GLU 6.3 11:30"]],
        {"GLU": "C 6.3"}, "delivered", 3, id="changed twice",
    ),
    pytest.param(
        [["F GLU 5.5 09:30"], ["F GLU 6.1 10:30"], ["F GLU 6.1 10:30"]],
        {"GLU": "C 6.1"}, "ECHO", 2, id="the memory of a changed final",
    ),
    pytest.param([["F GLU 5.5 10:00"], ["F GLU 9.9 07:00"]], {"GLU": "F 5.5"}, "OLDER_RESULT", 1, id="older"),
    pytest.param([["F GLU 5.5 09:30"], ["F GLU - 09:40"]], {"GLU": "F 5.5"}, "VALUE_GONE", 1, id="failed rerun"),
    pytest.param([["F GLU 5.5 09:30"], ["X GLU - 09:40"]], {"GLU": "F 5.5"}, "VALUE_GONE", 1, id="cancelled"),
    pytest.param(
        [["F GLU 5.5 09:30"], ["C GLU 6.0 09:40"], ["F GLU 5.5 09:30", "F NA 140 09:45"]],
        {"GLU": "C 6.0", "NA": "F 140"}, "delivered", 3, id="memory with a new test",
    ),
    pytest.param(
        [["F GLU 5.5 09:30", "F NA 140 09:30"], ["F GLU 6.1 10:30", "F NA 140 09:30"]],
        {"GLU": "C 6.1", "NA": "F 140"}, "delivered", 2, id="one of a panel",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("told", "expected", "ended", "messages"), ORACLE)
async def test_the_receiver_has_the_last_word_of_each_result(
    tmp_path: Path, told: list[list[str]], expected: dict[str, str], ended: str, messages: int
) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        for results in told:
            end = await lab.says(*results)
        assert (lab.held()[-1:] or [end]) == [ended]
    assert has(peer) == expected
    assert len(peer.messages) == messages


async def test_the_order_of_a_changed_final_result_says_so_too(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        await lab.says("F GLU 5.5 09:30", "F NA 140 09:30")
        await lab.says("F GLU 6.1 10:30")
    assert [[obr[25] for obr in segments(one, "OBR")] for one in peer.messages] == [["F"], ["C"]]


async def test_without_a_patient_the_time_of_collection_says_which_sample_it_is(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        await lab.says("F GLU 5.5 09:30", patient="")
        assert await lab.says("F GLU 6.1 10:30", patient="") == "delivered"
        assert await lab.says("F GLU 5.5 09:30", patient="") == "ECHO"
    assert has(peer) == {"GLU": "C 6.1"}


async def test_the_same_number_on_the_next_day_is_another_order(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        await lab.says("F GLU 5.5 09:30")
        assert await lab.says("F GLU 6.1 09:30", day="02") == "delivered"
    assert has(peer) == {"GLU": "F 6.1"}


async def test_what_passes_through_is_never_changed(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        raw = Lab(lab.site, RAW, count(1))
        sent = [raw._hl7([("F", "GLU", value, "09:30")], number, "S1", "4711", "01", "1")
                for number, value in enumerate(("5.5", "6.1", "5.5"), 1)]  # fmt: skip
        await send_blocks(lab.site.port(RAW), sent)
        await lab.site.settled()
    assert peer.messages == sent


async def test_an_order_whose_tests_came_one_by_one_is_sent_again_whole(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("F NA 140 09:40")
        first = peer.messages.copy()
        await lab.site.replay(*(one.id for one in lab.site.messages()))
        assert peer.messages == first + first


async def test_reprocessing_finds_no_difference(tmp_path: Path) -> None:
    """The decision stands beside the outcome: what was sent as corrected differs from nothing."""
    async with mllp_peer(ack()) as peer, laboratory(tmp_path, peer) as lab:
        await lab.says("F GLU 5.5 09:30")
        await lab.says("F GLU 6.1 10:30")
        ran = await lab.site.labrelay("reprocess", "--channel", "astm", "--since", "1d", "-o", "json")
        assert ran.json["outcomes"] == {"unchanged": 2}, ran.err
        assert len(peer.messages) == 2
