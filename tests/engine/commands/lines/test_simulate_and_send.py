"""`labrelay simulate` and `labrelay send` as people use them: what they print, and how they end."""

import asyncio
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.astm_host import Habit, Served, serving
from tests.support.command_line import Ran, labrelay
from tests.support.mllp_peer import ack, mllp_peer
from tests.support.sites import make_site
from tests.support.waiting import WITHIN_S, until
from workbench.simulator.play import sentences

SAMPLES = Path(__file__).parents[4] / "samples"
XP = SAMPLES / "sysmex_xp" / "01-monday.astm"
BS200 = SAMPLES / "mindray_bs200" / "01-chemistry.hl7"


async def against_astm(arguments: list[str], habit: Habit = lambda came, answer: answer) -> tuple[Ran, Served]:
    async with serving(habit) as host:
        ran = await asyncio.to_thread(labrelay, *[part.replace("PORT", str(host.port)) for part in arguments])
    return ran, host


# -- simulate ------------------------------------------------------------------------------------------------------


async def test_it_prints_the_dialogue_and_the_summary() -> None:
    ran, host = await against_astm(["simulate", "sysmex-xp", "--connect", "127.0.0.1:PORT", "--specimens", "2"])
    assert ran.code == ExitCode.OK, ran.err
    lines = ran.out.splitlines()
    assert lines.count("> ENQ") == lines.count("> EOT") == len(host.messages)
    assert any(line.startswith("> <STX>1H|\\^&|") for line in lines)
    assert "the peer kept the protocol" in lines
    assert "all of it is invented" in ran.err


def test_what_a_peer_did_again_and_again_is_said_once() -> None:
    facts: dict[str, object] = {
        "messages": {"result": 1},
        "acknowledged": 0,
        "failed": 1,
        "sessions": 3,
        "frames": 0,
        "repeated": 0,
        "refused": 0,
        "connections_lost": 0,
        "faults": {},
        "violations": 3,
        "violation_texts": ["no answer to ENQ", "no answer to ENQ", "ACK to EOT"],
        "seed": 1,
    }
    said = list(sentences(facts))
    assert "the peer broke the protocol: no answer to ENQ (2 times)" in said
    assert "the peer broke the protocol: ACK to EOT" in said
    nobody = list(sentences({**facts, "sessions": 0, "violations": 0, "violation_texts": []}))
    assert "no peer was reached, so nothing is known of its protocol" in nobody


async def test_the_same_seed_gives_the_same_dialogue() -> None:
    arguments = ["simulate", "erba-em200", "--connect", "127.0.0.1:PORT", "--seed", "9", "--faults", "split,lost-ack"]
    first, _ = await against_astm(arguments)
    again, _ = await against_astm(arguments)
    assert first.out == again.out
    assert "! ACK is lost on its way" in first.out


async def test_quiet_prints_the_summary_only_and_json_is_for_scripts() -> None:
    quiet, _ = await against_astm(["simulate", "sysmex-xp", "--connect", "127.0.0.1:PORT", "-q", "--seed", "3"])
    assert len(quiet.out.splitlines()) == 4
    assert quiet.out.splitlines()[-1] == "the same again: --seed 3"
    ran, host = await against_astm(["simulate", "sysmex-xp", "--connect", "127.0.0.1:PORT", "-o", "json"])
    assert ran.json["acknowledged"] == len(host.messages) == sum(ran.json["messages"].values())
    assert ran.json["violations"] == 0


async def test_a_peer_that_takes_damaged_frames_makes_it_fail() -> None:
    def trusting(came: bytes, answer: bytes) -> bytes:
        return b"\x06" if answer == b"\x15" else answer

    ran, _ = await against_astm(
        ["simulate", "sysmex-xp", "--connect", "127.0.0.1:PORT", "-q", "--faults", "bad-checksum", "--seed", "1"],
        trusting,
    )
    assert ran.code == ExitCode.FAILED
    assert "the peer broke the protocol: ACK to frame" in ran.out


async def test_controls_are_sent_where_a_sample_shows_how() -> None:
    ran, _ = await against_astm(["simulate", "sysmex-xp", "--connect", "127.0.0.1:PORT", "-q", "--qc"])
    assert "no sample shows how sysmex-xp sends a control run" in ran.err
    async with mllp_peer(ack()) as peer:
        ran = await asyncio.to_thread(
            labrelay, "simulate", "mindray-bc5380", "--connect", f"127.0.0.1:{peer.port}", "-q", "--qc"
        )
    assert ran.code == ExitCode.OK
    assert "1 control" in ran.out
    assert sum(b"|Q|2.3.1|" in message for message in peer.messages) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sysmex-xp", "--connect", "127.0.0.1:1", "--listen", "127.0.0.1:2"], 2, "one of --connect"),
        (["sysmex-xp", "--connect", "nowhere"], 2, "--connect"),
        (["sysmex-xp", "--connect", "127.0.0.1:1", "--faults", "rain"], 2, "no fault is called 'rain'"),
        (["sysmex-xp"], 2, "where to?"),
        (["sismex", "--connect", "127.0.0.1:1"], 1, "no samples of an analyzer 'sismex'; there are:"),
        (["sysmex-xp", "--connect", "192.0.2.1:2575"], 7, "add --yes"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    ran = labrelay("simulate", *arguments)
    assert ran.code == code
    assert words in ran.err


def test_nobody_there_ends_it_at_once() -> None:
    with closed_port() as port:
        ran = labrelay("simulate", "sysmex-xp", "--connect", f"127.0.0.1:{port}")
    assert ran.code == ExitCode.FAILED
    assert re.search(rf"127\.0\.0\.1:{port}: .+", ran.err)
    ran = labrelay("simulate", "sysmex-xp", "--serial", "/dev/no-such-device")
    assert ran.code == ExitCode.FAILED
    assert "/dev/no-such-device: No such file or directory" in ran.err


# -- send ----------------------------------------------------------------------------------------------------------


async def test_bare_records_are_framed_and_sent() -> None:
    ran, host = await against_astm(["send", str(XP), "astm://127.0.0.1:PORT"])
    assert ran.code == ExitCode.OK, ran.err
    assert ran.out == "1 of 1 message acknowledged\n"
    assert host.messages == [XP.read_bytes().strip().replace(b"\n", b"\r") + b"\r"]
    assert host.hosts[0].frames == len(XP.read_bytes().strip().splitlines())


async def test_frames_can_be_packed_and_the_dialogue_shown() -> None:
    ran, host = await against_astm(["send", str(XP), "astm://127.0.0.1:PORT", "--frame", "packed", "--show"])
    assert host.hosts[0].frames == -(-len(host.messages[0]) // 240)
    assert ran.out.startswith("> ENQ\n< ACK\n> <STX>1H|")


async def test_hl7_goes_out_in_blocks(tmp_path: Path) -> None:
    both = tmp_path / "two.hl7"
    both.write_bytes(BS200.read_bytes() * 2)
    async with mllp_peer(ack()) as peer:
        ran = await asyncio.to_thread(labrelay, "send", str(both), f"mllp://127.0.0.1:{peer.port}", "-o", "json")
    assert (ran.code, ran.json["acknowledged"]) == (ExitCode.OK, 2)
    assert len(peer.messages) == 2


async def test_after_a_refusal_nothing_more_is_sent(tmp_path: Path) -> None:
    both = tmp_path / "two.hl7"
    both.write_bytes(BS200.read_bytes() * 2)
    async with mllp_peer(ack("AR")) as peer:
        ran = await asyncio.to_thread(labrelay, "send", str(both), f"mllp://127.0.0.1:{peer.port}")
    assert ran.code == ExitCode.FAILED
    assert "message 1 was not acknowledged" in ran.err
    assert len(peer.messages) == 1


@contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as held:  # bound and not listening: nobody answers, and nobody else can
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_nobody_there_is_said() -> None:
    with closed_port() as port:
        ran = labrelay("send", str(BS200), f"mllp://127.0.0.1:{port}")
    assert ran.code == ExitCode.FAILED
    assert "does a program listen there?" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([str(BS200), "astm://127.0.0.1:1"], 1, "not (only) ASTM"),
        ([str(XP), "mllp://127.0.0.1:1"], 1, "not (only) HL7 v2"),
        ([str(XP), "http://127.0.0.1:1"], 2, "expected mllp://HOST:PORT or astm://HOST:PORT"),
        ([str(XP), "astm://192.0.2.1:1"], 7, "add --yes"),
        ([str(XP), "astm://192.0.2.1:1", "--dry-run"], 0, "1 message for astm://192.0.2.1:1"),
        (["no-such-file", "astm://127.0.0.1:1"], 2, "no-such-file"),
    ],
)
def test_what_cannot_be_sent_is_said(arguments: list[str], code: int, words: str) -> None:
    ran = labrelay("send", *arguments)
    assert ran.code == code
    assert words in ran.err


def test_a_person_is_named_only_where_it_is_asked_for() -> None:
    ran = labrelay("send", str(XP), "astm://192.0.2.1:1", "--dry-run")
    assert not re.search(r"MR-1007", ran.out + ran.err)


# -- where a site says it, and until it is told to stop --------------------------------------------------------------


async def test_without_an_address_it_plays_to_the_sites_channel_of_that_analyzer(tmp_path: Path) -> None:
    async with serving() as host:
        channel = (
            "channel: haematology\nanalyzer: sysmex-xp\n"
            f'source: {{kind: astm, listen: "127.0.0.1:{host.port}"}}\n'
            "routes:\n  - to: archive\n"
        )
        site = make_site(tmp_path, channels={"haematology.yaml": channel})
        ran = await asyncio.to_thread(labrelay, "simulate", "sysmex-xp", "-q", "--specimens", "2", site=site)
    assert ran.code == ExitCode.OK, ran.err
    assert len(host.messages) >= 2
    ran = await asyncio.to_thread(labrelay, "simulate", "erba-em200", "-q", site=site)
    assert ran.code == ExitCode.USAGE
    assert "No channel of a site here says analyzer: erba-em200" in ran.err


async def test_ctrl_c_ends_it_with_the_summary() -> None:
    async with serving() as host:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine", "simulate", "sysmex-xp", "--connect", f"127.0.0.1:{host.port}",
            "--specimens", "0", "-q", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await until(lambda: len(host.messages) > 2 or process.returncode is not None)
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert b"messages acknowledged" in out
    assert b"the same again: --seed" in out


# What HL7's enhanced mode (chapter 2, 2.9.3) makes of two messages: MSH-16, the answers to each, how many are
# acknowledged, and how many answers refuse. `{id}` is the message that is answered.
CA, AA, AE, CE, SECOND_AE = ack("CA"), ack("AA"), ack("AE"), ack("CE"), ack("AE", "S1")
ENHANCED = {
    "committed, nothing more asked": ("NE", [CA, CA], 2, 0),
    "committed, then taken": ("AL", [(CA, AA), (CA, AA)], 2, 0),
    "committed, then refused by the application": ("AL", [(CA, AE)], 0, 1),
    "committed, then taken, without being asked": ("", [(CA, AA), (CA, AA)], 2, 0),
    "committed, then refused, without being asked": ("", [(CA, AE)], 0, 1),
    "refused at the commit": ("AL", [CE], 0, 1),
    "only errors are asked for, and there is none": ("ER", [CA, (CA, AE)], 1, 1),
    "taken at once": ("", [AA, AA], 2, 0),
    # Before the answer to the second one, for which the sender waits; behind it the sender may be gone.
    "the application refuses the first one late": ("NE", [CA, (SECOND_AE, CA)], 2, 1),
}


@pytest.mark.parametrize("name", ENHANCED)
async def test_a_commit_answer_is_not_the_last_word(tmp_path: Path, name: str) -> None:
    asks, script, taken, refused = ENHANCED[name]
    file = tmp_path / "two.hl7"
    text = "".join(
        rf"MSH|^~\&|AN|LAB|LIS|H|20260301||ORU^R01|S{number}|P|2.5.1|||AL|{asks}" + f"\rOBX|{number}|ST|A||x\r"
        for number in (1, 2)
    )
    file.write_text(text, newline="")
    async with mllp_peer(*script) as peer:
        to = f"mllp://127.0.0.1:{peer.port}"
        ran = await asyncio.to_thread(labrelay, "send", str(file), to, "--answer-within", "5s", "-o", "json")
    assert (ran.json["acknowledged"], ran.json["refused"]) == (taken, refused), ran.json
    late = [text for text in ran.json["violation_texts"] if "message 'S1'" in text]
    assert bool(late) == ("late" in name)
    assert ran.json["violations"] == len(late)
    assert ran.code == (ExitCode.OK if taken == 2 and not refused else ExitCode.FAILED)


async def test_an_application_answer_that_is_asked_for_and_never_comes_is_told(tmp_path: Path) -> None:
    file = tmp_path / "one.hl7"
    file.write_text("MSH|^~\\&|AN|LAB|LIS|H|20260301||ORU^R01|S1|P|2.5.1|||AL|AL\rOBX|1|ST|A||x\r", newline="")
    async with mllp_peer(CA) as peer:
        to = f"mllp://127.0.0.1:{peer.port}"
        ran = await asyncio.to_thread(labrelay, "send", str(file), to, "--answer-within", "200ms", "-o", "json")
    assert (ran.code, ran.json["acknowledged"]) == (ExitCode.FAILED, 0)
    assert ran.json["violation_texts"] == ["CA, and no answer of the application within 0.2 s, which MSH-16 asks for"]
