"""Tables of measured figures, in `docs/figures-NAME.md`. A run renews the rows that it has measured, and no others.

A page is a heading with a line about it, and sections with one table each:

    ## Section
    | key | ... | measured |

The first cell is the key of a row. The last one says when and on what it was measured, so each row keeps its own date.
"""

import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

FIGURES = Path(__file__).resolve().parents[1] / "docs"
MEASURED = "measured"
_CELLS = re.compile(r"(?<!\\)\|")


def measured(folder: Path = FIGURES) -> str:
    """The cell of this moment and machine; nothing in it names the machine.

    Args:
        folder: on the disk that is measured.
    """
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{len(os.sched_getaffinity(0))} CPUs at load {os.getloadavg()[0]:.1f}, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {_file_system(folder)}"
    )


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    within = f"{folder.resolve()}/"
    return max((len(at), kind) for _, at, kind, *_ in mounts if within.startswith(f"{at.rstrip('/')}/"))[1]


def write(
    page: str,
    section: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    order: Sequence[str] = (),
    folder: Path = FIGURES,
) -> Path:
    """Renew rows of one table, and make the table where it is not there.

    Args:
        columns: headings; ``MEASURED`` is added.
        rows: each as long as the headings with ``MEASURED``.
        order: keys in the order of the table; other keys come after them, as they came.

    Raises:
        ValueError: the table on the page has other columns, a row has another length, or two rows have one key.
    """
    path = folder / f"figures-{page}.md"
    headings = [*columns, MEASURED]
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# Figures: {page}\n"
    head, found, rest = text.partition(f"\n## {section}\n")
    table, more, tail = rest.partition("\n## ")
    kept, about, after = parsed(table)
    if kept and kept[0] != headings:
        raise ValueError(f"{path.name}, {section}: the table has the columns {kept[0]}, this run {headings}")
    by_key = {row[0]: row for row in kept[1:]}
    renewed: set[str] = set()
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"{path.name}, {section}: {len(row)} cells for {len(headings)} columns: {row}")
        cells = [_cell(one) for one in row]
        if cells[0] in renewed:
            raise ValueError(f"{path.name}, {section}: two rows have the key {cells[0]}")
        renewed.add(cells[0])
        by_key[cells[0]] = cells
    keys = [key for key in order if key in by_key] + [key for key in by_key if key not in order]
    lines = [_line(headings), "|" + "---|" * len(headings), *(_line(by_key[key]) for key in keys)]
    body = "\n".join([*([*about, ""] if about else []), *lines, *(["", *after] if after else [])])
    ending = f"\n## {tail}" if more else ""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{head if found else text}\n## {section}\n\n{body}\n{ending}", encoding="utf-8")
    return path


def parsed(text: str) -> tuple[list[list[str]], list[str], list[str]]:
    """The rows of a table with its headings first, the lines before it, and those after it."""
    lines = [line for line in text.strip().splitlines() if line]
    table = [at for at, line in enumerate(lines) if line.startswith("|")]
    first, end = (table[0], table[-1] + 1) if table else (len(lines), len(lines))
    rows = [[cell.strip() for cell in _CELLS.split(lines[at])[1:-1]] for at in table]
    return rows[:1] + rows[2:], lines[:first], lines[end:]


def _cell(one: object) -> str:
    return " ".join(str(one).split()).replace("|", r"\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
