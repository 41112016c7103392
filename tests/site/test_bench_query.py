"""`labrelay bench --scenario query`: questions beside results, with and without orders that have ended."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_each_question_has_its_orders_and_ended_ones_are_counted_apart(tmp_path: Path) -> None:
    ran = labrelay(
        "bench", "--scenario", "query", "--items", "400", "--closed", "400", "--seconds", "1", "--rounds", "1",
        "--data", str(tmp_path), "-o", "json",
    )  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    assert [(case["open"], case["closed"]) for case in ran.json["cases"]] == [(400, 0), (400, 400)]
    for case in ran.json["cases"]:
        assert case["questions"] >= 40
        assert case["messages"] >= 240
        faults = ("unanswered", "wrong", "lost", "reordered", "repeats_same_key", "repeats_other_key", "refused")
        assert {name: case[name] for name in faults} == dict.fromkeys(faults, 0)
        assert case["commits_per_question"] == 2.0  # the answer, and that it was sent
        assert 0 < case["look_up_cpu_ms"]["p50"] <= case["look_up_cpu_ms"]["p99"]
        assert 0 < case["answer_ms"]["p50"] <= case["answer_ms"]["p99"]
        assert case["item_cpu_ms"] > 0
    first = ran.json["cases"][0]
    assert (first["cpu_ratio"], first["item_ratio"]) == (1.0, 1.0)
    assert list(tmp_path.iterdir()) == []  # its sites are gone
