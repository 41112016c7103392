"""Code tables: CSV to dictionaries. A row says what a sender's code means, and how its unit is converted.

    code,unit_in,loinc,display,type,unit,ucum,factor,digits          header; `#` begins a comment line
    HGB,g/dL,718-7,Hemoglobin [Mass/volume] in Blood,NM,g/L,g/L,10,0

A row whose ``type`` is ``none`` says that this is no result (a mode, an image, the patient's age). A row that holds
nothing but its key, a ``source`` and a ``note`` is for people: the code is known and has no term, and stays a gap.

``*`` in a key column matches anything; the row with the fewest wildcards wins, and two rows that could both win are an
error. ``*`` beside a unit or a factor is refused in ``unit_in``: it would make mg/dL into mg/L. Factors and offsets are
exact decimals.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any

import orjson

from engine.mapping import decimals, units

KEY_COLUMNS = ("code", "unit_in", "device", "specimen")
FOR_PEOPLE = frozenset({*KEY_COLUMNS, "source", "note"})
NO_RESULT = "none"  # in the column `type`
MAX_ROWS = 100_000
UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
_NO_FORMULA = ("'=", "'+", "'-", "'@")


class Row:
    """One row, ready for use at a message.

    Attributes:
        cells: column -> text, blank cells left out.
        code, coding, concept: the LOINC term as Coding and CodeableConcept, None without one. Shared: never change.
        dimension: what kind of quantity it measures, where the table says so.
        unit, ucum: the unit after conversion, as text and as UCUM code; None where the table does not say.
        quantity: what a Quantity has besides its value, None where that depends on the message. It holds
            for results whose unit was sent as ``quantity_unit``, for all where that is None.
        converts: there is a factor, an offset or a number of digits.
        unit_missing: the code is in the table, but the message named no unit; a number must not pass.
        name: the row as `explain` shows it: ``HGB,g/dL``.
    """

    __slots__ = (
        "cells",
        "code",
        "coding",
        "concept",
        "converts",
        "digits",
        "dimension",
        "factor",
        "line",
        "name",
        "offset",
        "quantity",
        "quantity_unit",
        "ucum",
        "unit",
        "unit_missing",
    )

    def __init__(self, cells: dict[str, str], name: str, line: int = 0) -> None:
        self.cells = cells
        self.name = name
        self.line = line
        self.code = cells.get("loinc")
        self.coding: dict[str, Any] | None = None
        self.concept: dict[str, Any] | None = None
        if self.code:
            self.coding = {"system": LOINC, "code": self.code}
            if "display" in cells:
                self.coding["display"] = cells["display"]
            self.concept = {"coding": [self.coding], "text": cells.get("display", self.code)}
        self.dimension = cells.get("dimension")
        self.unit = cells.get("unit")
        self.ucum = cells.get("ucum")
        self.quantity: str | None = None
        self.quantity_unit: str | None = None
        sent = cells.get("unit_in")
        if self.ucum and (self.unit or (sent and sent != "*")):
            self.quantity = quantity_unit(self.unit or sent, self.ucum)
            self.quantity_unit = None if self.unit else sent
        factor = cells.get("factor")
        offset = cells.get("offset")
        digits = cells.get("digits")
        self.factor = Decimal(factor) if factor and Decimal(factor) != 1 else None
        self.offset = Decimal(offset) if offset and Decimal(offset) != 0 else None
        self.digits = int(digits) if digits else None
        self.converts = self.factor is not None or self.offset is not None or self.digits is not None
        self.unit_missing = False

    def without_unit(self) -> "Row":
        """This row for a result that came without a unit: its meaning, but nothing about quantities."""
        other = Row(self.cells, self.name, self.line)
        other.unit_missing = True
        return other

    def __repr__(self) -> str:
        return f"Row({self.name})"


def quantity_unit(words: str | None, code: str | None) -> str:
    """What a Quantity has besides its value: the rest of a JSON object, behind a first member."""
    made = {}
    if words:
        made["unit"] = words
    if code:
        made |= {"system": UCUM, "code": code}
    return "," + orjson.dumps(made).decode()[1:-1] if made else ""


@dataclass(frozen=True, slots=True)
class Wildcards:
    """Rows with ``*`` in the same key columns: looked up by the columns that have none."""

    positions: tuple[int, ...]
    rows: dict[tuple[str, ...], Row]


@dataclass(slots=True)
class Table:
    """A code table.

    Attributes:
        name: as the mapping calls it; ``file`` where it was read.
        key: its key columns in order.
        columns: all columns.
        exact: rows without wildcards by their key (a text where there is one key column, else a tuple).
        wildcards: the others, fewest wildcards first.
        codes: texts of the first key column that the table knows, with a row of each, for the unit policy.
        on_missing: ``local``, ``dead`` or ``drop``; ``on_missing_unit``: ``dead`` or ``local``.
        left_out: codes that are no results.
        used: lines of rows that were read, for coverage of tests.
    """

    name: str
    file: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    exact: dict[Any, Row] = field(default_factory=dict)
    wildcards: list[Wildcards] = field(default_factory=list)
    codes: dict[str, Row] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    left_out: frozenset[str] = frozenset()
    on_missing: str = "local"
    on_missing_unit: str = "dead"

    def find(self, key: tuple[str, ...]) -> Row | None:
        """The row for a key, wildcards included."""
        row = self.exact.get(key[0] if len(self.key) == 1 else key)
        if row is not None:
            return row
        for group in self.wildcards:
            row = group.rows.get(tuple(key[position] for position in group.positions))
            if row is not None:
                return row
        return None

    @property
    def unit_position(self) -> int | None:
        """Where the unit stands in the key, None where it does not."""
        return self.key.index("unit_in") if "unit_in" in self.key else None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a table: ``error`` or ``warning``."""

    line: int
    column: int
    text: str
    severity: str = "error"

    def at(self, file: str) -> str:
        return f"{file}:{self.line}:{self.column}: {self.text}"


def read_table(text: str, name: str, file: str, key: Sequence[str]) -> tuple[Table, list[Finding]]:
    """A table and everything that is wrong with it; the table is usable only where no finding is an error."""
    findings: list[Finding] = []
    lines = list(_lines(text, findings))
    if not lines:
        return Table(name, file, tuple(key), ()), [Finding(1, 1, "the table is empty; it needs a header line")]
    header_line, header = lines[0]
    header = [cell.strip() for cell in header]
    table = Table(name, file, tuple(key), tuple(header))
    for column in dict.fromkeys(column for column in header if header.count(column) > 1):
        findings.append(Finding(header_line, 1, f"column '{column}' stands here twice; remove one"))
    for column in key:
        if column not in header:
            findings.append(
                Finding(header_line, 1, f"key column '{column}' is missing; columns are {', '.join(header)}")
            )
    if any(finding.severity == "error" for finding in findings):
        return table, findings
    if len(lines) > MAX_ROWS:
        return table, [Finding(lines[MAX_ROWS][0], 1, f"more than {MAX_ROWS} rows; split the table")]
    grouped: dict[tuple[int, ...], dict[tuple[str, ...], Row]] = {}
    for line, cells in lines[1:]:
        if len(cells) > len(header):
            findings.append(
                Finding(
                    line, 1, f"{len(cells)} cells under {len(header)} columns; put quotes around a cell with a comma"
                )
            )
            continue
        filled = {name: _meant(cell) for name, cell in zip(header, cells, strict=False) if cell.strip()}
        problems = list(_check_row(filled, header, key, line))
        findings += problems
        if any(problem.severity == "error" for problem in problems):
            continue
        values = tuple(filled.get(column, "") for column in key)
        row = Row(filled, ",".join(values), line)
        table.rows.append(row)
        if filled.keys() <= FOR_PEOPLE and "note" in filled:
            continue
        positions = tuple(at for at, value in enumerate(values) if value != "*")
        known = grouped.setdefault(positions, {})
        chosen = tuple(values[at] for at in positions)
        if chosen in known:
            findings.append(Finding(line, 1, f"the same key as line {known[chosen].line}; remove one of the two rows"))
        else:
            known[chosen] = row
    _arrange(table, grouped, findings)
    return table, findings


def _lines(text: str, findings: list[Finding]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers. A comment is a line that begins with ``#``; a row may not span lines."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield number, next(csv.reader(io.StringIO(line), strict=True))
        except (csv.Error, StopIteration):
            findings.append(Finding(number, 1, "quotes do not match; a quote inside a quoted cell is written twice"))


def _check_row(cells: dict[str, str], header: list[str], key: Sequence[str], line: int) -> Iterator[Finding]:
    def at(column: str) -> int:
        return header.index(column) + 1

    if key and not cells.get(key[0]):
        yield Finding(line, at(key[0]), f"the cell under '{key[0]}' is empty; a row needs it")
    for column in ("factor", "offset"):
        value = cells.get(column)
        if value is not None and decimals.normal(value) is None:
            yield Finding(line, at(column), f"{column} '{value}' is no decimal; write it as 0.01 or 10")
    factor = cells.get("factor")
    if factor and (number := decimals.normal(factor)) and Decimal(number) <= 0:
        yield Finding(line, at("factor"), "a factor must be greater than 0")
    digits = cells.get("digits")
    if digits is not None and not (digits.isascii() and digits.isdigit() and len(digits) <= 2):
        yield Finding(line, at("digits"), f"digits '{digits}' is no whole number of decimal places; write 0, 1, 2 ...")
    quantities = [column for column in ("factor", "offset", "unit", "ucum") if cells.get(column)]
    if cells.get("unit_in") == "*" and quantities:
        yield Finding(
            line,
            at("unit_in"),
            f"* matches every unit and must not stand beside a {quantities[0]}; write one row a unit",
        )
    if (cells.get("factor") or cells.get("offset")) and "unit_in" not in key:
        yield Finding(line, at("factor"), "a factor needs unit_in among the key columns; add it to `key:`")
    loinc = cells.get("loinc")
    if loinc is not None:
        if not units.LOINC_SHAPE.fullmatch(loinc):
            yield Finding(line, at("loinc"), f"'{loinc}' has not the form of a LOINC code (718-7)")
        elif not units.loinc_check_digit_holds(loinc):
            yield Finding(line, at("loinc"), f"the check digit of LOINC {loinc} does not hold; compare it", "warning")
    ucum = cells.get("ucum")
    if ucum is not None and (problem := units.ucum_problem(ucum)):
        yield Finding(line, at("ucum"), f"'{ucum}' is no UCUM unit: {problem}")


def _arrange(table: Table, grouped: dict[tuple[int, ...], dict[tuple[str, ...], Row]], findings: list[Finding]) -> None:
    width = len(table.key)
    whole = tuple(range(width))
    for positions, rows in sorted(grouped.items(), key=lambda item: -len(item[0])):
        if positions == whole:
            table.exact = {key[0]: row for key, row in rows.items()} if width == 1 else dict(rows)
        else:
            table.wildcards.append(Wildcards(positions, rows))
    # Two rows with equally many wildcards that match one key: neither wins, and no better row decides.
    for first, second in product(table.wildcards, repeat=2):
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
                findings.append(Finding(late, 1, text))
    table.left_out = frozenset(row.cells[table.key[0]] for row in table.rows if row.cells.get("type") == NO_RESULT)
    for row in table.rows:
        code = row.cells.get(table.key[0], "") if table.key else ""
        if row.cells.keys() <= FOR_PEOPLE and "note" in row.cells:
            continue
        if code != "*" and row.cells.get("unit_in") != "*":
            table.codes.setdefault(code, row)


def _meant(cell: str) -> str:
    """A cell's text; the apostrophe that keeps a spreadsheet from computing it (`gaps` writes one) is none of it."""
    text = cell.strip()
    return text[1:] if text.startswith(_NO_FORMULA) else text
