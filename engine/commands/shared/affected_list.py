"""The list of affected results that `labrelay reprocess` shows: written row by row, however long it is.

table    a heading, then rows; a column grows with a wider value
json     one document; the rows are in ``results``, before the fields that are known only at the end
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

from engine.commands.shared.output import SCHEMA_VERSION, Form, harmless, to_json
from engine.views.text import cell
from engine.views.view import Field, Row, View, picked

if TYPE_CHECKING:
    from engine.actions.affected_results import Affected
    from engine.model.tested_results import TestedResult

MASKED = "***"
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
RESULTS = View[Row](
    "results",
    Field("message", "MESSAGE", right=True),
    Field("outcome", "OUTCOME"),
    Field("reason"),
    Field("destinations"),
    Field("change", "CHANGE"),
    Field("differs"),
    Field("specimen", "SPECIMEN"),
    Field("patient", "PATIENT"),
    Field("code", "TEST"),
    Field("loinc", "LOINC"),
    Field("old_value", "OLD", right=True),
    Field("old_unit", "UNIT"),
    Field("old_status", "STATUS"),
    Field("new_value", "NEW", right=True),
    Field("new_unit", "UNIT"),
    Field("new_status", "STATUS"),
)


def row_of(one: "Affected", *, unmask: bool) -> dict[str, Any]:
    """A row, with the names of `RESULTS` in order. A field that a side lacks is null. Codes, units and status are no
    patient data.
    """

    def shown(text: str) -> str:
        return text if unmask or not text else MASKED

    def side(name: str, told: "TestedResult | None") -> dict[str, Any]:
        return {
            f"{name}_value": shown(told.value) if told is not None else None,
            f"{name}_unit": told.unit if told is not None else None,
            f"{name}_status": told.status if told is not None else None,
        }

    told = one.new or one.old
    whose = {name: getattr(told, name, "") for name in ("specimen", "patient", "code", "loinc")}
    return {
        "message": one.message_id,
        **picked(one, "outcome reason destinations change differs"),
        **whose,
        "specimen": shown(whose["specimen"]),
        **side("old", one.old),
        **side("new", one.new),
    }


def _in_csv(value: Any) -> Any:
    """A cell of the file: a number stays unchanged, including its sign, for none is a formula."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(value)
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else harmless(value)


class AffectedList:
    """Writes the rows as they come, and keeps none of them.

    Attributes:
        rows: how many were written.
    """

    def __init__(self, form: Form, *, unmask: bool) -> None:
        self.rows = 0
        self._form = form
        self._unmask = unmask
        self._widths = [len(column.title) for column in RESULTS.columns]

    def begin(self, document: Mapping[str, Any]) -> None:
        """Write the beginning, before the rows.

        Args:
            document: for JSON, the fields that are known already.
        """
        if self._form is Form.CSV:
            self._csv([field.name for field in RESULTS.fields])
        elif self._form is Form.JSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **document})[:-1] + ',"results":[', nl=False)
        elif self._form is Form.TABLE:
            click.echo(click.style(self._line([column.title for column in RESULTS.columns]), bold=True))

    def add(self, one: "Affected") -> None:
        row = row_of(one, unmask=self._unmask)
        if self._form is Form.CSV:
            self._csv([_in_csv(one) for one in row.values()])
        elif self._form is Form.JSON:
            click.echo(("," if self.rows else "") + "\n" + to_json(row), nl=False)
        elif self._form is Form.NDJSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **row}))
        else:
            click.echo(self._line([cell(row[column.name]) for column in RESULTS.columns]))
        self.rows += 1

    def end(self, document: Mapping[str, Any]) -> None:
        """Write the end, after the rows: for JSON, the rest of the document."""
        if self._form is Form.JSON:
            rest = to_json(document)[1:]
            click.echo("]" + ("," if rest != "}" else "") + rest)

    def _line(self, cells: list[str]) -> str:
        self._widths = [max(width, len(text)) for width, text in zip(self._widths, cells, strict=True)]
        parts = [
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(RESULTS.columns, cells, self._widths, strict=True)
        ]
        return "  ".join(parts).rstrip()

    def _csv(self, cells: Any) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        click.echo(line.getvalue(), nl=False)
