"""The daemon under test: `labrelay --site DIR run`, which answers a line on its standard input with a line of counts.

Python keeps these counts anyway, so nothing is added to the way of a message. Only a benchmark starts the daemon in
this way: run as ``python -m workbench.bench.under_test --site DIR run``.
"""

import gc
import json
import os
import runpy
import sys
import threading

STDIN, STDOUT = 0, 1
REQUEST_BYTES = 64


def counts() -> dict[str, int]:
    """Collections of garbage so far, objects that they freed, and blocks of memory that are in use."""
    generations = gc.get_stats()
    return {
        "collections": sum(generation["collections"] for generation in generations),
        "collected": sum(generation["collected"] for generation in generations),
        "blocks": sys.getallocatedblocks(),
    }


def _answer() -> None:
    """On the descriptors themselves: a thread that waits in `sys.stdin` holds its lock when the process ends."""
    while os.read(STDIN, REQUEST_BYTES):
        os.write(STDOUT, json.dumps(counts()).encode() + b"\n")


if __name__ == "__main__":
    threading.Thread(target=_answer, name="counts", daemon=True).start()
    runpy.run_module("engine", run_name="__main__", alter_sys=True)
