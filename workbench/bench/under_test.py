"""The daemon under test: `labrelay --site DIR run`, which answers a line on its standard input with a line of counts.

    python -P under_test.py PROBE --site DIR run

`PROBES` has what can be counted. ``usage`` asks for counts that Python keeps anyway, so nothing is added to the way of
a message; each other probe makes messages slower, and is for a run of its own. Another version of LabRelay runs under
this file, too: it imports the standard library alone, and what a probe names.
"""

import copy
import gc
import itertools
import json
import os
import runpy
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

STDIN, STDOUT = 0, 1
REQUEST_BYTES = 4096

Answer = Callable[[str], dict[str, int]]
"""From a line to the counts so far."""


def usage() -> Answer:
    """Collections of garbage so far, objects that they freed, and blocks of memory that are in use."""

    def answer(_: str) -> dict[str, int]:
        generations = gc.get_stats()
        return {
            "collections": sum(generation["collections"] for generation in generations),
            "collected": sum(generation["collected"] for generation in generations),
            "blocks": sys.getallocatedblocks(),
        }

    return answer


def statements() -> Answer:
    """SQL statements that SQLite has run, also those of triggers."""
    counter = itertools.count()
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda _: next(counter) and None)
        return connection

    vars(sqlite3)["connect"] = traced
    return lambda _: {"statements": next(copy.copy(counter))}


def calls() -> Answer:
    """Calls of functions in all threads, each resumption of a generator counted; of Python, and of C."""
    python, native = itertools.count(), itertools.count()

    def note(_frame: object, event: str, _argument: object) -> None:
        if event == "call":
            next(python)
        elif event == "c_call":
            next(native)

    threading.setprofile(note)
    sys.setprofile(note)
    return lambda _: {"python_calls": next(copy.copy(python)), "native_calls": next(copy.copy(native))}


def allocations() -> Answer:
    """Allocations and releases of memory between a line ``begin`` and the next line, as memray counts them."""
    import memray

    file = Path(tempfile.mkdtemp()) / "allocations"
    tracker: memray.Tracker | None = None

    def answer(line: str) -> dict[str, int]:
        nonlocal tracker
        if line == "begin":
            destination = memray.FileDestination(file, overwrite=True, compress_on_exit=False)
            tracker = memray.Tracker(destination=destination, trace_python_allocators=True)
            tracker.__enter__()
            return {"allocations": 0}
        if tracker is None:
            return {"allocations": 0}
        tracker.__exit__(None, None, None)
        tracker = None
        with memray.FileReader(file) as reader:
            return {"allocations": reader.metadata.total_allocations}

    return answer


def processing() -> Answer:
    """Time of `engine.processing.process.process` for a batch, in microseconds of CPU and wall.

    A batch is a line ``CHANNEL FILE``. FILE holds a JSON list of payloads as texts of latin-1. The channel must have
    processed a message before: its other values are taken from that.
    """
    from engine.processing import process as module

    process = module.process
    examples: dict[str, tuple[Any, Any]] = {}

    def noting(stored: Any, channel: Any) -> Any:
        examples[channel.channel] = stored, channel
        return process(stored, channel)

    module.process = noting

    def answer(line: str) -> dict[str, int]:
        name, file = line.split()
        example, channel = examples[name]
        payloads = json.loads(Path(file).read_text(encoding="utf-8"))
        batch = [replace(example, payload=payload.encode("latin-1")) for payload in payloads]
        states = set()
        gc.collect()
        began, wall_began = time.thread_time_ns(), time.perf_counter_ns()
        for stored in batch:
            states.add(process(stored, channel).state)
        cpu, wall = time.thread_time_ns() - began, time.perf_counter_ns() - wall_began
        if states != {"mapped"}:
            raise RuntimeError(f"messages of the bench are to be mapped, these are: {', '.join(sorted(states))}")
        return {"CPU us": cpu // 1000, "wall us": wall // 1000}

    return answer


PROBES = {probe.__name__: probe for probe in (usage, statements, calls, allocations, processing)}


def _answer(answer: Answer) -> None:
    """On the descriptors themselves: a thread that waits in `sys.stdin` holds its lock when the process ends."""
    while line := os.read(STDIN, REQUEST_BYTES):
        os.write(STDOUT, json.dumps(answer(line.decode().strip())).encode() + b"\n")


if __name__ == "__main__":
    threading.Thread(target=_answer, args=(PROBES[sys.argv.pop(1)](),), name="counts", daemon=True).start()
    runpy.run_module("engine", run_name="__main__", alter_sys=True)
