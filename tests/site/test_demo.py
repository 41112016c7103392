"""`labrelay demo` on a copy of the repository's own site, as processes of their own: it tells the truth, either way."""

import asyncio
import contextlib
import os
import pty
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.commands.shared.session import Session
from engine.store.queries.lanes import list_channels
from engine.store.queries.tallies import list_unmapped
from tests.engine.commands.daemon.test_run_on_a_terminal import said_until
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from workbench.demo.show import PLAYED

CHECKOUT = Path(__file__).parents[2]
ENDS_WITHIN_S = 90.0
VERBS = ("dlq list", "held list", "status", "todo list")  # of the next steps that `--show trouble` names
# Of the shipped site: page, sandbox, and one for each channel.
ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


@dataclass
class Site:
    """A copy of the shipped site on ports that are free."""

    folder: Path
    ports: dict[int, int]

    @property
    def logs(self) -> Path:
        return self.folder / "var" / "demo"

    def said(self) -> str:
        """The last lines of its parts' logs, for whoever has to find out why a test failed."""
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self.logs.glob("*.log")))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    files = [CHECKOUT / "config" / "labrelay.yaml", *sorted((CHECKOUT / "channels").glob("*.yaml"))]
    shipped = sorted({int(port) for file in files for port in ADDRESS.findall(file.read_text())})
    ports = dict(zip(shipped, quiet_ports(len(shipped)), strict=True))
    for file in files:
        copy = tmp_path / file.parent.name / file.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(ADDRESS.sub(lambda found: f"127.0.0.1:{ports[int(found[1])]}", file.read_text()))
    shutil.copytree(CHECKOUT / "mappings", tmp_path / "mappings")
    return Site(tmp_path, ports)


@contextlib.asynccontextmanager
async def demo(site: Site, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demo as a user starts it; ended with its parts, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(site.folder), "demo", *arguments,
        cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)  # the demo stops its parts, each by its own handle
            await asyncio.wait_for(process.wait(), 240.0)


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """(exit code, all output)."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_thirty_messages_arrive_and_a_second_demo_on_the_same_site_is_new_work(site: Site) -> None:
    """Each code has a LOINC code: the headline of a first look is the site's own state, and not a gap of a code table.
    The numbers of the second are its own, so nothing is taken for a repeat of the first."""
    async with demo(site, "--messages", "30", "--exit") as process:
        code, output = await ended(process)

    assert code == 0, output + site.said()
    assert "30 messages acknowledged, 30 on the FHIR server, 0 dead" in output
    assert "nothing lost" in output
    assert "The status page says: Everything works" in output
    assert f"labrelay --site {site.folder} user add NAME --role admin; then log in\n" in output
    for name, (model, _, _) in PLAYED.items():
        row = next(line for line in output.splitlines() if line.startswith(model))
        assert row.removeprefix(model).split() == [name, "10", "10", "0"]
    for log in ("sandbox.log", "daemon.log"):
        assert "Traceback" not in (site.logs / log).read_text()
    with Session(site=str(site.folder)).reader() as reader:
        assert {view.name for view in list_channels(reader)} == set(PLAYED)
        assert list_unmapped(reader) == []

    async with demo(site, "--messages", "6", "--exit") as process:
        code, output = await ended(process)
    assert code == 0, output + site.said()
    assert "6 messages acknowledged, 6 on the FHIR server, 0 dead" in output


async def test_trouble_is_one_of_each_kind_with_its_next_step(site: Site) -> None:
    """Counted in the journal and on the page while the demo runs; each command that the terminal names works."""
    async with demo(site, "--show", "trouble") as process:
        said = await _until_said(process, "The analyzers go on")
        steps = re.findall(r" --site (\S+) (.+)", said.partition("three kinds of trouble")[2])
        folder = Path(steps[0][0])
        ran = {verb: labrelay(*verb.split(), "-o", "json", site=folder) for _, verb in steps}

    assert {verb: one.code for verb, one in ran.items()} == dict.fromkeys(VERBS, 0)
    entries = ran["todo list"].json["todo"]
    # The critical value is one of the held result.
    kinds = ["critical", "dead", "held", "no-alerts", "silent"]
    assert sorted(one["key"].partition("/")[0] for one in entries) == kinds
    (dead,) = ran["dlq list"].json["groups"]
    assert (dead["count"], dead["channels"], dead["code"]) == (1, ["chemistry"], "NOT_PRODUCTION")
    (held,) = ran["held list"].json["held"]
    assert (held["channel"], held["critical"]) == ("haematology", True)
    status = ran["status"].json
    assert {one["name"]: one["state"] for one in status["channels"] if one["state"] == "silent"} == {
        "serology": "silent"
    }
    assert len(status["findings"]) == 4  # a critical value that is held has a line of its own
    assert _there(folder, site.folder / "var") == []  # the copy is gone, and the site itself was left alone


async def test_trouble_ends_by_itself_and_loses_nothing(site: Site) -> None:
    async with demo(site, "--show", "trouble", "--exit") as process:
        code, output = await ended(process)
    assert code == 0, output
    assert "1 dead, 1 held" in output
    assert "nothing lost" in output


async def test_an_analyzer_asks_for_its_orders_and_they_are_closed(site: Site) -> None:
    """Looked up in the journal while the demo runs, by the commands that the terminal names."""
    async with demo(site, "--show", "two-way") as process:
        said = await _until_said(process, "The parts go on")
        steps = re.findall(r" --site (\S+) (orders .+?)   ", said)
        folder = Path(steps[0][0])
        ran = {verb: labrelay(*verb.split(), "-o", "json", site=folder) for _, verb in steps}

    assert {verb: one.code for verb, one in ran.items()} == dict.fromkeys(
        ("orders list --all", "orders log", "orders show W1"), 0
    )
    states = {one["order"]: one["state"] for one in ran["orders list --all"].json["orders"]}
    assert states == {"W1": "resulted", "W2": "resulted", "W3": "held", "W4": "held", "W5": "cancelled"}
    assert sorted(len(one["orders"]) for one in ran["orders log"].json["questions"]) == [0, 0, 0, 2]
    assert _there(folder, site.folder / "var") == []  # the copy is gone, and the site itself was left alone


async def test_shown_orders_end_by_themselves(site: Site) -> None:
    async with demo(site, "--show", "two-way", "--exit") as process:
        code, output = await ended(process)
    assert code == 0, output
    assert "The orders are now resulted, resulted, held, held, cancelled." in output


async def test_orders_are_shown_with_the_demos_own_channels_alone(site: Site) -> None:
    (site.folder / "channels" / "haematology.yaml").unlink()
    async with demo(site, "--show", "two-way", "--exit") as process:
        code, output = await ended(process)
    assert code not in {0, None}
    assert "start the demo in another folder" in output


async def test_a_result_is_read_in_the_patients_app(site: Site) -> None:
    """With the digits of the analyzer; its addresses are the demo's own."""
    async with demo(site, "--show", "abdm", "--exit") as process:
        code, output = await ended(process)
    assert code == 0, output
    assert "  Glucose: 148.50 mg/dL H\n  Creatinine: 0.80 mg/dL N\n" in output
    assert "The simulator found 0 faults" in output
    assert not (site.folder / "var").exists(), "it was played on a copy"


async def test_abdm_is_shown_with_the_demos_own_channels_alone(site: Site) -> None:
    (site.folder / "channels" / "chemistry.yaml").unlink()
    async with demo(site, "--show", "abdm", "--exit") as process:
        code, output = await ended(process)
    assert code not in {0, None}
    assert "start the demo in another folder" in output


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("Starting LabRelay", id="before the first message"),
        pytest.param("  sent and acknowledged", id="while the analyzers play"),
    ],
)
async def test_without_its_server_the_demo_fails_and_says_so(site: Site, moment: str) -> None:
    async with demo(site, "--messages", "600", "--exit") as process:
        said = await _until_said(process, moment)
        os.kill(_part(process.pid, "sandbox"), signal.SIGKILL)
        code, output = await ended(process)

    assert code == 1, said + output
    assert "nothing lost" not in output
    assert "the sandbox" in output or "MISSING" in output
    assert "report" not in output  # it is no fault of the program


async def test_a_terminal_that_is_closed_ends_the_parts_too(site: Site) -> None:
    terminal, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(site.folder), "demo", cwd=CHECKOUT, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        await asyncio.to_thread(said_until, terminal, b"sent and acknowledged")
        parts = [_part(process.pid, verb) for verb in ("sandbox", "run")]
        os.close(terminal)  # from here on nothing can be said
        process.send_signal(signal.SIGHUP)
        await asyncio.wait_for(process.wait(), 240.0)
    finally:
        if process.returncode is None:
            process.kill()
    left = _there(*(Path(f"/proc/{pid}") for pid in parts))
    for part in left:
        os.kill(int(part.name), signal.SIGTERM)
    assert left == []


async def test_a_port_that_is_taken_is_named(site: Site) -> None:
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", site.ports[2575])
    async with taken, demo(site, "--messages", "3", "--exit") as process:
        code, output = await ended(process)

    assert code not in {0, None}
    assert f"haematology (127.0.0.1:{site.ports[2575]})" in output
    assert not site.logs.exists()


async def _until_said(process: asyncio.subprocess.Process, beginning: str) -> str:
    """Everything that the demo has said when it says a line with this beginning."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(240.0):
        while line := (await process.stdout.readline()).decode():
            said += line
            if line.startswith(beginning):
                return said
    raise AssertionError(said)


def _there(*places: Path) -> list[Path]:
    return [place for place in places if place.exists()]


def _part(parent: int, verb: str) -> int:
    """The process of the demo that runs this verb."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if verb.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no process runs {verb}")
