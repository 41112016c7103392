"""What readers of the page wait for while messages flow in, and what they cost the analyzers.

A site with 500 channels and a history. In each round the load runs alone, and then beside readers: the difference of
the two is what the readers cost.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.bench.box import is_noisy, percentile, report, spread
from workbench.bench.cases import MOST_CONNECTIONS, Case, Round, TcpBench, totals
from workbench.bench.history import FIRST_NUMBER, fill
from workbench.bench.processes import JsonProcess

PASSWORD = "a password of the benchmark"  # noqa: S105 - of a site that runs for it alone
OVERVIEW, STATUS, SEARCH = "/", "/api/v1/status", f"/messages?q=S{FIRST_NUMBER + 4321}"
WITHOUT_PAUSE, PEOPLE, CROWD = "8 readers without pause", "32 requests/s", "232 requests/s"
WANTED_MS = {  # p95
    "overview": 30.0,
    "messages": 80.0,
    "search": 80.0,
    "dead letters": 80.0,
    "API status": 20.0,
    "API messages": 80.0,
}


@dataclass(frozen=True, slots=True)
class Load:
    """Messages, and the readers beside them.

    Attributes:
        kinds: of each the path, its readers, requests a second of all of them (0: each asks again once it is answered),
            and whether a token takes the place of the log-in.
    """

    messages: Case
    kinds: Mapping[str, tuple[str, int, float, bool]]


LOADS = {
    WITHOUT_PAUSE: Load(
        Case(connections=16, rate_offered=20.0),
        {
            "overview": (OVERVIEW, 2, 0.0, False),
            "messages": ("/messages", 2, 0.0, False),
            "search": (SEARCH, 2, 0.0, False),
            "API status": (STATUS, 2, 0.0, True),
        },
    ),
    PEOPLE: Load(
        Case(connections=16, rate_offered=20.0),
        {
            "overview": (OVERVIEW, 10, 10.0, False),
            "messages": ("/messages", 4, 4.0, False),
            "search": (SEARCH, 4, 4.0, False),
            "dead letters": ("/dead-letters", 4, 4.0, False),
            "API status": (STATUS, 4, 8.0, True),
            "API messages": ("/api/v1/messages", 2, 2.0, True),
        },
    ),
    CROWD: Load(
        Case(connections=MOST_CONNECTIONS, rate_offered=300.0),
        {
            "overview": (OVERVIEW, 20, 200.0, False),
            "messages": ("/messages", 4, 4.0, False),
            "search": (SEARCH, 4, 4.0, False),
            "dead letters": ("/dead-letters", 4, 4.0, False),
            "API status": (STATUS, 4, 20.0, True),
            "API messages": ("/api/v1/messages", 4, 4.0, True),
        },
    ),
}


def run(site: Path, *, history: int, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        site: its folder; one that is there keeps its messages.
        history: messages that are in the journal before.
    """
    say(f"a history of {history} messages")
    fill(site, history, say)
    readers = JsonProcess("workbench.bench.readers")
    readers.hear()
    bench = TcpBench(site, "oru20", "frame", channels=MOST_CONNECTIONS)
    bench.first = 1 + time.time_ns() // 10**9 % 40_000_000  # numbers that no run before has used, nor the history
    try:
        bench.run(LOADS[CROWD].messages, 1)  # each line once: what is loaded at the first message is loaded
        about = {"address": f"http://127.0.0.1:{bench.web}", **user_of(site)}
        cases = []
        for name, load in LOADS.items():
            say(name)
            case = _case(bench, readers, about, load, seconds, rounds, say)
            cases.append({"history": history, "load": name, **case})
        return report(site, cases)
    finally:
        readers.stop()
        bench.close()


def _case(
    bench: TcpBench,
    readers: JsonProcess,
    about: dict[str, str],
    load: Load,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    sent = load.messages
    count = max(2, round(sent.rate_offered * seconds / sent.connections))
    told = {**about, "kinds": load.kinds, "seconds": count * sent.connections / sent.rate_offered}
    alone, beside = list[Round](), list[Round]()
    read: dict[str, list[dict[str, Any]]] = {name: [] for name in load.kinds}
    for index in range(rounds):
        say(f"round {index + 1} of {rounds}: messages alone")
        alone.append(bench.run(sent, count))
        say(f"round {index + 1} of {rounds}: messages beside readers")
        readers.tell(json.dumps(told))
        readers.hear()
        beside.append(bench.run(sent, count))
        for name, one in readers.hear().items():
            read[name].append(one)
    return _summary(alone, beside, read, bench)


def user_of(site: Path) -> dict[str, str]:
    """A user and a token of the site that runs."""
    labrelay = (sys.executable, "-m", "engine", "--site", str(site))

    def give(*arguments: str, typed: str = "") -> str:
        done = subprocess.run(  # noqa: S603 - our own program
            [*labrelay, *arguments], input=typed, capture_output=True, text=True, check=True
        )
        return done.stdout

    name = f"reader-{time.time_ns()}"
    give("user", "add", name, "--role", "viewer", "--password-stdin", typed=f"{PASSWORD}\n")
    made = json.loads(give("token", "add", name, "-o", "json"))
    return {"name": name, "password": PASSWORD, "token": made["secret"]}


def _summary(
    alone: list[Round], beside: list[Round], read: dict[str, list[dict[str, Any]]], bench: TcpBench
) -> dict[str, Any]:
    answers, rises = {}, {}
    for percent in (50, 99):
        times = [tuple(percentile(one.ack_ms, percent) for one in pair) for pair in zip(alone, beside, strict=True)]
        medians = [round(statistics.median(of), 1) for of in zip(*times, strict=True)]
        answers[f"p{percent}"] = dict(zip(("alone", "beside"), medians, strict=True))
        rises[f"p{percent}"] = spread((b / a for a, b in times if a), 2)
    return {
        "scenario": "page",
        "channels": MOST_CONNECTIONS,
        "rounds": len(alone),
        "messages": sum(one.messages for one in (*alone, *beside)),
        "ack_ms": answers,
        "ack_ratio": rises,
        "cpu_ratio": spread((b.cpu_ms / a.cpu_ms for a, b in zip(alone, beside, strict=True) if a.cpu_ms), 2),
        "reads": [_read(name, rounds) for name, rounds in read.items()],
        "rss_mib_max": round(bench.daemon.rss_mib("VmHWM"), 1),
        **totals([*alone, *beside], "lost", "repeats_same_key", "repeats_other_key", "reordered", "refused"),
        "noisy": is_noisy(rises["p50"]),
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
