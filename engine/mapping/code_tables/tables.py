"""Code tables in use: a row says what a sender's code means, and how its unit is converted. How files become tables:
`engine.mapping.code_tables.table_files`.

``*`` in a key column matches anything; the row with the fewest wildcards wins. Of several files the first that has a
row for a key decides, wildcards or not: a site's rows have precedence over shipped ones.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
_TABLE_0125 = """ST TX FT NM SN DT TM DTM TS CE CWE CNE CF IS ID CQ NR DR NA MA EI HD CX CK CN CP AD PN TN MO XAD XCN
XON XPN XTN TQ RI SI PL GTS ED RP"""
VALUE_TYPES = frozenset(_TABLE_0125.split())
"""Types of value of a result: HL7 table 0125."""


class Row:
    """One row, ready for use at a message.

    Attributes:
        cells: column -> text, blank cells left out.
        code, coding, concept: the LOINC term as Coding and CodeableConcept, None without one. Shared: never change.
        dimension: the kind of quantity it measures, where the table says so.
        unit, ucum: the unit after conversion, as text and as UCUM code; None where the table does not say.
        quantity: the members of a Quantity besides its value, None where they depend on the message. It applies to
            results whose unit was sent as ``quantity_unit``, to all where that is None.
        converts: there is a factor, an offset or a number of digits.
        unit_missing: the code is in the table, but the message named no unit; a number must not pass.
        name: the row as `explain` shows it: ``HGB,g/dL``. file, line: its place.
    """

    def __init__(self, cells: dict[str, str], name: str, line: int = 0, file: str = "") -> None:
        self.cells = cells
        self.name = name
        self.line = line
        self.file = file
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
        other = Row(self.cells, self.name, self.line, self.file)
        other.unit_missing = True
        return other

    def __repr__(self) -> str:
        return f"Row({self.name})"


def quantity_unit(words: str | None, code: str | None) -> str:
    """The members of a Quantity besides its value: the rest of a JSON object, after a first member."""
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
        name: as the mapping calls it; ``file`` where it was read, the first of several.
        asked: the key columns as the mapping names them, those that a file may lack included.
        key: the key columns that it has, in order.
        columns: all columns.
        exact: rows without wildcards by their key (a text where there is one key column, else a tuple).
        wildcards: the others, fewest wildcards first.
        known: rows by everything in their key but the unit, for the policy about units; wildcards last.
        rows: all that are in use, in the order of the files.
        on_missing: ``local``, ``dead`` or ``drop``; ``on_missing_unit``: ``dead`` or ``local``.
        left_out: codes that are no results.
        notes: rows that override rows of another file, each with its place.
        doubts: rows that contradict the LOINC term they name, each with its place and what to do.
    """

    name: str
    file: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    exact: dict[Any, Row] = field(default_factory=dict)
    wildcards: list[Wildcards] = field(default_factory=list)
    known: list[Wildcards] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    left_out: frozenset[str] = frozenset()
    on_missing: str = "local"
    on_missing_unit: str = "dead"
    asked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

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

    def knows(self, key: tuple[str, ...]) -> Row | None:
        """A row of this code (on this device, in this material), with any unit."""
        for group in self.known:
            row = group.rows.get(tuple(key[position] for position in group.positions))
            if row is not None:
                return row
        return None

    @property
    def unit_position(self) -> int | None:
        """The position of the unit in the key, None without one."""
        return self.key.index("unit_in") if "unit_in" in self.key else None
