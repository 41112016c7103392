"""`labrelay bench --prototype`: a program runs in turn with the daemon, and the report has their ratios."""

import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from tests.support.waiting import until
from workbench.bench import prototype
from workbench.bench.prototype import PROGRAM, Bare, Prototype, compare
from workbench.errors import PrototypeError

LINE = (
    "1 proc aiohttp   e2e   2000/s  in   2010/s  cpu 0.500 ms/msg [0.5]  ack p50 1.00 p99 2.0 ms  RSS 40 MiB  "
    "batch 6.0 depth 9 err {errors} sink_ok {arrived}"
)
GOOD = f"print({LINE.format(errors='0', arrived='True')!r})\n"
STAND_IN = f"""\
import os, sys
with open({{notes!r}}, "a") as notes:
    print(*sys.argv[1:], os.environ["SECS"], os.environ["ROUNDS"], os.path.isdir(os.environ["BENCH_DIR"]), file=notes)
print("conns 32")
{GOOD}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a prototype that notes how it was run beside its folder."""
    made = tmp_path / "bare"
    made.mkdir()
    (made / PROGRAM).write_text(STAND_IN.format(notes=str(tmp_path / "notes")))
    return made


def write(folder: Path, program: str) -> Prototype:
    (folder / PROGRAM).write_text(program)
    return Prototype(folder)


def test_daemon_and_prototype_run_in_turns_and_their_ratios_are_reported(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("bare")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "left.pyc").write_bytes(b"differs on each machine")
    ran = labrelay("bench", "--prototype", str(folder), "--seconds", "0.2", "--rounds", "2", "--data", str(tmp_path),
                   "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    wanted = hashlib.sha256()
    for name in ("README.md", PROGRAM):
        content = (folder / name).read_bytes()
        wanted.update(f"{name}\0{len(content)}\0".encode() + content)
    assert ran.json["prototype"] == {"sha256": wanted.hexdigest(), "variant": "1 proc aiohttp"}
    turns = [line.rpartition(": ")[2].partition(",")[0] for line in ran.err.splitlines() if line.startswith("round")]
    assert turns == ["oru20", "the prototype", "the prototype", "oru20"]
    assert (tmp_path / "notes").read_text() == "1 proc aiohttp 0.2 1 True\n" * 2
    (case,) = ran.json["cases"]
    assert (case["connections"], case["lost"], case["refused"]) == (32, 0, 0)
    against = case["prototype"]
    assert (against["cpu_ms_per_msg"]["median"], against["e2e_per_s"]["median"]) == (0.5, 2000)
    assert against["cpu_ratio"]["median"] == pytest.approx(case["cpu_ms_per_msg"]["median"] / 0.5, abs=0.01)
    assert against["e2e_ratio"]["median"] == pytest.approx(case["e2e_per_s"] / 2000, abs=0.01)


def test_the_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    found = compare([(4.0, 100.0, Bare(1.0, 400.0, 40.0)), (6.0, 90.0, Bare(3.0, 100.0, 42.0))])
    assert found["cpu_ratio"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert found["e2e_ratio"] == {"median": 0.575, "min": 0.25, "max": 0.9}
    assert found["cpu_ms_per_msg"]["median"] == 2.0
    assert found["rss_mib"]["max"] == 42.0


def test_a_module_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototype, "NEEDS", ("json", "no_such_module", "nor_this_one"))
    ran = labrelay("bench", "--prototype", str(folder))
    assert ran.code == ExitCode.FAILED
    assert f"the prototype needs modules that {sys.executable} has not: no_such_module, nor_this_one" in ran.err


def test_a_module_that_other_variants_use_may_be_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prototype, "IMPORTED_ONLY", ("json", "no_such_module"))
    bare = write(folder, "import json, no_such_module\nassert json.loads('1')\n" + GOOD)
    assert bare.run(0.1, tmp_path) == Bare(cpu_ms=0.5, per_s=2000.0, rss_mib=40.0)


def test_a_folder_without_the_program_is_refused(tmp_path: Path) -> None:
    ran = labrelay("bench", "--prototype", str(tmp_path))
    assert ran.code == ExitCode.FAILED
    assert f"{tmp_path}: no {PROGRAM} is there" in ran.err


@pytest.mark.parametrize("option", [("--scenario", "astm20"), ("--connections", "8")])
def test_it_is_compared_with_the_same_load_alone(folder: Path, option: tuple[str, str]) -> None:
    ran = labrelay("bench", "--prototype", str(folder), *option)
    assert ran.code == ExitCode.USAGE
    assert "the prototype is compared with oru20 over 32 connections" in ran.err


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('no disk')", "the prototype printed no figures; its last line: no disk"),
        (f"print({LINE.format(errors='2', arrived='True')!r})", "not all messages of the prototype arrived"),
        (f"print({LINE.format(errors='0', arrived='False')!r})", "not all messages of the prototype arrived"),
    ],
)
def test_a_run_without_good_figures_is_an_error(folder: Path, tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(PrototypeError, match=said):
        write(folder, program).run(0.1, tmp_path)


def test_a_prototype_that_does_not_end_is_ended_with_its_processes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "pid"
    bare = write(
        folder,
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "child.wait()\n",
    )
    monkeypatch.setattr(prototype, "BESIDES_S", 5.0)
    with pytest.raises(PrototypeError, match="the prototype did not end within 5 s"):
        bare.run(0.1, tmp_path)
    asyncio.run(until(lambda: _ended(int(note.read_text()))))


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
