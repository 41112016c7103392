"""What the house may hold: lines of code of each room, words of the documents, names that say nothing.

    python -m tools.budget            what each room holds, and may hold
    python -m tools.budget --lower    lower each row to what its room holds now

`tests/house-budget.tsv` has a row for each room, `tests/vague-names.tsv` one for each list of words. The sum of a
kind's rows only falls (the program, tests, documents): who needs more lines takes them from another room in the same
commit. A new module or folder has a row of its own with the reason in it, and its lines are counted there.
`tools.growth` looks at every commit.
"""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tools.size import ROOT, code_lines, modules

ROOMS = Path("tests/house-budget.tsv")
NAMES = Path("tests/vague-names.tsv")
HEAD = {
    ROOMS: "# room\tmost: lines of code, of docs words\twhy a new one has its own\n",
    NAMES: "# names bound in engine, adapters, workbench\tmost\twords\n",
}
CODE = ("engine", "adapters", "workbench", "tools", "tests")
NAMED = ("engine", "adapters", "workbench")
SINGLE = "single"  # the list to which each name of one letter belongs, too
WORDS = "docs"  # the room that is counted in words
STORE = ast.Store()
NAME_OF: dict[type[ast.AST], str] = {
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler), "name"),
    **dict.fromkeys((ast.MatchAs, ast.MatchStar), "name"),
    ast.MatchMapping: "rest",
    ast.alias: "asname",
    ast.arg: "arg",
    ast.Name: "id",
    ast.Attribute: "attr",
}
"""Node -> its field with the name that it binds, if its context says so."""

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a budget.

    Attributes:
        most: what its room may hold.
        note: of a room why it is new; of a list its words.
    """

    name: str
    most: int
    note: str = ""


def read(text: str) -> dict[str, Row]:
    """
    Raises:
        ValueError: a line has another form; names the line.
    """
    rows: dict[str, Row] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("#"):
            name, most, note = [*line.split("\t"), "", ""][:3]
            if not most.isdecimal() or name in rows:
                raise ValueError(f"line {number}: expected a room once, then a tab and a number: {line!r}")
            rows[name] = Row(name, int(most), note)
    return rows


def written(path: Path, rows: Iterable[Row]) -> str:
    """The text of a budget's file; ``path`` is that in the checkout."""
    return HEAD[path] + "".join(f"{row.name}\t{row.most}\t{row.note}".rstrip("\t") + "\n" for row in rows)


def room_of(path: str) -> str:
    """`engine/store`, `engine/features/orders`, `tests/site`; `engine/*` of a module that lies flat."""
    parts = path.split("/")
    depth = 3 if path.startswith("engine/features/") else 2
    return "/".join(parts[:depth]) if len(parts) > depth else "/".join([*parts[:-1][:depth], "*"])


def rooms(root: Path, rows: Iterable[str] = ()) -> Counts:
    """What each room of a checkout holds; a module is counted in the row that names it, or the innermost folder."""
    own = sorted(rows, key=len, reverse=True)
    counts: Counter[str] = Counter()
    for module in modules(root, CODE):
        room = next((row for row in own if f"{module.path}/".startswith(f"{row}/")), room_of(module.path))
        counts[room] += code_lines(module)
    counts[WORDS] = sum(len(path.read_text(encoding="utf-8").split()) for path in (root / "docs").rglob("*.md"))
    return {room: count for room, count in counts.items() if count}


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Each name of a function, class, argument, variable, attribute, capture or import, each time that it is bound;
    without underscores around."""
    for node in ast.walk(tree):
        name = getattr(node, NAME_OF.get(type(node), ""), None)
        if name and isinstance(getattr(node, "ctx", STORE), ast.Store):
            yield name.strip("_").lower()


def vague_names(root: Path, lists: Mapping[str, Row]) -> Counts:
    """How often a name is bound that is a word of a list."""
    words = {name: set(row.note.split()) for name, row in lists.items()}
    counts = Counter(dict.fromkeys(lists, 0))
    for path in (path for folder in NAMED for path in (root / folder).rglob("*.py")):
        for bound, times in _bound_in(path.read_text(encoding="utf-8")).items():
            for name in lists:
                if bound in words[name] or (name == SINGLE and len(bound) == 1):
                    counts[name] += times
    return dict(counts)


@cache
def _bound_in(text: str) -> Counter[str]:
    """Of a module; most modules of two commits are the same."""
    return Counter(bound_names(ast.parse(text)))


def excess(counts: Counts, rows: Mapping[str, Row]) -> Iterator[str]:
    """A sentence for each room that holds more than it may."""
    for room, count in counts.items():
        if room not in rows:
            yield f"{room} has no row, and holds {count}"
        elif count > rows[room].most:
            yield f"{room} holds {count}, and may hold {rows[room].most}"


def lowered(counts: Counts, rows: Mapping[str, Row]) -> Iterator[Row]:
    """Rows at what their rooms hold, where that is less; without rooms that are gone."""
    for row in rows.values():
        if row.name in counts:
            yield replace(row, most=min(row.most, counts[row.name]))


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lower", action="store_true", help="lower each row to what its room holds")
    options = parser.parse_args(arguments)
    from tools.growth import growth_of
    from tools.history import gap

    over: list[str] = []
    if reason := gap(root):
        print(f"growth in earlier commits is not looked at: {reason}", file=sys.stderr)
    for path in (ROOMS, NAMES):
        rows, counts = held(root, path)
        over += [*excess(counts, rows), *(() if reason else growth_of(root, path))]
        if options.lower:
            (root / path).write_text(written(path, lowered(counts, rows)), encoding="utf-8")
        for row in rows.values():
            print(f"{row.name:36}{counts.get(row.name, 0):>8,} of {row.most:>8,}")
    print(*over, sep="\n", file=sys.stderr)
    return 1 if over else 0


def held(root: Path, path: Path) -> tuple[dict[str, Row], Counts]:
    """The rows of a budget's file, and what they hold."""
    rows = read((root / path).read_text(encoding="utf-8"))
    return rows, rooms(root, rows) if path == ROOMS else vague_names(root, rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
