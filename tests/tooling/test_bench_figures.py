"""The tables that `make bench` keeps (`tools/bench.py`), of reports as `labrelay bench --json` writes them."""

from pathlib import Path
from typing import Any

import pytest

from tools import bench
from tools.figures import FIGURES, parsed
from workbench.bench.commands.bench import AGAINST, CASES, READS, TABLES
from workbench.bench.page_case import LOADS

BOX = {"fsync_p50_ms": 0.2, "fsync_p99_ms": 0.4, "load_after": [1.5, 1.0, 1.0]}
NONE = {"lost": 0, "reordered": 0, "repeats_same_key": 0, "repeats_other_key": 0}
ONE = {"median": 1.0, "min": 0.5, "max": 2.0}
MESSAGES: dict[str, Any] = {
    "scenario": "oru20", "commit": "frame", "connections": 32, "rate_offered": 0, "dest_delay_ms": 0,
    "noisy": True, "cpu_ms_per_msg": ONE, "e2e_per_s": 900, "ack_ms": {"p50": 1.0, "p99": 2.0},
    "delivered_ms": {"p50": 1.0, "p99": 2.0}, "rss_mib_idle": 80.0, "rss_mib_max": 90.0, "listening_s": 0.5, **NONE,
    "prototype": {"cpu_ms_per_msg": ONE, "e2e_per_s": ONE, "cpu_ratio": {**ONE, "median": 1.7}, "e2e_ratio": ONE},
}  # fmt: skip
PAGE: dict[str, Any] = {
    "scenario": "page", "history": 1000, "load": "8 readers without pause", "noisy": False, "rss_mib_max": 90.0, **NONE,
    "ack_ms": {"p50": {"alone": 5.0, "beside": 6.0}, "p99": {"alone": 7.0, "beside": 8.0}},
    "ack_ratio": {"p50": ONE, "p99": {**ONE, "median": 3.0}}, "cpu_ratio": ONE,
    "reads": [{"name": "overview", "requests": 9, "answer_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
               "wanted_p95_ms": 30.0, "kib": 4.0, "statuses": {200: 9}}],
}  # fmt: skip


def kept(tmp_path: Path, case: dict[str, Any]) -> str:
    bench.keep({"box": BOX, "cases": [case]}, "today, 2 CPUs", tmp_path)
    return (tmp_path / "figures-performance.md").read_text(encoding="utf-8")


def test_a_report_renews_its_tables_and_says_which_targets_are_met(tmp_path: Path) -> None:
    text = kept(tmp_path, MESSAGES)
    on = "today, 2 CPUs, sync 0.2 / 0.4 ms, load after 1.5"
    assert (
        f"| oru20 x32 | 1.000 | 900 | 1.0 / 2.0 | 1.0 / 2.0 | 80 / 90 | 0.50 | 0 | 0 | 0 / 0 | {on} (noisy) |" in text
    )
    assert f"| CPU per message against the prototype | oru20 | 1.6 | 1.7 | missed | {on} |" in text
    assert f"| delivered/s against the prototype | oru20 | 0.6 | 1 | met | {on} |" in text
    assert "\n## Against the prototype\n" in text


def test_readers_of_the_page_have_a_table_of_their_own(tmp_path: Path) -> None:
    text = kept(tmp_path, PAGE)
    assert "\n## Scenario page: 8 readers without pause\n" in text
    assert "| overview | 9 | 1.0 | 2.0 | 30 | 3.0 | 4.0 | 9 x 200 | today" in text
    assert "| ACK p50 beside 8 readers against alone | page | 2 | 1 | met |" in text
    assert "| ACK p99 beside 8 readers against alone | page | 2.5 | 3 | missed |" in text
    assert "p95" not in text.partition("\n## Targets\n")[2]  # it is asked of the other load


def test_each_reading_of_people_has_its_target(tmp_path: Path) -> None:
    (read,) = PAGE["reads"]
    slow = {**read, "answer_ms": {**read["answer_ms"], "p95": 90.0}}
    names = ("messages", "search", "API status", "API messages")
    reads = [read, {**slow, "name": "dead letters"}, *({**read, "name": name} for name in names)]
    text = kept(tmp_path, {**PAGE, "load": "32 requests/s", "reads": reads})
    assert "| overview of 500 channels, p95, ms | page | 30 | 2 | met |" in text
    assert "| messages, search, dead letters, the slowest p95, ms | page | 80 | 90 | missed |" in text
    assert "| API status of 500 channels, p95, ms | page | 20 | 2 | met |" in text
    assert "ACK" not in text.partition("\n## Targets\n")[2]


def test_without_a_prototype_its_targets_stay_as_they_are(tmp_path: Path) -> None:
    kept(tmp_path, MESSAGES)
    text = kept(tmp_path, {**MESSAGES, "prototype": None})
    assert "| CPU per message against the prototype | oru20 | 1.6 | 1.7 | missed |" in text


VIEWS = {
    "Messages over connections": CASES,
    "Against the prototype": AGAINST,
    **{f"Scenario page: {load}": READS for load in LOADS},
}


@pytest.mark.parametrize("section", [*VIEWS, *(f"Scenario {name}" for name in TABLES)])
def test_the_kept_tables_have_the_columns_that_the_bench_prints(section: str) -> None:
    """Else a run could not renew them: take the rows of another form out of docs/figures-performance.md."""
    view = VIEWS.get(section) or TABLES[section.removeprefix("Scenario ")]
    text = (FIGURES / "figures-performance.md").read_text(encoding="utf-8").partition(f"\n## {section}\n")[2]
    (headings, *_), *_ = parsed(text.partition("\n## ")[0]) if text else ([[]], [])
    assert headings in ([], [*(field.title for field in view.columns), "measured"])


def test_each_target_is_of_a_scenario_and_has_its_row() -> None:
    rows, *_ = parsed(
        (FIGURES / "figures-performance.md")
        .read_text(encoding="utf-8")
        .partition("\n## Targets\n")[2]
        .partition("\n## ")[0]
    )
    assert [row[:3] for row in rows[1:]] == [[one.name, one.scenario, f"{one.wanted:g}"] for one in bench.TARGETS]
