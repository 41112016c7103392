"""What a budget's file may hold only falls: over every commit that changed it since it was introduced.

Beside each parent of such a commit, rows of a kind allow no more together, and a list of names loses no word. A new
row is free only for the lines of modules that are new with it.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from tools import history
from tools.budget import NAMED, NAMES, ROOMS, Counts, Row, read, vague_names
from tools.size import Module, code_lines

Grown = dict[str, str]
"""What has grown -> a sentence."""


def rooms_growth(rows: Mapping[str, Row], before: Mapping[str, Row], new_lines: Mapping[str, int]) -> Grown:
    """Kinds whose rows together allow more than before, and new rows without their reason.

    Args:
        new_lines: of each new row, the lines in modules that are new: these are not taken from another room.
    """
    grown: Grown = {}
    allowed, earlier = Counter[str](), Counter[str]()
    for row in rows.values():
        is_new = row.name not in before
        if is_new and not row.note:
            grown[row.name] = f"{row.name} is a new row, and does not say why"
        free = new_lines.get(row.name, 0) if is_new and row.note else 0
        allowed[_kind(row.name)] += max(row.most - free, 0)
    for row in before.values():
        earlier[_kind(row.name)] += row.most
    for kind, most in allowed.items():
        if most > earlier[kind]:
            grown[kind] = f"rows of {kind} allow {most} together, and allowed {earlier[kind]}"
    return grown


def names_growth(
    lists: Mapping[str, Row], before: Mapping[str, Row], recount: Callable[[Mapping[str, Row]], Counts]
) -> Grown:
    """Lists that lost a word, or allow more than before.

    Args:
        recount: what these lists count in the files that the figures of ``before`` are of. A rule that sees more, or
            a word more, explains a rise to that number.
    """
    grown: Grown = {}
    for name, earlier in before.items():
        row = lists.get(name)
        if row is None:
            grown[f"list {name}"] = f"the list {name} is gone"
            continue
        if lost := set(earlier.note.split()) - set(row.note.split()):
            grown[f"words of {name}"] = f"{name} lost {' '.join(sorted(lost))}: no word leaves its list"
        if row.most > earlier.most and row.most > recount(lists)[name]:
            grown[name] = f"{name} allows {row.most}, and allowed {earlier.most}"
    return grown


def growth_of(root: Path, path: Path) -> Iterator[str]:
    """What any commit since the file was introduced let grow beside a parent of it, and still stands in the checkout.

    Raises:
        ValueError: the repository cannot be read (`tools.history.gap` says why).
    """
    for revision, parent in history.changes(root, path):
        if grown := _growth(root, path, revision, parent):
            standing = _growth(root, path, history.CHECKOUT, parent)
            yield from (
                f"{path}, {revision[:12] or 'the checkout'}: {sentence}"
                for subject, sentence in grown.items()
                if subject in standing
            )


def _growth(root: Path, path: Path, revision: str, parent: str) -> Grown:
    """A revision without the file hides nothing: the checkout is held beside its parent instead."""
    before = read(history.text_at(root, parent, path))
    revision = revision if history.text_at(root, revision, path) else history.CHECKOUT
    rows = read(history.text_at(root, revision, path))
    if path == NAMES:
        return names_growth(rows, before, partial(_recount, root, parent))
    return rooms_growth(rows, before, _new_lines(root, revision, parent, rows.keys() - before.keys())) if before else {}


def _new_lines(root: Path, revision: str, parent: str, rows: Iterable[str]) -> Counts:
    """Lines of code of each row in modules that are new since the figures were last set."""
    counts = Counter[str]()
    for path in history.new_files(root, revision, history.last_change(root, parent, ROOMS)) if rows else ():
        for row in rows:
            if path.suffix == ".py" and f"{path.as_posix()}/".startswith(f"{row}/"):
                text = history.text_at(root, revision, path)
                counts[row] += code_lines(Module(path.as_posix(), text, ast.parse(text)))
    return counts


def _recount(root: Path, parent: str, lists: Mapping[str, Row]) -> Counts:
    """What the lists count in the commit that last set their figures, at ``parent`` or before."""
    with history.files_of(root, history.last_change(root, parent, NAMES), *NAMED) as files:
        return vague_names(files, lists)


def _kind(room: str) -> str:
    """Rooms between which lines may move: the program's, the tests', the documents', each list of names."""
    folder = room.partition("/")[0]
    return "the program" if folder in (*NAMED, "tools") else folder
