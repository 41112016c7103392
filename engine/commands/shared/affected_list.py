"""The list of affected results that `labrelay reprocess` shows: written row by row, however long it is.

table    a heading, then rows; a column grows where a wider value comes
json     one document; the rows stand in ``results``, before what is known only at the end
ndjson   an object a row
csv      a heading and a line a row. A text that a spreadsheet would take for a formula has an apostrophe before it;
             a number has none
"""

import csv
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import SCHEMA_VERSION, Column, Form, cell, harmless, to_json

if TYPE_CHECKING:
    from engine.actions.affected_results import Affected
    from engine.model.tested_results import Tested

MASKED = "***"
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
SIDES = ("value", "unit", "status")
COLUMNS = (
    Column("message", "MESSAGE", right=True),
    Column("outcome", "OUTCOME"),
    Column("change", "CHANGE"),
    Column("specimen", "SPECIMEN"),
    Column("patient", "PATIENT"),
    Column("code", "TEST"),
    Column("loinc", "LOINC"),
    Column("old_value", "OLD", right=True),
    Column("old_unit", "UNIT"),
    Column("old_status", "STATUS"),
    Column("new_value", "NEW", right=True),
    Column("new_unit", "UNIT"),
    Column("new_status", "STATUS"),
)
NAMES = (
    "message", "outcome", "reason", "destinations", "change", "differs", "specimen", "patient", "code", "loinc",
    *(f"{side}_{name}" for side in ("old", "new") for name in SIDES),
)  # fmt: skip


def row_of(one: "Affected", *, unmask: bool) -> dict[str, Any]:
    """A row, with `NAMES` in order. What a side does not have is null; codes, units and status are no patient data."""

    def shown(text: str) -> str:
        return text if unmask or not text else MASKED

    def side(name: str, told: "Tested | None") -> dict[str, Any]:
        return {
            f"{name}_value": shown(told.value) if told is not None else None,
            f"{name}_unit": told.unit if told is not None else None,
            f"{name}_status": told.status if told is not None else None,
        }

    told = one.new or one.old
    return {
        "message": one.message_id,
        "outcome": one.outcome,
        "reason": one.reason,
        "destinations": list(one.destinations),
        "change": one.change,
        "differs": list(one.differs),
        "specimen": shown(told.specimen) if told is not None else "",
        "patient": told.patient if told is not None else "",
        "code": told.code if told is not None else "",
        "loinc": told.loinc if told is not None else "",
        **side("old", one.old),
        **side("new", one.new),
    }


def _in_csv(value: Any) -> Any:
    """A cell of the file: a number stays as it is, with its sign too, for none is a formula."""
    if isinstance(value, list):
        value = ", ".join(value)
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else harmless(value)


class AffectedList:
    """Writes the rows as they come. Nothing of them is kept.

    Attributes:
        rows: how many were written.
    """

    def __init__(self, form: Form, *, unmask: bool) -> None:
        self.rows = 0
        self._form = form
        self._unmask = unmask
        self._widths = [len(column.title) for column in COLUMNS]

    def begin(self, document: Mapping[str, Any]) -> None:
        """Write what comes before the rows.

        Args:
            document: of JSON, what is known already.
        """
        if self._form is Form.CSV:
            self._csv(NAMES)
        elif self._form is Form.JSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **document})[:-1] + ',"results":[', nl=False)
        elif self._form is Form.TABLE:
            click.echo(click.style(self._line([column.title for column in COLUMNS]), bold=True))

    def add(self, one: "Affected") -> None:
        row = row_of(one, unmask=self._unmask)
        if self._form is Form.CSV:
            self._csv([_in_csv(one) for one in row.values()])
        elif self._form is Form.JSON:
            click.echo(("," if self.rows else "") + "\n" + to_json(row), nl=False)
        elif self._form is Form.NDJSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **row}))
        else:
            click.echo(self._line([cell(row[column.key]) for column in COLUMNS]))
        self.rows += 1

    def end(self, document: Mapping[str, Any]) -> None:
        """Write what comes after them: of JSON, the rest of the document."""
        if self._form is Form.JSON:
            rest = to_json(document)[1:]
            click.echo("]" + ("," if rest != "}" else "") + rest)

    def _line(self, cells: list[str]) -> str:
        self._widths = [max(width, len(text)) for width, text in zip(self._widths, cells, strict=True)]
        parts = [
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(COLUMNS, cells, self._widths, strict=True)
        ]
        return "  ".join(parts).rstrip()

    def _csv(self, cells: Any) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        click.echo(line.getvalue(), nl=False)
