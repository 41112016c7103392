"""The cost of a start: the daemon against Python importing one large library, in turns, and its first messages.

Each round starts the daemon again on the same site; the first start, on a new site, is reported by itself.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.bench.box import is_noisy, report, spread
from workbench.bench.cases import CHANNELS, Case, Round, TcpBench, totals
from workbench.bench.processes import THIS, Program, cost_of

ONE, MANY = Case(connections=1), Case(connections=CHANNELS)
SOME_MESSAGES = 1_000
SETTLE_S = 0.5  # between listening and being ready
LIBRARY = ("-c", "import aiohttp")
DIGITS = {
    "library_s": 3,
    "library_cpu_s": 3,
    "listening_s": 3,
    "listening_cpu_s": 2,
    "ratio": 2,
    "cpu_ratio": 2,
    "first_message_loop_ms": 1,
    "first_message_cpu_ms": 0,
    "rss_mib_idle": 1,
    "rss_mib_1000": 1,
}


def run(folder: Path, *, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report."""
    return report(folder, [_case(folder / "start", rounds, say)])


def _case(site: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    cost_of(*LIBRARY)  # the system has its files in memory then
    played: list[Round] = []
    starts = []
    for index in range(rounds + 1):
        say(f"start {index} of {rounds}" if index else "the first start of a new site")
        starts.append(start(site, played))
    new, *measured = starts
    figures = {name: spread((each[name] for each in measured), digits) for name, digits in DIGITS.items()}
    return {
        "scenario": "start",
        "rounds": rounds,
        "messages": sum(each.messages for each in played),
        "new_site": {name: round(new[name], digits) for name, digits in DIGITS.items()},
        **figures,
        **totals(played, "lost", "repeats_same_key", "repeats_other_key", "reordered", "refused"),
        "noisy": is_noisy(figures["cpu_ratio"]),
    }


def start(site: Path, played: list[Round], program: Program = THIS) -> dict[str, float]:
    """Start the library and the daemon, and send the daemon's first messages.

    Args:
        played: what this site has been sent so far; becomes longer.
    """
    library_s, library_cpu_s = cost_of(*LIBRARY, program=program)
    bench = TcpBench(site, "oru20", "frame", program=program)
    bench.first += sum(each.messages for each in played)  # no number comes twice
    try:
        listening_s, listening_cpu_s = bench.daemon.listening_s, bench.daemon.cpu_s()
        time.sleep(SETTLE_S)
        idle_mib, before_s = bench.daemon.rss_mib(), bench.daemon.loop_s()
        one = bench.run(ONE, 1)
        loop_s = bench.daemon.loop_s() - before_s
        played += [one, bench.run(MANY, SOME_MESSAGES // CHANNELS)]
        return {
            "library_s": library_s,
            "library_cpu_s": library_cpu_s,
            "listening_s": listening_s,
            "listening_cpu_s": listening_cpu_s,
            "ratio": listening_s / library_s,
            "cpu_ratio": listening_cpu_s / library_cpu_s,
            "first_message_loop_ms": loop_s * 1000,
            "first_message_cpu_ms": one.cpu_ms,
            "rss_mib_idle": idle_mib,
            "rss_mib_1000": bench.daemon.rss_mib(),
        }
    finally:
        bench.close()
