"""What serial lines cost: 32 of them at 9600 baud, none of them ever quiet, and the daemon's share of one core."""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.devtools.bench.box import measure
from engine.devtools.bench.cases import SITE, judge
from engine.devtools.bench.processes import Daemon, Told, free_ports

LINES = 32
DRAIN_WITHIN_S = 60.0
CHANNEL = """\
channel: c{number:03d}
source: {{kind: astm-serial, device: "{device}"}}
routes:
  - mapping: astm-results
    to: sink
"""


def run(folder: Path, *, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report."""
    report: dict[str, Any] = {"version": 1, "box": measure(folder), "cases": []}
    lines, sink = Told("engine.devtools.bench.lines"), Told("engine.devtools.bench.sink")
    site = folder / "serial"
    daemon: Daemon | None = None
    try:
        lines.tell(json.dumps({"lines": LINES}))
        web = _make_site(site, lines.hear()["devices"], sink.hear()["port"])
        daemon = Daemon(site, web, folder / "daemon.log")
        first, shares, results = 1, [], []
        for index in range(rounds + 1):
            say("warm-up" if index == 0 else f"round {index} of {rounds}: {LINES} serial lines at 9600 baud")
            before = daemon.cpu_s()
            lines.tell(json.dumps({"seconds": 2.0 if index == 0 else seconds, "first": first}))
            played = lines.hear()
            took = played["end"] - played["start"]
            acked = [tuple(entry) for entry in played["acked"]]
            _drain(sink, len(acked))
            cpu = daemon.cpu_s() - before
            seen = [tuple(entry) for entry in sink.ask("take")["seen"]]
            first += 100_000
            if index:
                shares.append(cpu / took)
                results.append(
                    judge(acked, seen, start=played["start"], end=played["end"], ack_s=[], refused=0, cpu_s=cpu)
                )
                rate = played["bytes"] / took / LINES
        report["cases"].append(
            {
                "scenario": "serial",
                "lines": LINES,
                "rounds": rounds,
                "bytes_per_s_and_line": round(rate),
                "messages": sum(each.messages for each in results),
                "cpu_share": {
                    "median": round(statistics.median(shares), 4),
                    "min": round(min(shares), 4),
                    "max": round(max(shares), 4),
                },
                "rss_mib_max": round(daemon.rss_mib("VmHWM"), 1),
                "lost": sum(each.lost for each in results),
                "reordered": sum(each.reordered for each in results),
                "repeats_same_key": sum(each.repeats_same_key for each in results),
                "repeats_other_key": sum(each.repeats_other_key for each in results),
                "violations": played["violations"],
            }
        )
    finally:
        if daemon is not None:
            daemon.stop()
        lines.stop()
        sink.stop()
    report["box"]["load_after"] = [round(value, 2) for value in os.getloadavg()]
    return report


def _make_site(site: Path, devices: list[str], sink_port: int) -> int:
    """Write it; the port of its page, which says that the daemon runs."""
    (web,) = free_ports(1)
    (site / "config").mkdir(parents=True)
    (site / "channels").mkdir()
    (site / "config" / "labrelay.yaml").write_text(SITE.format(web=web, workers=0, sink=sink_port))
    for number, device in enumerate(devices):
        (site / "channels" / f"c{number:03d}.yaml").write_text(CHANNEL.format(number=number, device=device))
    return web


def _drain(sink: Told, expected: int) -> None:
    deadline = time.monotonic() + DRAIN_WITHIN_S
    while time.monotonic() < deadline and sink.ask("count")["count"] < expected:
        time.sleep(0.05)
    time.sleep(0.2)
