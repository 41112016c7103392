"""Counts of a message: SQL statements, bytes written to the site's files, syncs, calls, allocations.

They are of the daemon's own process, from the first byte until the delivery is noted, one message at a time; so they
hardly depend on the machine.
"""

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

from tools.against.site import KINDS, Kind, SerialBench, serial_bench
from workbench.bench.processes import Program

WARM_UP = 30  # a mapping's code, caches and prepared statements are there by then
PARTS = 9
PART = 5  # messages of a part
CALLS = "write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,sync_file_range"
STRACE = ("strace", "-D", "-f", "-y", "-ttt", "-s0", "--seccomp-bpf", "-e", f"trace={CALLS}")
_CALL = re.compile(r"(?P<task>\d+) +(?P<at>[\d.]+) (?P<call>\w+)\(\d+<(?P<path>[^>]*)>")
_RESUMED = re.compile(r"(?P<task>\d+) +[\d.]+ <\.\.\. \w+ resumed>.* = (?P<result>\d+)")
_RESULT = re.compile(r" = (?P<result>\d+)")

Counts = dict[str, dict[str, float]]
"""Kind of message -> what is counted -> a message's count."""
Window = tuple[float, float]
"""When messages were sent, in seconds since 1970."""


def counts_of(program: Program, folder: Path) -> Counts:
    """All counts of a program; ``folder``: empty, for the sites.

    Statements, calls and allocations are the median of `PARTS` parts: what the daemon does each second falls into few
    of them. Bytes and syncs are the mean: a page of SQLite is written by some messages, and not by others.
    """
    if not shutil.which("strace"):
        raise ValueError("strace is not installed: bytes and syncs cannot be counted")
    counts: Counts = {kind.name: {} for kind in KINDS}
    for probe in ("statements", "calls", "allocations"):
        with serial_bench(folder / probe, program, probe) as bench:
            for kind in KINDS:
                bench.send(kind, WARM_UP)
                parts = [_part(bench, kind) for _ in range(PARTS)]
                counts[kind.name] |= {name: median(part[name] for part in parts) for name in parts[0]}
    for name, written in _written(program, folder / "files").items():
        counts[name] |= written
    return counts


def _part(bench: SerialBench, kind: Kind) -> dict[str, float]:
    before = bench.daemon.ask("begin")
    bench.send(kind, PART)
    after = bench.daemon.ask("end")
    return {name: (after[name] - before[name]) / PART for name in after}


def _written(program: Program, site: Path) -> Counts:
    trace, windows = site.with_suffix(".strace"), dict[str, list[Window]]()
    with serial_bench(site, program, "usage", (*STRACE, "-o", str(trace))) as bench:
        for kind in KINDS:
            bench.send(kind, WARM_UP)
            windows[kind.name] = [_window(bench, kind) for _ in range(PARTS)]
    text = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    counts: Counts = {}
    for name, own in windows.items():
        parts = [written_between(text, str(site), *window) for window in own]
        counts[name] = {what: fmean(part[what] for part in parts) / PART for what in parts[0]}
    return counts


def _window(bench: SerialBench, kind: Kind) -> Window:
    began = time.time()
    bench.send(kind, PART)
    return began, time.time()


def written_between(lines: Iterable[str], folder: str, began: float, ended: float) -> dict[str, float]:
    """Bytes written to the folder's files, syncs, and changes of a file's length, by the lines of strace. Pure."""
    size = syncs = resizes = 0
    waiting: defaultdict[str, bool] = defaultdict(bool)  # task -> whether its interrupted call writes there
    for line in lines:
        if resumed := _RESUMED.match(line):
            if waiting.pop(resumed["task"], False):
                size += int(resumed["result"])
            continue
        call = _CALL.match(line)
        if call is None or not began <= float(call["at"]) < ended or not call["path"].startswith(folder):
            continue
        if "sync" in call["call"]:
            syncs += 1
        elif "write" not in call["call"]:
            resizes += 1
        elif line.endswith("<unfinished ...>"):
            waiting[call["task"]] = True
        elif result := _RESULT.search(line):
            size += int(result["result"])
    return {"bytes_written": size, "syncs": syncs, "resizes": resizes}
