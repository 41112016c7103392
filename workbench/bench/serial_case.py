"""The cost of serial lines: 32 of them at 9600 baud, never quiet, and the daemon's share of one core."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.bench.box import report, spread
from workbench.bench.cases import Bench, totals
from workbench.bench.processes import JsonProcess, free_ports

LINES = 32
WARM_UP_S = 2.0


def run(folder: Path, *, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report."""
    return report(folder, _case(folder / "serial", seconds, rounds, say))


def _case(site: Path, seconds: float, rounds: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    lines = JsonProcess("workbench.bench.lines")
    channels = [
        (f'kind: astm-serial, device: "{device}"', "astm-results")
        for device in lines.ask(json.dumps({"lines": LINES}))["devices"]
    ]
    (web,) = free_ports(1)
    bench = Bench(site, lines, channels, web=web, port=web)  # the page says that the daemon runs
    try:
        shares, results = [], []
        for index in range(rounds + 1):
            say("warm-up" if index == 0 else f"round {index} of {rounds}: {LINES} serial lines at 9600 baud")
            counted, played = bench.play({"seconds": seconds if index else WARM_UP_S, "first": bench.first})
            bench.first += 100_000
            took = played["end"] - played["start"]
            if index:
                shares.append(played["cpu_s"] / took)
                results.append(counted)
        yield {
            "scenario": "serial",
            "lines": LINES,
            "rounds": rounds,
            "bytes_per_s_and_line": round(played["bytes"] / took / LINES),
            "messages": sum(each.messages for each in results),
            "cpu_share": spread(shares, 4),
            "rss_mib_max": round(bench.daemon.rss_mib("VmHWM"), 1),
            **totals(results, "lost", "reordered", "repeats_same_key", "repeats_other_key"),
            "violations": played["violations"],
        }
    finally:
        bench.close()
