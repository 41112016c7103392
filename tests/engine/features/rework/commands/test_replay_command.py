"""`labrelay replay` beside a running daemon: what is selected, where it goes, and how it is left and ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from tests.support.filled_journal import payload
from tests.support.running import MLLP, RunningSite, channel, make_running_site, running_app, running_site
from tests.support.senders import send_blocks
from tests.support.sites import make_site
from tests.support.waiting import until
from workbench.sandbox import Sandbox

HL7 = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "lab-fhir"})}


async def test_by_specimen_and_control_id_and_what_never_went_there_is_told(tmp_path: Path) -> None:
    async with running_site(tmp_path, HL7) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 6)])
        await site.settled()
        for asked in (["--specimen", "f3"], ["--control-id", "C3"], ["3", "--destination", "lab-fhir"]):
            ran = await site.labrelay("replay", *asked, "--yes", "-o", "json")
            assert (ran.code, ran.json["count"]) == (ExitCode.OK, 1), ran.err
        await site.settled()
        assert [one.state for one in site.deliveries(3)] == ["delivered"] * 4
        assert len({one.key for one in site.deliveries(3)}) == 1
        assert max(site.sandbox.deliveries().values()) == 4, "the server knows them for repeats"
        assert (await site.labrelay("replay", "3", "--destination", "x", "--yes")).code == ExitCode.FAILED
        wrong = await site.labrelay("replay", "3", "--to", "nowhere", "--yes")
        assert (wrong.code, "known: lab-fhir" in wrong.err) == (ExitCode.FAILED, True)
        dead = await site.labrelay("replay", "3", "--state", "dead")
        assert (dead.code, "delivered, superseded, dismissed" in dead.err) == (ExitCode.USAGE, True)


async def test_what_is_kept_back_meanwhile_is_said_with_where_to_look(tmp_path: Path) -> None:
    """The correction of one test of a panel went to the second receiver before the panel itself."""
    panel = (
        b"MSH|^~\\&|CHEM|LAB|LIS|HOSP|20260302101500||ORU^R01|C1|P|2.5\rPID|1||MR-1\rOBR|1||S26-1|PANEL\r"
        b"OBX|1|NM|GLU||5.4|mmol/L|||||F\rOBX|2|NM|PRO||7.4|g/L|||||F\r"
    )
    corrected = panel.partition(b"OBX|2")[0].replace(b"|C1|", b"|C2|").replace(b"5.4", b"5.6").replace(b"|F\r", b"|C\r")
    folders = {name: {"kind": "file", "folder": f"var/{name}"} for name in ("archive", "copy")}
    channels = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "archive"})}
    make_running_site(tmp_path, channels, folders)
    async with running_app(tmp_path) as app:
        site = RunningSite(tmp_path, app, Sandbox())
        await send_blocks(site.port("chem"), [panel, corrected])
        await site.settled()
        first = await site.labrelay("replay", "2", "--to", "copy", "--yes", "-o", "json")
        assert first.json["done"] == {"requeued": 1}
        await site.settled()
        late = await site.labrelay("replay", "1", "--to", "copy", "--reason", "tested", "--yes", "-o", "json")
        assert late.json["done"] == {"requeued": 2}
        assert f"labrelay operations show {late.json['operation']}" in late.err
        assert "labrelay held list --code OVERTAKEN" in late.err
        await site.settled()
        shown = await site.labrelay("operations", "show", str(late.json["operation"]))
        assert shown.out.endswith("of what it queued, not delivered: 1 held\n")
        held = await site.labrelay("held", "list", "--code", "OVERTAKEN", "-o", "json")
        assert [one["message"] for one in held.json["held"]] == [1]


def begun(site: RunningSite, *arguments: str) -> subprocess.Popen[bytes]:
    """`labrelay replay` in a process of its own."""
    command = [sys.executable, "-m", "engine", "--site", str(site.folder), "replay", *arguments, "--yes", "-o", "json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


async def test_ctrl_c_leaves_it_and_says_how_to_end_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, HL7) as site:
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 9)])
        await site.settled()
        following = begun(site, "--all", "--rate", "0.02")  # it does not end by itself
        try:
            await until(lambda: any(len(site.deliveries(one)) == 2 for one in (1, 2)), 240.0)
            (listed,) = (await site.labrelay("operations", "list", "-o", "json")).json["operations"]
            following.send_signal(signal.SIGINT)
        finally:
            await until(lambda: following.poll() is not None, 240.0)
            _, err = following.communicate()
        number = listed["number"]
        assert following.returncode == ExitCode.INTERRUPTED, err
        assert "labrelay operations cancel" in err.decode()
        assert (listed["verb"], listed["stage"], listed["total"]) == ("replay", "running", 8)
        cancelled = await site.labrelay("operations", "cancel", str(number), "--yes", "-o", "json")
        assert (cancelled.code, cancelled.json["left"]) == (ExitCode.OK, 7), cancelled.err
        assert sorted(len(site.deliveries(message)) for message in range(1, 9)) == [1] * 7 + [2]


def test_a_rate_that_is_no_number_is_refused(tmp_path: Path) -> None:
    ran = labrelay("replay", "3", "--rate", "nan", site=make_site(tmp_path))
    assert (ran.code, "nan is no rate" in ran.err) == (ExitCode.USAGE, True), ran.err
