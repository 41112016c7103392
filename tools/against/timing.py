"""Times and memory of programs, in turns: each turn measures every program, and begins with another one."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tools.against.site import KINDS, Kind, serial_bench
from workbench.bench import start_case
from workbench.bench.cases import CHANNELS, Case, Round, TcpBench
from workbench.bench.processes import Program, cost_of

TURNS, PROCESSES = 5, 9  # processes of each program, for times in process
BATCHES = 20  # of a turn; the least counts, so the first ones warm up
BATCH = 30  # messages
SOCKETS = Case(connections=CHANNELS)
SOCKETS_WARM_UP = 40  # messages of each connection
STATUS_WITHOUT_DAEMON = 4  # the exit code

Turns = dict[str, list[float]]
"""Figure -> a value for each turn."""


def in_process(programs: Sequence[Program], folder: Path, say: Callable[[str], None]) -> list[Turns]:
    """Time of `process` on messages that have not come before, in microseconds a message: CPU, and wall.

    Each turn has processes of its own: two of one program differ by up to a tenth.
    """
    measured: list[Turns] = [defaultdict(list) for _ in programs]
    file = folder / "batch.json"
    for turn in range(PROCESSES):
        say(f"in process: turn {turn + 1} of {PROCESSES}")
        with ExitStack() as stack:
            benches = [
                stack.enter_context(serial_bench(folder / f"{turn}-{place}", program, "processing"))
                for place, program in enumerate(programs)
            ]
            for bench in benches:
                for kind in KINDS:
                    bench.send(kind, 1)
            for kind in KINDS:
                least: list[Turns] = [defaultdict(list) for _ in programs]
                for batch in range(BATCHES):
                    file.write_text(json.dumps(_payloads(kind, turn * BATCHES + batch)), encoding="utf-8")
                    for place in order_of(len(programs), turn + batch):
                        spent = benches[place].daemon.ask(f"c{KINDS.index(kind):03d} {file}")
                        for name, us in spent.items():
                            least[place][f"{kind.name}, {name}"].append(us / BATCH)
                for place, figures in enumerate(least):
                    for name, each in figures.items():
                        measured[place][name].append(min(each))
    return measured


def over_sockets(
    programs: Sequence[Program], folder: Path, say: Callable[[str], None], *, seconds: float
) -> list[Turns]:
    """CPU of the daemon for a message of 20 results, in milliseconds, on 32 connections that do not pause."""
    measured: list[Turns] = [defaultdict(list) for _ in programs]
    with ExitStack() as stack:
        benches = []
        for place, program in enumerate(programs):
            benches.append(TcpBench(folder / str(place), SOCKETS.scenario, SOCKETS.commit, program=program))
            stack.callback(benches[-1].close)
        warm = [bench.run(SOCKETS, SOCKETS_WARM_UP) for bench in benches]
        count = max(20, int(min(each.delivered_per_s for each in warm) * seconds / CHANNELS))
        for turn in range(TURNS):
            say(f"over sockets: turn {turn + 1} of {TURNS}")
            for place in order_of(len(programs), turn):
                played = benches[place].run(SOCKETS, count)
                if played.lost or played.reordered or played.refused:
                    raise RuntimeError("a program lost, reordered or refused messages of the bench")
                measured[place]["a message of 20, CPU ms"].append(played.cpu_ms)
    return measured


def starts(programs: Sequence[Program], folder: Path, say: Callable[[str], None]) -> list[Turns]:
    """CPU of a start, of ``check`` and ``status``, in seconds; memory in MiB. The first start of each site is not
    counted."""
    measured: list[Turns] = [defaultdict(list) for _ in programs]
    played: list[list[Round]] = [[] for _ in programs]
    for turn in range(-1, TURNS):
        say("starts: the first of each site" if turn < 0 else f"starts: turn {turn + 1} of {TURNS}")
        for place in order_of(len(programs), turn):
            site, program = folder / str(place), programs[place]
            figures = start_case.start(site, played[place], program)
            start = ("-m", "engine", "--site", str(site))
            _, check_s = cost_of(*start, "check", program=program)
            _, status_s = cost_of(*start, "status", program=program, codes=(0, STATUS_WITHOUT_DAEMON))
            if turn < 0:
                continue
            for name, figure in (
                ("start, CPU s", figures["listening_cpu_s"]),
                ("first message, loop ms", figures["first_message_loop_ms"]),
                ("check, CPU s", check_s),
                ("status, CPU s", status_s),
                ("memory idle, MiB", figures["rss_mib_idle"]),
                ("memory after 1,000, MiB", figures["rss_mib_1000"]),
            ):
                measured[place][name].append(figure)
    return measured


def order_of(count: int, turn: int) -> list[int]:
    """In the opposite order every other time, the last one would come again at once: the caches would be its own."""
    return [(turn + place) % count for place in range(count)]


def _payloads(kind: Kind, batch: int) -> list[str]:
    rng = random.Random(f"{kind.name} {batch}")
    first = 1_000_000 + batch * BATCH
    return [kind.payload(KINDS.index(kind), first + place, rng).decode("latin-1") for place in range(BATCH)]
