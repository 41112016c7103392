"""What the house may hold: lines of code of each room, words of the documents, names that say nothing.

    python -m tools.budget            what each room holds, and may hold
    python -m tools.budget --lower    lower each row to what its room holds now

`tests/house-budget.tsv` has a row for each room, `tests/vague-names.tsv` one for each list of words. A row falls, and
does not rise. Who needs more lines takes them from another room in the same commit. A new feature, a folder or a
module, has a row of its own with the reason in it, and its lines are counted there.
"""

import argparse
import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.size import ROOT, Module, code_lines

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


def modules(root: Path, folders: Iterable[str]) -> Iterator[Module]:
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield Module(path.relative_to(root).as_posix(), text, ast.parse(text))


def rooms(root: Path, rows: Iterable[str] = ()) -> Counts:
    """What each room of a checkout holds; a module is counted in the row that names it, or the innermost folder."""
    own = sorted((row for row in rows if row.count("/") > 1), key=len, reverse=True)
    counts: Counter[str] = Counter()
    for module in modules(root, CODE):
        room = next((row for row in own if f"{module.path}/".startswith(f"{row}/")), room_of(module.path))
        counts[room] += code_lines(module)
    counts[WORDS] = sum(len(path.read_text(encoding="utf-8").split()) for path in (root / "docs").rglob("*.md"))
    return {room: count for room, count in counts.items() if count}


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Names of functions, classes, arguments and variables, each time that one is bound; without underscores around."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name.strip("_").lower()
        elif isinstance(node, ast.arg):
            yield node.arg.strip("_").lower()
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id.strip("_").lower()


def vague_names(root: Path, lists: Mapping[str, Row]) -> Counts:
    """How often a name is bound that is a word of a list."""
    words = {word: name for name, row in lists.items() for word in row.note.split()}
    counts = Counter(dict.fromkeys(lists, 0))
    for module in modules(root, NAMED):
        for name in bound_names(module.tree):
            if group := words.get(name) or (SINGLE if len(name) == 1 else None):
                counts[group] += 1
    return dict(counts)


def excess(counts: Counts, rows: Mapping[str, Row]) -> Iterator[str]:
    """A sentence for each room that holds more than it may."""
    for room, count in counts.items():
        if room not in rows:
            yield f"{room} has no row, and holds {count}"
        elif count > rows[room].most:
            yield f"{room} holds {count}, and may hold {rows[room].most}"


def growth(rows: Mapping[str, Row], before: Mapping[str, Row]) -> Iterator[str]:
    """A sentence for each kind whose rows together allow more than before, and for a new row without its reason."""
    allowed, earlier = Counter[str](), Counter[str]()
    for row in rows.values():
        if row.name in before or not row.note:
            allowed[_kind(row.name)] += row.most
        if row.name not in before and not row.note and before:
            yield f"{row.name} is a new row, and does not say why"
    for row in before.values():
        earlier[_kind(row.name)] += row.most
    for kind, most in allowed.items():
        if before and most > earlier[kind]:
            yield f"rows of {kind} allow {most} together, and allowed {earlier[kind]}: take it from another room"


def _kind(room: str) -> str:
    """Rooms between which lines may move: the program's, the tests', the documents', each list of names."""
    folder = room.partition("/")[0]
    return "the program" if folder in (*NAMED, "tools") else folder


def text_before(path: Path, root: Path = ROOT) -> str:
    """A file as it was: in the last commit where it has been changed since, else in the one before. Empty: there was
    none."""
    for commit in ("HEAD", "HEAD^"):
        done = subprocess.run(  # noqa: S603
            ["git", "show", f"{commit}:{path}"],  # noqa: S607
            cwd=root,
            check=False,
            capture_output=True,
        )
        text = done.stdout.decode() if done.returncode == 0 else ""
        if text != (root / path).read_text(encoding="utf-8"):
            return text
    return text


def lowered(counts: Counts, rows: Mapping[str, Row]) -> Iterator[Row]:
    """Rows at what their rooms hold, where that is less; without rooms that are gone."""
    for row in rows.values():
        if row.name in counts:
            yield replace(row, most=min(row.most, counts[row.name]))


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lower", action="store_true", help="lower each row to what its room holds")
    options = parser.parse_args(arguments)
    over: list[str] = []
    for path in (ROOMS, NAMES):
        rows = read((root / path).read_text(encoding="utf-8"))
        counts = rooms(root, rows) if path == ROOMS else vague_names(root, rows)
        over += [*excess(counts, rows), *growth(rows, read(text_before(path, root)))]
        if options.lower:
            (root / path).write_text(written(path, lowered(counts, rows)), encoding="utf-8")
        for row in rows.values():
            print(f"{row.name:36}{counts.get(row.name, 0):>8,} of {row.most:>8,}")
    print(*over, sep="\n", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
