"""`labrelay bench --scenario serial`: real ptys at the pace of serial lines, and nothing lost."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_serial_lines_are_measured_at_their_pace(tmp_path: Path) -> None:
    ran = labrelay("bench", "--scenario", "serial", "--seconds", "3", "--rounds", "1", "--data", str(tmp_path),
                   "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert case["lines"] == 32
    assert case["messages"] >= 32
    assert case["violations"] == []
    assert 0 < case["bytes_per_s_and_line"] <= 960
    assert case["cpu_share"]["median"] > 0
    assert case["lost"] == case["reordered"] == case["repeats_other_key"] == 0
    assert list(tmp_path.iterdir()) == []
