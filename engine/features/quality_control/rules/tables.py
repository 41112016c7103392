"""The tables that a laboratory writes: its list of controls, and the targets of their lots, as CSV. Pure.

    analyzer,number,material,level,lot,expires                 controls; number: as sent, * for any text
    analyzer,module,test,level,lot,unit,mean,sd,source         targets; module may be empty

Each problem has its line and column. A table with a problem is not taken in part.
"""

import csv
from collections.abc import Collection, Iterator, Sequence
from io import StringIO
from typing import NamedTuple

from engine.features.quality_control.rules.lots import SOURCES, Lot, expiry_of
from engine.features.quality_control.rules.westgard import number_in
from engine.model.errors import ConfigError

CONTROLS = ("analyzer", "number", "material", "level", "lot", "expires")
TARGETS = ("analyzer", "module", "test", "level", "lot", "unit", "mean", "sd", "source")
MOST = 5000  # rows
LONGEST = 60  # characters of a cell
_MAY_BE_EMPTY = frozenset({"module", "unit", "expires"})
_ANY = "*"
_KEYS = {CONTROLS: CONTROLS[:2], TARGETS: TARGETS[:5]}  # a number has one lot at a time


class TargetRow(NamedTuple):
    """A target as a table has it."""

    channel: str
    module: str
    test: str
    level: str
    lot: str
    unit: str
    mean: str
    sd: str
    source: str


class Read(NamedTuple):
    """What a table has: rows of one kind."""

    lots: tuple[Lot, ...] = ()
    targets: tuple[TargetRow, ...] = ()


def read(text: str, file: str, channels: Collection[str] = ()) -> Read:
    """Read a table; its head says which.

    Args:
        channels: the site's; empty: not known.

    Raises:
        ConfigError: its problems, each with line and column.
    """
    try:
        head, lines = _lines(text)
    except csv.Error as error:
        raise ConfigError(f"{file}:1:1: it is no CSV: {error}") from error
    kind = next((one for one in (CONTROLS, TARGETS) if head == list(one)), None)
    if kind is None:
        raise ConfigError(f"{file}:1:1: the first line is {','.join(CONTROLS)} or {','.join(TARGETS)}")
    problems = [f"{file}:{one}" for one in _problems(kind, lines, channels)]
    if problems:
        raise ConfigError(*problems)
    rows = [tuple(cell.strip() for cell in cells) for _, cells in lines]
    if kind is CONTROLS:
        return Read(lots=tuple(map(_lot, rows)))
    return Read(targets=tuple(TargetRow(*row) for row in rows))


def _lot(row: Sequence[str]) -> Lot:
    channel, number, material, level, lot, expires = row
    return Lot("" if channel == _ANY else channel, number, material, level, lot, expiry_of(expires))


def _lines(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    reader = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""))
    lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    lines = [(number, cells) for number, cells in lines if not cells[0].lstrip().startswith("#")]
    if not lines:
        return [], []
    (_, head), *rest = lines
    return [cell.strip() for cell in head], rest


def _problems(kind: Sequence[str], lines: Sequence[tuple[int, list[str]]], channels: Collection[str]) -> Iterator[str]:
    if len(lines) > MOST:
        yield f"{lines[MOST][0]}:1: there are {len(lines)} rows; {MOST} at most"
        return
    seen: dict[tuple[str, ...], int] = {}
    for number, cells in lines:
        if len(cells) != len(kind):
            yield f"{number}:1: {len(cells)} cells; the first line has {len(kind)}"
            continue
        row = dict(zip(kind, (cell.strip() for cell in cells), strict=True))
        at = 1
        for name, cell in zip(kind, cells, strict=True):
            if why := _wrong(name, row[name], row, channels):
                yield f"{number}:{at}: {name}: {why}"
            at += len(cell) + 1
        key = tuple(row[name] for name in _KEYS[tuple(kind)])
        if key in seen:
            yield f"{number}:1: the same as line {seen[key]}"
        seen.setdefault(key, number)


def _wrong(name: str, cell: str, row: dict[str, str], channels: Collection[str]) -> str:
    """Why a cell is wrong; empty: it is not."""
    if not cell:
        return "" if name in _MAY_BE_EMPTY else "it is empty"
    if len(cell) > LONGEST or not cell.isprintable():
        return f"{LONGEST} printable characters at most"
    if name == "analyzer":
        is_any = cell == _ANY and "number" in row
        return "" if is_any or not channels or cell in channels else f"there is no channel {cell}"
    if name == "expires":
        return "" if expiry_of(cell) else "a date, as 2027-06-30"
    if name == "source":
        return "" if cell in SOURCES else f"one of {', '.join(SOURCES)}"
    if name in ("mean", "sd"):
        number = number_in(cell)
        if number is None:
            return "a number, as 5.60"
        return "above 0" if name == "sd" and number <= 0 else ""
    return ""
