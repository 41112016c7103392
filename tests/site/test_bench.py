"""`labrelay bench`: what it says of a run is true, and a run of the real thing says that nothing was lost."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from workbench.bench import cases
from workbench.bench.cases import judge
from workbench.bench.processes import Usage
from workbench.bench.sink import Sink

# -- the count -----------------------------------------------------------------------------------------------------


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[dict[tuple[int, int], list[str]], list[tuple[int, int, str, float]]]:
    """Messages, each with the keys that it arrives under (none: it is lost), and all arrivals in any order."""
    numbers = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), unique=True, max_size=12))
    keys = {ident: draw(st.lists(st.sampled_from("ab"), max_size=3)) for ident in numbers}
    seen = [(*ident, key) for ident, came in keys.items() for key in came]
    ordered = draw(st.permutations(seen))
    return keys, [(*one, 10.0 + at) for at, one in enumerate(ordered)]


@given(arrivals())
def test_every_loss_repeat_and_overtaking_is_counted(
    given: tuple[dict[tuple[int, int], list[str]], list[tuple[int, int, str, float]]],
) -> None:
    keys, seen = given
    found = judge(
        [(*ident, 0.0) for ident in keys], seen, start=0.0, end=1.0, ack_s=[], refused=0, used=Usage({1: 1.0})
    )  # fmt: skip

    assert found.lost == sum(not came for came in keys.values())
    assert found.repeats_same_key == sum(n - 1 for came in keys.values() for n in Counter(came).values())
    assert found.repeats_other_key == sum(len(set(came)) - 1 for came in keys.values() if came)
    first = list(dict.fromkeys((channel, number) for channel, number, _, _ in seen))
    overtaken = [
        (channel, number)
        for at, (channel, number) in enumerate(first)
        if any(before == channel and newer > number for before, newer in first[:at])
    ]
    assert found.reordered == len(overtaken)


# -- the real thing ------------------------------------------------------------------------------------------------


def test_a_run_of_a_second_loses_nothing_and_reports_itself(tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    ran = labrelay(
        "bench", "--scenario", "mixed", "--connections", "4", "--seconds", "1", "--rounds", "1",
        "--data", str(tmp_path), "--json", str(report_file), "-o", "json",
    )  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    report = json.loads(report_file.read_text())
    assert report == ran.json
    assert report["version"] == 1
    assert report["box"]["cpus"] >= 1
    assert len(report["cases"]) == 1
    for case in report["cases"]:
        assert case["messages"] >= 80
        faults = {"lost": 0, "reordered": 0, "repeats_same_key": 0, "repeats_other_key": 0, "refused": 0}
        assert {name: case[name] for name in faults} == faults
        assert 0 < case["cpu_ms_per_msg"]["min"] <= case["cpu_ms_per_msg"]["median"] <= case["cpu_ms_per_msg"]["max"]
        assert 0 < case["ack_ms"]["p50"] <= case["ack_ms"]["p99"] <= case["ack_ms"]["max"]
        assert 0 < case["delivered_ms"]["p50"] <= case["delivered_ms"]["p99"]
        assert 0 < case["rss_mib_idle"] <= case["rss_mib_max"]
        assert all(case[name]["min"] >= 0 for name in ("collections_per_msg", "collected_per_msg"))
        assert isinstance(case["blocks_per_msg"]["median"], float)
    assert list(tmp_path.iterdir()) == [report_file]  # its sites are gone


def test_connections_that_share_channels_send_messages_of_their_own(tmp_path: Path) -> None:
    ran = labrelay("bench", "--connections", "64", "--seconds", "0.1", "--rounds", "1", "--data", str(tmp_path),
                   "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert case["messages"] >= 64 * 20
    assert case["lost"] == case["refused"] == case["reordered"] == 0
    assert case["repeats_same_key"] == case["repeats_other_key"] == 0


def test_there_is_a_bound_on_connections() -> None:
    ran = labrelay("bench", "--connections", "32,501")
    assert ran.code == ExitCode.USAGE
    assert "connections are 1 to 500" in ran.err


@pytest.mark.parametrize("what", ["lost", "reordered", "repeats_other_key"])
def test_a_run_that_lost_something_ends_with_its_own_exit_code(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def bad_run(*_args: Any, **_kwargs: Any) -> dict[str, Any]:
        spread = {"p50": 1.0, "p99": 2.0, "max": 2.0, "median": 1.0, "min": 1.0}
        case = {"scenario": "oru20", "connections": 1, "rate_offered": 0.0, "dest_delay_ms": 0.0,
                "noisy": False, "cpu_ms_per_msg": spread, "e2e_per_s": 1, "ack_ms": spread, "delivered_ms": spread,
                "rss_mib_idle": 1.0, "rss_mib_max": 1.0, "listening_s": 0.1, "lost": 0, "reordered": 0,
                "repeats_same_key": 0, "repeats_other_key": 0} | {what: 1}  # fmt: skip
        box = {"cpus": 1, "python": "3.11", "fsync_p50_ms": 1, "fsync_p99_ms": 1, "load": [0.0], "load_after": [0.0]}
        return {"version": 1, "box": box, "cases": [case]}

    monkeypatch.setattr(cases, "run", bad_run)
    ran = labrelay("bench")
    assert ran.code == ExitCode.INTEGRITY
    assert f"1 {what}" in ran.err


def test_a_message_that_comes_again_does_not_stand_for_one_that_has_not_come() -> None:
    sink = Sink()
    sink.seen = [(0, 1, "a", 0.1), (0, 2, "b", 0.2), (0, 2, "b", 0.3), (1, 2, "c", 0.3)]
    assert (sink.count(first=1), sink.count(first=2)) == (3, 2)
