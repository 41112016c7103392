"""Code tables from CSV files, and their problems.

    code,unit_in,loinc,display,type,unit,ucum,factor,digits          header; `#` begins a comment line
    HGB,g/dL,718-7,Hemoglobin [Mass/volume] in Blood,NM,g/L,g/L,10,0

A row whose ``type`` is ``none`` says that this is no result (a mode, an image, the patient's age). A row with only its
key, a name and a ``note`` is for people: the code is known and has no term, and stays a gap. A row without a note, as
`labrelay gaps` writes it, is a gap, too, until it is completed.

Two rows of a file that could both win are an error. ``*`` beside a unit or a factor is refused in ``unit_in``: it would
make mg/dL into mg/L. An optional key column may be missing in a file, and a blank cell below it means ``*``. Of several
files the first one has precedence; a row of another file that it covers is never used.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from pathlib import Path

from engine.mapping.code_tables import units
from engine.mapping.code_tables.tables import VALUE_TYPES, Row, Table, Wildcards
from engine.mapping.values import decimals
from engine.model.site.corrections import KEY_COLUMNS

FOR_PEOPLE = frozenset({*KEY_COLUMNS, "display", "source", "note", "meant"})
NO_RESULT = "none"  # in the column `type`
MAX_ROWS = 100_000
_NO_FORMULA = ("'=", "'+", "'-", "'@")
# Columns for a Quantity; they cannot be keys.
_QUANTITY = ("factor", "offset", "unit", "ucum")

Doubt = Callable[[dict[str, str]], tuple[str, str, str] | None]
"""A check of a row beyond its form, given its cells: (column, words, severity), None without a problem."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a table: ``error``, ``doubt`` (an error of `labrelay check`, but the table is used) or ``warning``;
    the column counts characters from 1. ``unfinished``: of a row without a meaning for its code yet.
    """

    line: int
    column: int
    text: str
    severity: str = "error"
    unfinished: bool = False

    def at(self, file: str) -> str:
        return f"{file}:{self.line}:{self.column}: {self.text}"


@dataclass(slots=True)
class Sheet:
    """One file, its rows still as text.

    Attributes:
        rows: (line, cells by column, the line's text).
    """

    file: str
    header_line: int = 1
    header: list[str] = field(default_factory=list)
    rows: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def sign(self, column: str, text: str) -> int:
        """At which sign of a line the cell of a column begins, from 1."""
        starts, at = _starts(text), self.header.index(column) if column in self.header else 0
        return starts[at] if at < len(starts) else 1

    @property
    def is_sound(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def read_table(
    text: str, name: str, file: str, key: Sequence[str], doubt: Doubt | None = None
) -> tuple[Table, list[Finding]]:
    """A table of one file and all findings; the table is usable only where no finding is an error."""
    table, found = read_tables([(file, text)], name, key, doubt)
    return table, [finding for _, finding in found]


def read_tables(
    files: Sequence[tuple[str, str]],
    name: str,
    key: Sequence[str],
    doubt: Doubt | None = None,
    *,
    optional: Sequence[str] = (),
) -> tuple[Table, list[tuple[str, Finding]]]:
    """A table of several files, the first with precedence, and all findings, each with its file.

    Args:
        files: (name, text).
        key: the key columns that every file has. optional: those that it may have.
    """
    wanted = (*key, *optional)
    sheets = [_read_sheet(text, file, key) for file, text in files]
    has = {column for sheet in sheets for column in sheet.header}
    used = tuple(column for column in wanted if column in has or column in key)
    columns = tuple(dict.fromkeys(column for sheet in sheets for column in sheet.header))
    table = Table(name, sheets[0].file, used, columns, asked=wanted)
    if all(sheet.is_sound for sheet in sheets):
        _fill(table, sheets, frozenset(optional), doubt)
    return table, [(sheet.file, finding) for sheet in sheets for finding in sheet.findings]


def first_file(name: str | Path, search: Sequence[Path]) -> Path | None:
    """The file of that name in the first `mappings` folder that has it."""
    return next((folder / name for folder in search if (folder / name).is_file()), None)


# -- reading -----------------------------------------------------------------------------------------------------


def _read_sheet(text: str, file: str, needed: Sequence[str]) -> Sheet:
    sheet = Sheet(file)
    quotes = "quotes do not match; a quote inside a quoted cell is written twice"
    lines = list(rows_in(text, lambda number: sheet.findings.append(Finding(number, 1, quotes))))
    if not lines:
        sheet.findings.append(Finding(1, 1, "the table is empty; it needs a header line"))
        return sheet
    sheet.header_line, header, _ = lines[0]
    header = sheet.header = [cell.strip() for cell in header]
    for column in dict.fromkeys(column for column in header if header.count(column) > 1):
        sheet.findings.append(Finding(sheet.header_line, 1, f"column '{column}' is here twice; remove one"))
    for column in needed:
        if column not in header:
            text = f"key column '{column}' is missing; columns are {', '.join(header)}"
            sheet.findings.append(Finding(sheet.header_line, 1, text))
    if len(lines) > MAX_ROWS:
        sheet.findings.append(Finding(lines[MAX_ROWS][0], 1, f"more than {MAX_ROWS} rows; split the table"))
    for line, cells, text in lines[1 : MAX_ROWS + 1]:
        if len(cells) > len(header):
            words = f"{len(cells)} cells under {len(header)} columns; put quotes around a cell with a comma"
            starts = _starts(text)
            sheet.findings.append(Finding(line, starts[len(header)] if len(starts) > len(header) else 1, words))
            continue
        filled = {name: sys.intern(_meant(cell)) for name, cell in zip(header, cells, strict=False) if cell.strip()}
        sheet.rows.append((line, filled, text))
    return sheet


def rows_in(text: str, wrong: Callable[[int], None]) -> Iterator[tuple[int, list[str], str]]:
    """Rows with their line numbers and their text. A comment is a line that begins with ``#``; a row may not span
    lines.

    Args:
        wrong: called with the number of a line whose quotes do not match.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield number, next(csv.reader([line], strict=True)), line
        except (csv.Error, StopIteration):
            wrong(number)


def _starts(line: str) -> list[int]:
    """At which sign each cell of a line begins, from 1; blanks before it left out."""
    if '"' in line:
        line = re.sub(r'"[^"]*"', lambda quoted: "x" * len(quoted[0]), line)
    starts, at = [], 0
    for cell in line.split(","):
        starts.append(at + len(cell) - len(cell.lstrip()) + 1)
        at += len(cell) + 1
    return starts


def _meant(cell: str) -> str:
    """A cell's text; the apostrophe that keeps a spreadsheet from computing it (`gaps` writes one) is none of it."""
    text = cell.strip()
    return text[1:] if text.startswith(_NO_FORMULA) else text


# -- a row ---------------------------------------------------------------------------------------------------------


def check_row(cells: dict[str, str], key: Sequence[str], doubt: Doubt | None) -> Iterator[tuple[str, str, str]]:
    """(column, words, severity) of everything that is wrong with a row by itself."""
    if key and not cells.get(key[0]):
        yield key[0], f"the cell under '{key[0]}' is empty; a row needs it", "error"
    for column in ("factor", "offset"):
        value = cells.get(column)
        if value is not None and decimals.normal(value) is None:
            yield column, f"{column} '{value}' is no decimal; write it as 0.01 or 10", "error"
    factor = cells.get("factor")
    if factor and (number := decimals.normal(factor)) and Decimal(number) <= 0:
        yield "factor", "a factor must be greater than 0", "error"
    digits = cells.get("digits")
    if digits is not None and not (digits.isascii() and digits.isdigit() and len(digits) <= 2):
        yield "digits", f"digits '{digits}' is no whole number of decimal places; write 0, 1, 2 ...", "error"
    kind = cells.get("type")
    if kind is not None and "unit_in" in key and kind != NO_RESULT and kind not in VALUE_TYPES:
        text = f"'{kind}' is no type of value (HL7 table 0125); write NM for numbers, ST for words, none for no result"
        yield "type", text, "error"
    if cells.get("unit_in") == "*" and (made := [column for column in _QUANTITY if cells.get(column)]):
        text = f"* matches every unit and is not allowed beside a {made[0]}; write one row a unit"
        yield "unit_in", text, "error"
    if (cells.get("factor") or cells.get("offset")) and "unit_in" not in key:
        yield "factor", "a factor needs unit_in among the key columns; add it to `key:`", "error"
    if _scales(cells) and not (cells.get("unit") or cells.get("ucum")):
        text = "a factor makes another unit of it, and the row does not say which; fill in unit or ucum"
        yield "factor" if cells.get("factor") else "offset", text, "error"
    loinc = cells.get("loinc")
    if loinc is not None:
        if not units.LOINC_SHAPE.fullmatch(loinc):
            yield "loinc", f"'{loinc}' has not the form of a LOINC code (718-7)", "error"
        elif not units.loinc_check_digit_holds(loinc):
            yield "loinc", f"the check digit of LOINC {loinc} does not hold; compare it", "warning"
    ucum = cells.get("ucum")
    problem = units.ucum_problem(ucum) if ucum is not None else ""
    if problem:
        yield "ucum", f"'{ucum}' is no UCUM unit: {problem}", "error"
    elif doubt is not None and (doubted := doubt(cells)) is not None:
        yield doubted
    if ucum and not problem and not units.is_of_laboratories(ucum):
        text = "a number behind a point multiplies (write 1.73 m2 as {1.73_m2}), K is kelvin, G gauss, M mega"
        yield "ucum", f"'{ucum}' is a UCUM unit, and hardly the one that is meant: {text}", "warning"


def _scales(cells: dict[str, str]) -> bool:
    """Whether a factor or offset changes the value."""
    for column, neutral in (("factor", 1), ("offset", 0)):
        number = decimals.normal(cells[column]) if column in cells else None
        if number is not None and Decimal(number) != neutral:
            return True
    return False


# -- rows into a table -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Placed:
    """A row with its key.

    Attributes:
        for_people: it does not say what the code means.
        positions: key columns without a wildcard.
    """

    row: Row
    key: tuple[str, ...]
    for_people: bool
    positions: tuple[int, ...]


def _fill(table: Table, sheets: Sequence[Sheet], optional: frozenset[str], doubt: Doubt | None) -> None:
    """Put the rows of all files into the table."""
    above: list[_Placed] = []  # the rows in use of the files before
    covered = _Covered()
    notes: list[str] = []
    codes_above: dict[str, Row] = {}
    for sheet in sheets:
        placed = []
        for one in _placed(sheet, table.key, optional, doubt):
            upper = covered.by(one.key)
            if upper is None and one.row.cells.get("type") == NO_RESULT:
                upper = codes_above.get(one.key[0])  # it leaves the code out, with every unit
            if upper is not None:
                notes.append(_note(upper, one, sheet))
                continue
            placed.append(one)
        _arrange(table, placed, sheet)
        table.left_out |= _left_out(placed, sheet)
        codes_above |= {one.key[0]: one.row for one in placed if one.key[0] != "*"}
        above += placed
        if len(sheets) > 1:
            covered.add(placed)
    table.rows = [one.row for one in above]
    table.notes = tuple(notes)
    table.known = _known(above, table.unit_position)


def _known(placed: Sequence[_Placed], unit_at: int | None) -> list[Wildcards]:
    """Rows by their keys without the unit, fewest wildcards first."""
    found: dict[tuple[int, ...], dict[tuple[str, ...], Row]] = {}
    for one in placed:
        if not one.for_people and one.key[0] != "*" and one.row.cells.get("unit_in") != "*":
            positions = tuple(at for at in one.positions if at != unit_at)
            found.setdefault(positions, {}).setdefault(tuple(one.key[at] for at in positions), one.row)
    return [Wildcards(positions, rows) for positions, rows in sorted(found.items(), key=lambda item: -len(item[0]))]


def _placed(sheet: Sheet, key: tuple[str, ...], optional: frozenset[str], doubt: Doubt | None) -> Iterator[_Placed]:
    """The sound rows of a file."""
    says = frozenset(sheet.header) - FOR_PEOPLE - frozenset(key) if "loinc" in sheet.header else frozenset[str]()
    for line, cells, text in sheet.rows:
        problems = list(check_row(cells, key, doubt))
        sheet.findings += [Finding(line, sheet.sign(column, text), words, kind) for column, words, kind in problems]
        if any(kind == "error" for _, _, kind in problems):
            continue
        values = tuple(cells.get(column, "*" if column in optional else "") for column in key)
        row = Row(cells, ",".join(values), line, sheet.file)
        silent = bool(says) and not cells.keys() & says
        if silent and "note" not in cells:
            text = f"this row does not say what {values[0]} means, and it stays a gap; complete it, or add a note"
            sheet.findings.append(Finding(line, 1, text, "warning", unfinished=True))
        yield _Placed(row, values, silent, tuple(at for at, value in enumerate(values) if value != "*"))


class _Covered:
    """Which keys the rows of the files before decide."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, ...], dict[tuple[str, ...], Row]] = {}

    def add(self, placed: Sequence[_Placed]) -> None:
        for one in placed:
            known = self._rows.setdefault(one.positions, {})
            known.setdefault(tuple(one.key[at] for at in one.positions), one.row)

    def by(self, key: tuple[str, ...]) -> Row | None:
        """The row that matches everything that ``key`` does."""
        for positions, rows in self._rows.items():
            if (row := rows.get(tuple(key[at] for at in positions))) is not None:
                return row
        return None


def _note(upper: Row, lower: _Placed, sheet: Sheet) -> str:
    said = [_says(upper), _says(lower.row)]
    change = f"; {said[0]} instead of {said[1]}" if said[0] != said[1] else "; both say the same"
    return f"{upper.file}:{upper.line}:1: {upper.name} takes the place of {sheet.file}:{lower.row.line}{change}"


def _says(row: Row) -> str:
    """A row in short: its term and its conversion."""
    cells = row.cells
    if cells.get("type") == NO_RESULT:
        return "no result"
    unit = cells.get("unit") or cells.get("ucum")
    parts = [cells.get("loinc") or "no term", *([f"in {unit}"] if unit else [])]
    parts += [f"{column} {cells[column]}" for column in ("factor", "offset", "digits") if column in cells]
    return " ".join(parts)


def _arrange(table: Table, placed: Sequence[_Placed], sheet: Sheet) -> None:
    """Put one file's rows where look-ups find them, behind those of the files before."""
    width = len(table.key)
    grouped: dict[tuple[int, ...], dict[tuple[str, ...], Row]] = {}
    seen: dict[tuple[str, ...], Row] = {}
    for one in placed:
        known = grouped.setdefault(one.positions, {})
        if one.key in seen:
            text = f"the same key as line {seen[one.key].line}; remove one of the two rows"
            untold = [column for column in KEY_COLUMNS if column in sheet.header and column not in table.key]
            if untold:
                text += f" (the mapping looks up by {', '.join(table.key)}, and not by {', '.join(untold)})"
            sheet.findings.append(Finding(one.row.line, 1, text))
            continue
        seen[one.key] = one.row
        if not one.for_people:
            known[tuple(one.key[at] for at in one.positions)] = one.row
    own: list[Wildcards] = []
    for positions, rows in sorted(grouped.items(), key=lambda item: -len(item[0])):
        if len(positions) == width:
            table.exact |= {key[0]: row for key, row in rows.items()} if width == 1 else rows
        else:
            own.append(Wildcards(positions, rows))
    _undecided(own, sheet)
    table.wildcards += own


def _undecided(wildcards: Sequence[Wildcards], sheet: Sheet) -> None:
    """Two rows with equally many wildcards that match one key: neither wins, and no better row decides."""
    for first, second in product(wildcards, repeat=2):
        if first.positions >= second.positions or len(first.positions) != len(second.positions):
            continue
        shared = [position for position in first.positions if position in second.positions]
        index: dict[tuple[str, ...], Row] = {}
        for key, row in first.rows.items():
            index[tuple(key[first.positions.index(position)] for position in shared)] = row
        for key, row in second.rows.items():
            other = index.get(tuple(key[second.positions.index(position)] for position in shared))
            if other is not None:
                early, late = sorted((row.line, other.line))
                text = f"this row and line {early} can match the same key; make one of them exact"
                sheet.findings.append(Finding(late, 1, text))


def _left_out(placed: Sequence[_Placed], sheet: Sheet) -> frozenset[str]:
    """The codes that are no results. A code either is a result or not: beside a row that leaves it out, a row with a
    meaning would never be used.
    """
    lines = {one.key[0]: one.row.line for one in placed if one.row.cells.get("type") == NO_RESULT}
    for one in placed:
        if one.key[0] in lines and one.row.cells.get("type") != NO_RESULT and not one.for_people:
            text = f"line {lines[one.key[0]]} leaves {one.key[0]} out (type none), with every unit; remove one of both"
            sheet.findings.append(Finding(one.row.line, 1, text))
    return frozenset(lines)
