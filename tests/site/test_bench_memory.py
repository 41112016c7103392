"""`labrelay bench --scenario memory`: real attacks on a real daemon; its messages arrive, and it says its memory."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_memory_is_measured_under_each_attack(tmp_path: Path) -> None:
    ran = labrelay("bench", "--scenario", "memory", "--seconds", "1", "--data", str(tmp_path), "-o", "json")

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert case["messages"] == 1000
    assert case["lost"] == case["reordered"] == case["repeats_other_key"] == 0
    assert list(case["attacks"]) == ["lists", "requests", "garbage", "endless", "large"]
    for figures in case["attacks"].values():
        assert 0 < figures["after"] <= figures["peak"] <= case["rss_mib_max"]
    assert case["attacks"]["endless"]["peak"] > case["rss_mib_before"]
    assert list(tmp_path.iterdir()) == []
