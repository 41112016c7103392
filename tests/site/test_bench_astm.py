"""`labrelay bench --scenario astm-fhir`: sessions of frames, mapped and delivered, and nothing lost."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_astm_sessions_are_measured(tmp_path: Path) -> None:
    ran = labrelay(
        "bench", "--scenario", "astm-fhir", "--commit", "message", "--connections", "4",
        "--seconds", "0.5", "--rounds", "1", "--data", str(tmp_path), "-o", "json",
    )  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert (case["scenario"], case["commit"], case["lost"]) == ("astm-fhir", "message", 0)
    assert case["messages"] >= 80
