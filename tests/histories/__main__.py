"""`make histories`: random histories through the real daemon, and a model that says what must hold at the end.

    python -m tests.histories [--count 200] [--seed 1] [--keep] [--against CHECKOUT [--results]] [--only SEED]
                              [--replay FILE] [--write] [--calls]
                              [--samples COUNT] [--sample SEED ...] [--shifts COUNT] [--shift SEED ...]
                              [--materials COUNT] [--material SEED ...] [--shapes COUNT] [--shape SEED ...]

What breaks an invariant is printed by invariant, with the seed of each history: `--only 1/0/17` plays that one alone.
`--keep` shrinks the first of each kind into ``tests/histories/found``, which the tests replay. `--against` asks the
program of another checkout, which has a ``.venv`` of its own. `--write` keeps the figures in
docs/figures-histories.md. A quarter as many histories are of samples (`tests.histories.samples`), whose faults of today
are known; `--sample 23` plays that one alone. An eighth as many are shifts, with controls, wrong clocks and alarms;
`--shift 23` plays that one alone; as many are of several materials, and as many have what makers put into other places
than the standard (`--material`, `--shape`). As many as of samples are played in one process, and of a plain one nothing
may be held (`tests.histories.beside`). `--calls` plays all of them without a daemon (`tests.histories.called`), and
without orders: the same is asked of them, but for alerts that are sent, at a part of the cost. Exit code 1 where
something was broken that is not known.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.histories.beside import play_all as play_beside
from tests.histories.generate import batch, batches, history
from tests.histories.history import Batch, as_json, from_json
from tests.histories.model import Fault
from tests.histories.orders_model import EVERY
from tests.histories.play import Ending, play_alone
from tests.histories.product import ROOT
from tests.histories.samples.draw import history as history_of_samples
from tests.histories.samples.draw import shift
from tests.histories.samples.materials import materials
from tests.histories.samples.run import STRIDE, play_all, seeds_of
from tests.histories.samples.shapes import history as shapes
from tests.histories.shrink import breaks, shrink, told
from tools import figures

# ... and their share.
DRAWN = {"samples": (history_of_samples, 4), "shifts": (shift, 8), "materials": (materials, 8), "shapes": (shapes, 8)}
FOUND = Path(__file__).with_name("found")
EXAMPLES = 4
_Broken = tuple[str, Batch, Ending, Fault]  # seed of the history


def main() -> int:
    asked = _arguments()
    alone = {what: getattr(asked, what[:-1]) for what in DRAWN}
    if any(alone.values()):
        return int(sum(_samples(asked, what, seeds) for what, seeds in alone.items()) > 0)
    began, began_on = time.monotonic(), figures.measured()
    counts: Counter[str] = Counter()
    broken: dict[str, list[_Broken]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="labrelay-histories-") as temporary,
        ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool,
    ):
        drawn = _batches(asked)
        folders = [Path(temporary) / str(number) for number in range(len(drawn))]
        played = pool.map(partial(play_alone, called=asked.calls), drawn, [asked.against] * len(drawn), folders)
        for one, endings in zip(drawn, played, strict=True):
            for place, ending in enumerate(endings):
                _count(ending, counts)
                seed = asked.only or f"{one.seed}/{place}"
                for fault in {fault.invariant: fault for fault in reversed(ending.faults)}.values():
                    broken[fault.invariant].append((seed, one, ending, fault))
            wrong = [place for place, ending in enumerate(endings) if ending.faults]
            which = f" ({', '.join(f'{one.seed}/{place}' for place in wrong)})" if wrong else ""
            _say(f"{one.seed}: {len(endings)} histories, {len(wrong)} broken{which} ({time.monotonic() - began:.0f} s)")
        for invariant in sorted(broken, key=EVERY.index):
            _tell(invariant, broken[invariant])
        if asked.keep:
            _keep(broken, asked.against, Path(temporary) / "shrink")
    seconds = time.monotonic() - began
    found = ", ".join(f"{name} {len(broken[name])}" for name in EVERY if name in broken) or "nothing"
    counted = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    if asked.write:
        played_of = "histories of results alone" if asked.results else "histories"
        played_of += " by calls" if asked.calls else ""
        messages = counts["messages acknowledged"]
        row = (played_of, asked.seed, counts["histories"], messages, found, f"{seconds:.0f} s", began_on)
        figures.write("histories", "Histories", ("played", "seed", "number", "messages", "broken", "time"), [row])
    _say(f"seed {asked.only or asked.seed}: {counted}; broken: {found}; {seconds:.0f} s")
    if asked.only or asked.replay:
        return int(bool(broken))
    new = sum(_samples(asked, what, seeds_of(asked.seed, getattr(asked, what))) for what in DRAWN) > 0
    if asked.against == ROOT and not asked.calls:
        _say("\nheld in one process, by reason:")
        new |= play_beside(asked.seed % STRIDE, asked.samples, _say)
    return int(bool(broken) or new)


def _samples(asked: argparse.Namespace, what: str, seeds: Sequence[int]) -> bool:
    """Whether something was broken that is not known."""
    if not seeds:
        return False
    with (
        tempfile.TemporaryDirectory(prefix="labrelay-samples-") as folder,
        ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool,
    ):
        return play_all(what, DRAWN[what][0], seeds, asked.against, Path(folder), pool, _say, called=asked.calls)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many histories (200)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is drawn (the time)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="daemons at once (one a processor)")
    parser.add_argument("--keep", action="store_true", help="shrink what is found, and keep it")
    parser.add_argument("--against", type=Path, default=ROOT, metavar="CHECKOUT", help="another checkout's program")
    parser.add_argument("--results", action="store_true", help="of results alone, for a program without orders")
    parser.add_argument("--calls", action="store_true", help="without orders, by calls: no daemon, no sockets")
    parser.add_argument("--only", default="", metavar="SEED", help="one history, as 1/0/17")
    parser.add_argument("--replay", type=Path, nargs="+", default=[], metavar="FILE", help="kept histories")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/figures-histories.md")
    for what, (_, share) in DRAWN.items():
        parser.add_argument(f"--{what}", type=int, default=None, help=f"how many {what} (--count / {share})")
        parser.add_argument(f"--{what[:-1]}", type=int, nargs="+", default=[], metavar="SEED", help="these alone")
    asked = parser.parse_args()
    asked.results |= asked.calls
    for what, (_, share) in DRAWN.items():
        if getattr(asked, what) is None:
            setattr(asked, what, asked.count // share)
    asked.against = asked.against.resolve()
    return asked


def _batches(asked: argparse.Namespace) -> list[Batch]:
    if asked.replay:
        return [replace(from_json(path.read_text(encoding="utf-8")), seed=path.name) for path in asked.replay]
    if asked.only:
        seed, number, _ = asked.only.split("/")
        return [replace(batch(int(seed), int(number), 0), histories=(history(asked.only, orders=not asked.results),))]
    return list(batches(asked.seed, asked.count, orders=not asked.results))


def _count(ending: Ending, counts: Counter[str]) -> None:
    counts["histories"] += 1
    counts["messages acknowledged"] += len(ending.seen.answered)
    for row in ending.seen.rows:
        states = {one.state for one in row.deliveries} or {row.state}
        counts.update(state for state in states)
        counts["acts"] += len(row.acts)


def _tell(invariant: str, some: list[_Broken]) -> None:
    _say(f"\n{invariant}: {len(some)} histories")
    shown: Counter[str] = Counter()
    for seed, _, ending, fault in some:
        shown[ending.history.name] += 1
        if shown[ending.history.name] == 1 or (ending.history.name == "mixed" and shown["mixed"] <= EXAMPLES):
            _say(f"  {seed:10} {ending.history.name}: {fault.words}")
    _say("  " + ", ".join(f"{name} {number}" for name, number in shown.most_common()))


def _keep(broken: dict[str, list[_Broken]], checkout: Path, folder: Path) -> None:
    """The smallest of each kind of scene and invariant."""
    done: set[tuple[str, str]] = set()
    for invariant in sorted(broken, key=EVERY.index):
        for seed, one, ending, _ in sorted(broken[invariant], key=lambda some: len(some[2].history.sends)):
            kind = (invariant, ending.history.name)
            if kind in done:
                continue
            small = shrink(ending.history, one.weather, invariant, breaks(invariant, checkout, folder))
            if small is None:
                _say(f"{seed}: not broken when it is played alone")
                continue
            done.add(kind)
            text = as_json(replace(small, seed=seed))
            name = f"{invariant.lower()}-{ending.history.name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}.json"
            (FOUND / name).write_text(text, encoding="utf-8")
            _say("\n".join([f"kept {name}", *(f"    {line}" for line in told(small))]))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
