"""The list of affected results that `labrelay reprocess` shows: written row by row, however long it is.

table    a heading, then rows; a column grows with a wider value
json     one document; the rows are in ``results``, before the fields that are known only at the end
ndjson   an object a row
csv      a heading and a line a row. A text that a spreadsheet would take for a formula has an apostrophe before it;
             a number has none
"""

from collections.abc import Mapping
from typing import Any

import click

from engine.commands.shared.output import SCHEMA_VERSION, Form, to_json
from engine.features.rework.lists.affected import HEADING, RESULTS, Affected, csv_line, row_of
from engine.views.text import cell


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
            click.echo(HEADING, nl=False)
        elif self._form is Form.JSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **document})[:-1] + ',"results":[', nl=False)
        elif self._form is Form.TABLE:
            click.echo(click.style(self._line([column.title for column in RESULTS.columns]), bold=True))

    def add(self, one: Affected) -> None:
        row = row_of(one, unmask=self._unmask)
        if self._form is Form.CSV:
            click.echo(csv_line(row.values()), nl=False)
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
