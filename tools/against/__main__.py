"""The command of `tools.against`."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tools.against import __doc__ as described
from tools.against import anchor, counting, timing
from tools.against.programs import ROOT, full_hash, is_changed, program_of, this_program
from tools.against.verdict import Comparison, compared, lines, lower
from workbench.bench.processes import Program

Figures = list[tuple[str, list[timing.Turns]]]
"""Groups of figures, with the figures of each program."""

SECONDS = 4.0  # of load over sockets, for each program and turn


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.against", description=(described or "").split("\n")[0])
    parser.add_argument("ref", nargs="*", help="commits; without any, the parent and the anchor")
    parser.add_argument("--gate", action="store_true", help="counts and time in process alone")
    parser.add_argument("--move-anchor", metavar="REASON", help="make HEAD the anchor, if its counts are lower")
    parser.add_argument("--mechanism", action="store_true", help="... or, once, up to 1.10 times as high")
    options = parser.parse_args(arguments)
    if options.move_anchor and options.ref:
        parser.error(f"--move-anchor takes its reason in quotes, and no commit: {' '.join(options.ref)}")
    try:
        with tempfile.TemporaryDirectory(prefix="labrelay-against-") as folder:
            if options.move_anchor:
                return _move_anchor(Path(folder), options.move_anchor, mechanism=options.mechanism)
            return _compare(Path(folder), options.ref or ["HEAD^", _anchor()], gate=options.gate)
    except ValueError as error:
        parser.error(str(error))


def _anchor() -> str:
    moves = anchor.read(anchor.FILE.read_text(encoding="utf-8"))
    if wrong := list(anchor.order_faults(ROOT, moves, anchor.FILE.relative_to(ROOT))):
        raise ValueError("; ".join(wrong))
    return str(moves[-1]["commit"])


def _compare(folder: Path, refs: Sequence[str], *, gate: bool) -> int:
    names = {full_hash(ref): ref for ref in refs}
    names = {commit: ref for commit, ref in names.items() if is_changed(commit)}
    if not names:
        _say("the program is the same as theirs")
        return 0
    programs = [this_program(), *map(program_of, names)]
    figures = [("counts", _counts(programs, folder)), *_times(programs, folder / "process")]
    if not gate:
        figures.append(("sockets", timing.over_sockets(programs, folder / "sockets", _say, seconds=SECONDS)))
        figures += _split(timing.starts(programs, folder / "start", _say), {"memory": "memory", "start": ""})
    beside = [_beside(figures, place) for place in range(1, len(programs))]
    if any(each.is_over for comparisons in beside for each in comparisons):
        _say("a figure is over its limit: counts and times in process once more")  # it fails where both runs are over
        again = [("counts", _counts(programs, folder / "again")), *_times(programs, folder / "again")]
        beside = [lower(each, _beside(again, place)) for place, each in enumerate(beside, 1)]
    over = 0
    for comparisons, (commit, ref) in zip(beside, names.items(), strict=True):
        print(f"\nThis checkout beside {ref} ({commit[:12]}), {_machine()}", *lines(comparisons), sep="\n", flush=True)
        over += _report_excess(comparisons, ref)
    return 1 if over else 0


def _times(programs: Sequence[Program], folder: Path) -> Figures:
    groups = {"in process, CPU": ", CPU", "in process, wall": ", wall"}
    return _split(timing.in_process(programs, folder, _say), groups)


def _split(measured: Sequence[timing.Turns], groups: Mapping[str, str]) -> Figures:
    """Each figure in the first group whose text is in its name."""
    group_of = {name: next(group for group, text in groups.items() if text in name) for name in measured[0]}
    return [
        (group, [{name: turns for name, turns in each.items() if group_of[name] == group} for each in measured])
        for group in groups
    ]


def _beside(figures: Figures, place: int) -> list[Comparison]:
    return [each for group, measured in figures for each in compared(group, measured[0], measured[place])]


def _report_excess(comparisons: Sequence[Comparison], ref: str) -> int:
    excess = [each for each in comparisons if each.is_over]
    for each in excess:
        print(f"DEARER than {ref}: {each.group}, {each.name}: {each.ratio:.3f}", file=sys.stderr)
    return len(excess)


def _counts(programs: Sequence[Program], folder: Path) -> list[timing.Turns]:
    """Of two programs at a time: counts do not depend on the clock."""
    _say("counts: statements, calls, allocations, bytes, syncs")
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(counting.counts_of, programs, [folder / f"counts-{n}" for n, _ in enumerate(programs)]))
    return [
        {f"{kind}, {name}": [count] for kind, own in each.items() for name, count in own.items()} for each in counts
    ]


def _move_anchor(folder: Path, reason: str, *, mechanism: bool) -> int:
    commit = full_hash("HEAD")
    if is_changed(commit):
        raise ValueError("the program has changes that are not committed")
    _anchor()  # HEAD descends from it
    counts = counting.counts_of(this_program(), folder)
    move: anchor.Move = {
        "commit": commit,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": _machine(),
        "load": round(os.getloadavg()[0], 1),
        "reason": reason,
        **({"mechanism": True} if mechanism else {}),
        "counts": {kind: {name: round(count, 3) for name, count in own.items()} for kind, own in counts.items()},
    }
    anchor.record(anchor.FILE, move)
    return 0


def _machine() -> str:
    return f"{os.cpu_count()} CPUs, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))}: exit code {error.returncode}")
