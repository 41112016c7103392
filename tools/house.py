"""Draw the house: the rooms of `engine`, on which floor each stands, and which imports which.

    python tools/house.py            floors, arrows, arrows upward, features by lines of code
    python tools/house.py --pairs    and the modules behind each arrow upward

A room is a folder of `engine`; all features are one. An arrow is a room that imports another, for types too. A room
stands above all that it imports; rooms that import each other share a floor. An arrow upward goes from a room to one
that comes later in `ORDER`.
"""

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.size import ROOT, Module, code_lines, modules

ORDER = (
    *("feature", "model", "succession", "config", "mapping", "store", "delivery", "receiving", "diagnostics"),
    *("processing", "monitoring", "actions", "views", "web", "runtime", "commands", "features"),
)

Arrows = Mapping[tuple[str, str], set[tuple[str, str]]]


def room(name: str) -> str:
    """The room of a module; empty of one that lies in none."""
    parts = name.split(".")
    return parts[1] if parts[0] == "engine" and len(parts) > 1 and parts[1] in ORDER else ""


def imported(module: Module, known: Mapping[str, Module]) -> Iterator[str]:
    """The modules that a module imports, at any place in it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [one for one in inner if one in known] or [node.module or ""]


def arrows(found: Mapping[str, Module]) -> Arrows:
    """Room and room -> the modules behind it."""
    drawn: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for name, module in found.items():
        for other in imported(module, found):
            pair = (room(name), room(other))
            if all(pair) and pair[0] != pair[1]:
                drawn[pair].add((name, other))
    return drawn


def upward(drawn: Arrows) -> Arrows:
    return {pair: why for pair, why in drawn.items() if ORDER.index(pair[0]) < ORDER.index(pair[1])}


def floors(drawn: Arrows, rooms: set[str]) -> dict[str, int]:
    """The floor of each room, 1 the ground; arrows upward are left out."""
    below: dict[str, set[str]] = {one: set() for one in rooms}
    for above, other in drawn.keys() - upward(drawn).keys():
        below[above].add(other)
    found: dict[str, int] = {}
    for one in sorted(rooms, key=ORDER.index):
        found[one] = 1 + max((found[other] for other in below[one]), default=0)
    return found


def told(root: Path, *, pairs: bool = False) -> Iterator[str]:
    """The picture, a line each."""
    every = list(modules(root))
    found = {module.name: module for module in every}
    lines: Counter[str] = Counter()
    for name, module in found.items():
        lines[room(name)] += code_lines(module)
        if room(name) == "features" and name.count(".") > 1:
            lines[f"features/{name.split('.')[2]}"] += code_lines(module)
    drawn, rooms = arrows(found), {room(name) for name in found} - {""}
    risen = upward(drawn)
    stand = floors(drawn, rooms)
    yield f"{len(rooms)} rooms, {max(stand.values())} floors, {len(drawn)} arrows, {len(risen)} upward"
    for floor in sorted(set(stand.values()), reverse=True):
        here = [one for one in ORDER if stand.get(one) == floor]
        yield f"{floor:>4}  " + ", ".join(f"{one} {lines[one]:,}" for one in here)
    for (above, other), why in sorted(risen.items()):
        yield f"upward  {above} -> {other}: {len(why)}"
        if pairs:
            yield from (f"          {one} -> {another}" for one, another in sorted(why))
    yield from (f"{name:<30}{count:>8,}" for name, count in sorted(lines.items()) if "/" in name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="store_true")
    print(*told(ROOT, pairs=parser.parse_args().pairs), sep="\n")


if __name__ == "__main__":
    main()
