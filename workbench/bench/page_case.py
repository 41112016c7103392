"""What readers of the page wait for while messages flow in, and what they cost the analyzers.

A site with 500 channels and a history. In each round the load runs alone, and then beside readers: the difference of
the two is what the readers cost.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.bench.box import is_noisy, percentile, report, spread
from workbench.bench.cases import MOST_CONNECTIONS, Case, Round, TcpBench, totals
from workbench.bench.history import FIRST_NUMBER, fill
from workbench.bench.processes import JsonProcess

CASE = Case(connections=MOST_CONNECTIONS, rate_offered=300.0)
NAME, PASSWORD = "reader", "a password of the benchmark"
KINDS = {  # path, readers, requests a second of all of them, with a token in place of the log-in
    "overview": ("/", 20, 200.0, False),
    "messages": ("/messages", 4, 4.0, False),
    "search": (f"/messages?q=S{FIRST_NUMBER + 4321}", 4, 4.0, False),
    "API status": ("/api/v1/status", 4, 20.0, True),
    "API messages": ("/api/v1/messages", 4, 4.0, True),
}
WANTED_MS = {"overview": 30.0, "messages": 100.0, "search": 100.0, "API status": 30.0, "API messages": 100.0}  # p95


def run(folder: Path, *, history: int, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        history: messages that are in the journal before.
    """
    return report(folder, [_case(folder / "page", history, seconds, rounds, say)])


def _case(site: Path, history: int, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"a history of {history} messages")
    fill(site, history, say)
    readers = JsonProcess("workbench.bench.readers")
    readers.hear()
    bench = TcpBench(site, "oru20", "frame", channels=MOST_CONNECTIONS)
    try:
        count = max(2, round(CASE.rate_offered * seconds / CASE.connections))
        lasting_s = count * CASE.connections / CASE.rate_offered
        told = {"address": f"http://127.0.0.1:{bench.web}", "kinds": KINDS, "seconds": lasting_s, **user_of(site)}
        bench.run(CASE, 1)  # each line once: what is loaded at the first message is loaded
        alone, beside = list[Round](), list[Round]()
        read: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
        for index in range(rounds):
            say(f"round {index + 1} of {rounds}: messages alone")
            alone.append(bench.run(CASE, count))
            say(f"round {index + 1} of {rounds}: messages beside readers")
            readers.tell(json.dumps(told))
            readers.hear()
            beside.append(bench.run(CASE, count))
            for name, one in readers.hear().items():
                read[name].append(one)
        return _summary(history, alone, beside, read, bench)
    finally:
        readers.stop()
        bench.close()


def user_of(site: Path) -> dict[str, str]:
    """A user and a token of the site that runs."""
    labrelay = (sys.executable, "-m", "engine", "--site", str(site))

    def give(*arguments: str, typed: str = "") -> str:
        done = subprocess.run(  # noqa: S603 - our own program
            [*labrelay, *arguments], input=typed, capture_output=True, text=True, check=True
        )
        return done.stdout

    give("user", "add", NAME, "--role", "viewer", "--password-stdin", typed=f"{PASSWORD}\n")
    made = json.loads(give("token", "add", "programs", "-o", "json"))
    return {"name": NAME, "password": PASSWORD, "token": made["secret"]}


def _summary(
    history: int,
    alone: list[Round],
    beside: list[Round],
    read: dict[str, list[dict[str, Any]]],
    bench: TcpBench,
) -> dict[str, Any]:
    ack = {name: [percentile(one.ack_ms, 99) for one in rounds] for name, rounds in (("a", alone), ("b", beside))}
    rises = spread((b / a for a, b in zip(ack["a"], ack["b"], strict=True) if a), 2)
    costs = spread((b.cpu_ms / a.cpu_ms for a, b in zip(alone, beside, strict=True) if a.cpu_ms), 2)
    return {
        "scenario": "page",
        "history": history,
        "channels": MOST_CONNECTIONS,
        "rounds": len(alone),
        "messages": sum(one.messages for one in (*alone, *beside)),
        "ack_p99_ms": {"alone": round(statistics.median(ack["a"]), 1), "beside": round(statistics.median(ack["b"]), 1)},
        "ack_p99_ratio": rises,
        "cpu_ratio": costs,
        "reads": [_read(name, rounds) for name, rounds in read.items()],
        "rss_mib_max": round(bench.daemon.rss_mib("VmHWM"), 1),
        **totals([*alone, *beside], "lost", "repeats_same_key", "repeats_other_key", "reordered", "refused"),
        "noisy": is_noisy(rises),
    }


def _read(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    times = [value * 1000 for one in rounds for value in one["answer_s"]]
    statuses: dict[str, int] = {}
    for one in rounds:
        for status, count in one["statuses"].items():
            statuses[status] = statuses.get(status, 0) + count
    return {
        "name": name,
        "requests": len(times),
        "statuses": statuses,
        "answer_ms": {f"p{percent}": round(percentile(times, percent), 1) for percent in (50, 95, 99)},
        "wanted_p95_ms": WANTED_MS[name],
        "kib": round(sum(one["received"] for one in rounds) / 1024 / max(1, len(times)), 1),
    }
