"""Random interleavings of questions, orders, changes, cancels, results, reconnects, kills, lost and damaged bytes.

    python -m tests.interleavings [--count 10000] [--seed 1] [--only 1/17] [--jobs 2] [--write]

Prints what broke which rule, with the seed of each: `--only 1/17` plays that one alone. `--write`
keeps the figures in docs/figures-histories.md. Exit code 1 if so.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.interleavings.several import play
from tools import figures

AT_ONCE = 100  # interleavings on one journal
MEMORY = Path("/dev/shm")  # where a sync costs nothing; kills are played between commits


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleavings", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many interleavings (10,000)")
    parser.add_argument("--seed", type=int, default=None, help="of all that is drawn (the time)")
    parser.add_argument("--only", default="", metavar="SEED", help="one interleaving, as 1/17")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one a processor)")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/figures-histories.md")
    asked = parser.parse_args()
    began, began_on = time.monotonic(), figures.measured()
    seed = int(time.time()) if asked.seed is None else asked.seed
    seeds = [asked.only] if asked.only else [f"{seed}/{number}" for number in range(asked.count)]
    parts = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    counts: Counter[str] = Counter()
    broken: list[tuple[str, str]] = []
    base = Path(tempfile.mkdtemp(prefix="labrelay-interleavings-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
            folders = [base / str(number) for number in range(len(parts))]
            for part, (counted, wrong) in zip(folders, pool.map(play, parts, folders), strict=True):
                counts += counted
                broken += wrong
                shutil.rmtree(part, ignore_errors=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for one, words in broken:
        print(f"{one}: {words}", flush=True)
    counted = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    seconds = time.monotonic() - began
    if asked.write:
        row = ("interleavings", seed, len(seeds), counted, len(broken), f"{seconds:.0f} s", began_on)
        figures.write("histories", "Interleavings", ("played", "seed", "number", "in them", "broken", "time"), [row])
    print(f"seed {asked.only or seed}: {counted}; broken: {len(broken)}; {seconds:.0f} s")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
