"""`labrelay replay` beside a running daemon: what is selected, where it goes, and how it is stopped and taken up."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.commands.output import ExitCode
from tests.support.command_line import labrelay
from tests.support.filled_journal import payload
from tests.support.running import MLLP, RunningSite, channel, running_site
from tests.support.senders import send_blocks
from tests.support.sites import make_site
from tests.support.waiting import until

HL7 = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "lab-fhir"})}


async def test_by_specimen_and_control_id_and_what_never_went_there_is_told(tmp_path: Path) -> None:
    async with running_site(tmp_path, HL7) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 6)])
        await site.settled()
        for asked in (["--specimen", "f3"], ["--control-id", "C3"], ["3", "--destination", "lab-fhir"]):
            ran = await site.labrelay("replay", *asked, "--yes", "-o", "json")
            assert (ran.code, ran.json["count"]) == (ExitCode.OK, 1), ran.err
        assert [one.state for one in site.deliveries(3)] == ["delivered"] * 4
        assert len({one.key for one in site.deliveries(3)}) == 1
        assert max(site.sandbox.deliveries().values()) == 4, "the server knows them for repeats"
        assert (await site.labrelay("replay", "3", "--destination", "x", "--yes")).code == ExitCode.FAILED
        wrong = await site.labrelay("replay", "3", "--to", "nowhere", "--yes")
        assert (wrong.code, "known: lab-fhir" in wrong.err) == (ExitCode.FAILED, True)
        dead = await site.labrelay("replay", "3", "--state", "dead")
        assert (dead.code, "delivered, superseded, dismissed" in dead.err) == (ExitCode.USAGE, True)


def begun(site: RunningSite, *arguments: str) -> subprocess.Popen[bytes]:
    """`labrelay replay` in a process of its own."""
    command = [sys.executable, "-m", "engine", "--site", str(site.folder), "replay", *arguments, "--yes", "-o", "json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


async def test_ctrl_c_stops_it_and_says_how_to_go_on(tmp_path: Path) -> None:
    async with running_site(tmp_path, HL7) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 9)])
        await site.settled()
        running = begun(site, "--all", "--rate", "2")
        try:
            await until(lambda: any(len(site.deliveries(one)) == 2 for one in (1, 2)), 20.0)
            listed = await site.labrelay("replay", "--unfinished", "-o", "json")
            running.send_signal(signal.SIGINT)
        finally:
            await until(lambda: running.poll() is not None, 20.0)
            out, err = running.communicate()
        assert running.returncode == ExitCode.INTERRUPTED, err
        number = listed.json["replays"][0]["number"]
        assert f"go on with: labrelay replay --resume {number}" in err.decode()
        assert json.loads(out)["state"] == "stopped"
        asked = await site.labrelay("replay", "--give-up", str(number))
        assert (asked.code, "add --yes" in asked.err) == (ExitCode.REFUSED, True), asked.err
        again = await site.labrelay("replay", "--resume", str(number), "--rate", "1000", "-o", "json")
        assert (again.code, again.json["state"]) == (ExitCode.OK, "ended"), again.err
        await site.settled()
        assert [len(site.deliveries(message)) for message in range(1, 9)] == [2] * 8
        assert (await site.labrelay("replay", "--resume", str(number))).code == ExitCode.FAILED
        assert (await site.labrelay("replay", "--unfinished")).err == "no replay is unfinished\n"


async def test_a_replay_that_is_given_up_is_never_taken_up_again(tmp_path: Path) -> None:
    async with running_site(tmp_path, HL7) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 5)])
        await site.settled()
        running = begun(site, "--all", "--rate", "1")
        try:
            await until(lambda: any(len(site.deliveries(one)) == 2 for one in (1, 2)), 20.0)
            running.send_signal(signal.SIGINT)
        finally:
            await until(lambda: running.poll() is not None, 20.0)
            running.communicate()
        number = (await site.labrelay("replay", "--unfinished", "-o", "json")).json["replays"][0]["number"]
        given_up = await site.labrelay("replay", "--give-up", str(number), "--yes", "-o", "json")
        assert (given_up.code, given_up.json["given_up"]) == (ExitCode.OK, number)
        assert (await site.labrelay("replay", "--resume", str(number))).code == ExitCode.FAILED
        assert (await site.labrelay("replay", "--unfinished")).err == "no replay is unfinished\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume", "7", "--dry-run"), "--resume stands alone"),
        (("--resume", "7", "3"), "--resume stands alone"),
        (("--give-up", "7", "--resume", "7"), "--resume stands alone"),
        (("--unfinished", "--channel", "chem"), "--unfinished stands alone"),
        (("3", "--rate", "nan"), "nan is no rate"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = labrelay("replay", *arguments, site=make_site(tmp_path))
    assert (ran.code, said in ran.err) == (ExitCode.USAGE, True), ran.err
