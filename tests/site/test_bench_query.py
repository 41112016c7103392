"""`labrelay bench --scenario query`, small: every question is answered with the orders of its tube, and has two commits."""

import json
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


@pytest.mark.slow
def test_questions_are_measured_with_and_without_closed_orders(tmp_path: Path) -> None:
    made = tmp_path / "report.json"
    ran = labrelay(
        "bench", "--scenario", "query", "--items", "80", "--closed", "80", "--seconds", "1", "--rounds", "1",
        "--data", str(tmp_path), "--json", str(made),
    )  # fmt: skip
    assert ran.code == ExitCode.OK, ran.err
    without, with_closed = json.loads(made.read_text())["cases"]
    assert (without["open"], without["closed"], with_closed["closed"]) == (80, 0, 80)
    for case in (without, with_closed):
        assert (case["unanswered"], case["wrong"], case["lost"]) == (0, 0, 0)
        assert case["questions"] > 0
        assert case["commits_per_question"] == 2.0
