"""`labrelay bench --scenario start`: real starts of the daemon, in turns with Python importing a library."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_starts_first_messages_and_memory_are_measured(tmp_path: Path) -> None:
    ran = labrelay("bench", "--scenario", "start", "--rounds", "1", "--data", str(tmp_path), "-o", "json")

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert case["lost"] == case["refused"] == case["reordered"] == case["repeats_other_key"] == 0
    assert case["messages"] == 2 * (1 + 992)  # of the first start, and of the round
    for figures in (case["new_site"], {name: case[name]["median"] for name in case["new_site"]}):
        ticks = figures.pop("first_message_cpu_ms")  # the kernel counts in 10 ms: one message may cost none
        assert ticks >= 0
        assert all(value > 0 for value in figures.values()), figures
        assert figures["library_cpu_s"] < figures["listening_cpu_s"] < figures["listening_s"] * 2
        assert figures["rss_mib_idle"] <= figures["rss_mib_1000"]
    assert list(tmp_path.iterdir()) == []
