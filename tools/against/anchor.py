"""The anchor: a commit that each later one is measured beside, so that many small steps cannot add up.

`anchor.yaml` has a record for each move, the newest last. The anchor moves to a cheaper commit only, beside the least
that any anchor counted; once, where a mechanism is taken out, to a dearer one, from which counting begins anew.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tools.history import changes, git, text_at

FILE = Path(__file__).with_name("anchor.yaml")
SAME = 1.01  # counts of two runs of a program differ by less
MECHANISM = 1.10
LEAST = 1.0  # a count below is none that two commits are compared by

Move = dict[str, Any]
"""``commit``, ``date``, ``machine``, ``load``, ``reason``, ``counts``; ``mechanism: true`` of the one dear move."""


def read(text: str) -> list[Move]:
    return list(yaml.safe_load(text) or ())


def order_faults(root: Path, moves: Sequence[Move], path: Path) -> Iterator[str]:
    """Each anchor is an ancestor of the next one, the last of HEAD; no earlier text of the file is rewritten.

    Raises:
        ValueError: the repository cannot be read.
    """
    for before, after in pairwise([*(move["commit"] for move in moves), git(root, "rev-parse", "HEAD")]):
        if git(root, "rev-list", "-1", before, f"^{after}"):
            yield f"the anchor {before} is no ancestor of {after}"
    for _, parent in changes(root, path):
        earlier = read(text_at(root, parent, path))
        if list(moves[: len(earlier)]) != earlier:
            yield f"the moves at {parent} are not these any more"


def faults(moves: Sequence[Move]) -> Iterator[str]:
    """What is wrong with the moves, a sentence each. Pure."""
    if sum(bool(move.get("mechanism")) for move in moves) > 1:
        yield "the anchor moved to a dearer commit more than once"
    for move in moves:
        if not str(move.get("reason", "")).strip():
            yield f"{move['commit']}: a move needs its reason"
    least: dict[str, float] = {}
    for before, after in pairwise(moves):
        counted = _flat(after)
        was = _flat(before)
        old = {} if before.get("mechanism") else least
        least = old | {name: min(count, old.get(name, count)) for name, count in was.items()}
        most = MECHANISM if after.get("mechanism") else SAME
        for name, count in least.items():
            if count < LEAST:
                continue
            if name not in counted:
                yield f"{after['commit']}: {name} is not counted any more"
            elif counted[name] > most * count:
                ratio = counted[name] / count
                yield f"{after['commit']}: {name} is {ratio:.3f} of an anchor before; at most {most} is allowed"
        is_lower = any(counted.get(name, count) < (2 - SAME) * count for name, count in was.items())
        if not after.get("mechanism") and not is_lower:
            yield f"{after['commit']}: no count is lower than that of the anchor before"


def _flat(move: Move) -> dict[str, float]:
    counts: dict[str, dict[str, float]] = move["counts"]
    return {f"{kind}, {name}": count for kind, own in counts.items() for name, count in own.items()}


def record(path: Path, move: Move) -> None:
    """Add a move.

    Raises:
        ValueError: it is not allowed; the file stays as it was.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if wrong := list(faults([*read(text), move])):
        raise ValueError("the anchor stays where it is: " + "; ".join(wrong))
    path.write_text(text + yaml.safe_dump([move], sort_keys=False, width=110), encoding="utf-8")
