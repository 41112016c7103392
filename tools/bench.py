"""`make bench`: runs `labrelay bench` of this checkout and keeps its tables in docs/figures-performance.md.

For a quiet machine: what is there is written over.

    python -m tools.bench [--scenario page ...]     every option is one of `labrelay bench`
    python -m tools.bench --report FILE             keeps a report that `labrelay bench --json FILE` has written

`TARGETS` is what is wanted of a figure; the table *Targets* shows which are met.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import figures
from workbench.bench.commands.bench import AGAINST, CASES, READS, TABLES
from workbench.bench.page_case import PEOPLE, WITHOUT_PAUSE

Case = dict[str, Any]
NOISY = " (noisy)"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure of one scenario.

    Attributes:
        of: the figure of a case; KeyError where it was not measured.
        least: the figure may not be smaller; else it may not be larger.
    """

    name: str
    scenario: str
    wanted: float
    of: Callable[[Case], float]
    least: bool = False


def _beside(case: Case, load: str) -> Case:
    return case if case["load"] == load else {}


def _p95(case: Case, *names: str) -> float:
    reads = {one["name"]: one["answer_ms"]["p95"] for one in _beside(case, PEOPLE)["reads"]}
    return max(reads[name] for name in names)


def _ack(case: Case, part: str) -> float:
    return _beside(case, WITHOUT_PAUSE)["ack_ratio"][part]["median"]


TARGETS = (
    Target("CPU per message against the prototype", "oru20", 1.6, lambda c: c["prototype"]["cpu_ratio"]["median"]),
    Target("delivered/s against the prototype", "oru20", 0.6, lambda c: c["prototype"]["e2e_ratio"]["median"], True),
    Target("start to listening against `import aiohttp`", "start", 4, lambda c: c["ratio"]["median"]),
    Target("start to listening, s", "start", 1, lambda c: c["listening_s"]["median"]),
    Target("first message on the event loop, ms", "start", 30, lambda c: c["first_message_loop_ms"]["median"]),
    Target("memory idle, MiB", "start", 75, lambda c: c["rss_mib_idle"]["median"]),
    Target("memory after 1,000 messages, MiB", "start", 100, lambda c: c["rss_mib_1000"]["median"]),
    Target("ACK p50 beside 8 readers against alone", "page", 2, lambda c: _ack(c, "p50")),
    Target("ACK p99 beside 8 readers against alone", "page", 2.5, lambda c: _ack(c, "p99")),
    Target("overview of 500 channels, p95, ms", "page", 30, lambda c: _p95(c, "overview")),
    Target(
        "messages, search, dead letters, the slowest p95, ms", "page", 80,
        lambda c: _p95(c, "messages", "search", "dead letters"),
    ),
    Target("API status of 500 channels, p95, ms", "page", 20, lambda c: _p95(c, "API status")),
    Target("look-up with its answer, CPU p99, ms", "query", 3, lambda c: c["look_up_cpu_ms"]["p99"]),
    Target("commits of a question", "query", 2, lambda c: c["commits_per_question"]),
    Target("item beyond its message, CPU ms", "query", 0.3, lambda c: c["item_cpu_ms"]),
    Target("answer begins, p99, ms, where a sync takes 1 ms", "query", 10, lambda c: c["answer_ms"]["p99"]),
    Target("request to the first page, p95, s", "abdm", 2, lambda c: c["first_page_s"]["p95"]),
    Target("encrypting 100 kB, CPU p95, ms", "abdm", 5, lambda c: c["seal_cpu_ms"]["p95"]),
    Target("quality control, of a message without controls", "quality", 0.02, lambda c: c["share"]),
    Target("a control behind 5,000 stored and judged, CPU us", "quality", 1000, lambda c: c["judged_us"]["median"]),
    Target("memory at the worst of attacks, MiB", "memory", 300, lambda c: c["rss_mib_max"]),
    Target(
        "memory five minutes later, MiB more than before", "memory", 30,
        lambda c: c["rss_mib_after"] - c["rss_mib_before"],
    ),
)  # fmt: skip


def tables(report: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """The sections that a report renews, each with its columns, and rows without their date."""
    cases = report["cases"]
    scenario = cases[0].get("scenario", "mapping")
    own = TABLES.get(scenario, CASES)
    yield f"Scenario {scenario}" if own is not CASES else "Messages over connections", *_rows(own, cases)
    for case in cases if scenario == "page" else ():
        yield f"Scenario page: {case['load']}", *_rows(READS, case["reads"])
    if compared := [case for case in cases if case.get("prototype")]:
        yield "Against the prototype", *_rows(AGAINST, compared)
    reached = []
    for target in TARGETS:
        for case in cases if target.scenario == scenario else ():
            if _has(target, case):
                value = target.of(case)
                met = value >= target.wanted if target.least else value <= target.wanted
                reached.append([target.name, scenario, target.wanted, f"{value:.4g}", "met" if met else "missed"])
    yield "Targets", ["figure", "scenario", "wanted", "is", ""], reached


def _rows(view: Any, cases: list[Case]) -> tuple[list[str], list[list[object]]]:
    rows = [[("" if (cell := field.cell(case)) is None else cell) for field in view.columns] for case in cases]
    return [field.title for field in view.columns], rows


def _has(target: Target, case: Case) -> bool:
    try:
        target.of(case)
    except (KeyError, TypeError):
        return False
    return True


def keep(report: dict[str, Any], measured: str, folder: Path = figures.FIGURES) -> None:
    """Write the tables of a report."""
    box = report["box"]
    on = f"{measured}, sync {box['fsync_p50_ms']} / {box['fsync_p99_ms']} ms, load after {box['load_after'][0]}"
    for section, columns, rows in tables(report):
        dated = [
            [str(first).removesuffix(NOISY), *rest, on + NOISY * str(first).endswith(NOISY)] for first, *rest in rows
        ]
        figures.write("performance", section, columns, dated, folder=folder)


def main(asked: list[str]) -> int:
    measured = figures.measured()
    if asked[:1] == ["--report"]:
        keep(json.loads(Path(asked[1]).read_text(encoding="utf-8")), measured)
        return 0
    with tempfile.TemporaryDirectory(prefix="labrelay-bench-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "engine", "bench", "--json", str(report), *asked]
        done = subprocess.run(command, check=False)  # noqa: S603 - our own module, by our own interpreter
        if done.returncode == 0:  # the figures of a run that lost a message are none
            keep(json.loads(report.read_text(encoding="utf-8")), measured)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
