"""The anchor: a commit that each later one is measured beside, so that many small steps cannot add up.

`anchor.yaml` has a record for each move, the newest last. The anchor moves to a cheaper commit only; once, where a
mechanism is taken out, to a dearer one.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("anchor.yaml")
SAME = 1.01  # counts of two runs of a program differ by less
MECHANISM = 1.10
LEAST = 1.0  # a count below is none that two commits are compared by

Move = dict[str, Any]
"""``commit``, ``date``, ``machine``, ``load``, ``reason``, ``counts``; ``mechanism: true`` of the one dear move."""


def moves(text: str) -> list[Move]:
    return list(yaml.safe_load(text))


def faults(history: Sequence[Move]) -> Iterator[str]:
    """What is wrong with the moves, a sentence each. Pure."""
    if sum(bool(move.get("mechanism")) for move in history) > 1:
        yield "the anchor moved to a dearer commit more than once"
    for move in history:
        if not str(move.get("reason", "")).strip():
            yield f"{move['commit']}: a move needs its reason"
    for before, after in pairwise(history):
        most = MECHANISM if after.get("mechanism") else SAME
        ratios = dict(_ratios(before["counts"], after["counts"]))
        for name, ratio in ratios.items():
            if ratio > most:
                yield f"{after['commit']}: {name} is {ratio:.3f} of the anchor before; at most {most} is allowed"
        if not after.get("mechanism") and min(ratios.values(), default=1.0) >= 2 - SAME:
            yield f"{after['commit']}: no count is lower than that of the anchor before"


def _ratios(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for kind, counts in before.items():
        for name, count in counts.items():
            if count >= LEAST:
                yield f"{kind}, {name}", after[kind][name] / count


def record(path: Path, move: Move) -> None:
    """Add a move.

    Raises:
        ValueError: it is not allowed; the file stays as it was.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    history = [*(moves(text) if text.strip() else ()), move]
    if wrong := list(faults(history)):
        raise ValueError("the anchor stays where it is: " + "; ".join(wrong))
    path.write_text(text + yaml.safe_dump([move], sort_keys=False, width=110), encoding="utf-8")
