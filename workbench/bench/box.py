"""The machine's own speed, measured beside every figure: without it no latency has a meaning."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SYNCS = 200
LOOP = 200_000
NOISY = 0.2  # of the median


def measure(folder: Path) -> dict[str, Any]:
    """Sync time of the disk under ``folder``, a fixed CPU loop, load average; takes about a second."""
    syncs = _sync_ms(folder)
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "fsync_p50_ms": round(statistics.median(syncs), 3),
        "fsync_p99_ms": round(percentile(syncs, 99), 3),
        "cpu_loop_us": round(_cpu_loop_us(), 1),
        "load": _load(),
    }


def report(folder: Path, cases: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The whole of a benchmark: its cases, which are measured as they are asked for, and the machine around them.

    Args:
        folder: on the disk whose sync time is reported.
    """
    box = measure(folder)
    measured = list(cases)
    return {"version": 1, "box": {**box, "load_after": _load()}, "cases": measured}


def spread(values: Iterable[float], digits: int) -> dict[str, float]:
    """The median of a figure over the rounds, and how far apart they lie."""
    figures = list(values)
    return {
        "median": round(statistics.median(figures), digits),
        "min": round(min(figures), digits),
        "max": round(max(figures), digits),
    }


def is_noisy(figure: dict[str, float]) -> bool:
    """Whether the rounds of a `spread` lie too far apart to say much."""
    return bool(figure["median"] and (figure["max"] - figure["min"]) / figure["median"] > NOISY)


def percentile(values: list[float], percent: float) -> float:
    """The value that ``percent`` of ``values`` do not exceed; 0.0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _sync_ms(folder: Path) -> list[float]:
    block = b"\0" * 4096
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times


def _cpu_loop_us() -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        total = 0
        for value in range(LOOP):
            total += value
        best = min(best, time.process_time() - began)
    return best * 1e6 / (LOOP / 1000)
