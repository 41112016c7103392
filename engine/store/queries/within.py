"""Read some channels alone: every statement of a `Within` sees their rows, and no others.

A connection of SQLite finds a temporary view before the table of its name. So each table has such a view, with the rows
of these channels; no query knows of it. A table says by its columns which rows these are: ``channel``, else
``message_id``. Another one says it in `OF_CORE`, or as `Table.unit`; one that says nothing has no rows here.
``main.NAME`` is the whole table: for what shows nothing of it.
"""

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from engine.store.core.connecting import connect
from engine.store.operations.pruning import of_features
from engine.store.queries.reader import Reader

# Table -> `Table.unit`.
OF_CORE: Mapping[str, str] = {
    "meta": "1",
    "data_key": "1",
    "journal": "channel IN these_channels OR channel = '' AND kind <> 1",  # acts are read by number
    "message_state": "id journal.id",
    "erased": "EXISTS (SELECT 1 FROM journal j WHERE j.id = number) AND what = 'journal'"
    " OR EXISTS (SELECT 1 FROM document d WHERE d.id = number) AND what = 'document'",
    "channel": "name IN these_channels",
    "pause": "channel IN these_channels OR channel = '' AND (destination = '' OR destination IN (SELECT destination"
    " FROM lane))",
    "attempt": "delivery delivery.id",
    "operation": "json_valid(channels) AND NOT EXISTS (SELECT 1 FROM json_each(channels) WHERE value"
    " NOT IN these_channels)",
    "event": "json_extract(data, '$.channel') IN these_channels"
    " OR type LIKE 'alert.%' AND json_extract(data, '$.subject') IN these_channels"
    " OR type = 'destination.state' AND json_extract(data, '$.destination') IN (SELECT destination FROM lane)",
}
BY_COLUMN = {"channel": "channel IN these_channels", "message_id": "message_id journal.id"}  # where no more is said
_REFERENCE = re.compile(r"^(\w+) (\w+)\.(\w+)$")
_INDEX = re.compile(r" INDEXED BY \w+")  # a view has none by itself; SQLite chooses one of its table


class _Connection(sqlite3.Connection):
    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(_INDEX.sub("", statement), *values)


class Within(Reader):
    """Read access to what these channels have.

    Args:
        whole: of the whole journal.
    """

    is_whole = False

    def __init__(self, whole: Reader, channels: frozenset[str]) -> None:
        super().__init__(whole.path, whole.keys, immutable=whole.immutable)
        self.channels = channels

    def has(self, table: str, column: str, value: object) -> bool:
        """Whether a row is there."""
        return self.row(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", (value,)) is not None  # noqa: S608 - ours

    def _connect(self) -> sqlite3.Connection:
        made, views = connect(self.path, immutable=self.immutable, factory=_Connection), ""
        made.executescript("PRAGMA temp_store = 2; PRAGMA query_only = 0; CREATE TEMP TABLE these_channels (name)")
        made.executemany("INSERT INTO these_channels VALUES (?)", [(one,) for one in self.channels])
        tables = made.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        for (table,) in tables.fetchall():
            views += f"CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} WHERE {_told(made, table)};"  # noqa: S608
        made.executescript(f"{views} PRAGMA query_only = 1")
        return made


def _told(connection: sqlite3.Connection, table: str) -> str:
    """Which rows of a table are those of `these_channels`."""
    columns = {row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")}
    by_column = next((rows for column, rows in BY_COLUMN.items() if column in columns), "0")
    told = {**OF_CORE, **{one.name: one.unit for one in of_features() if one.unit}}.get(table, by_column)
    return _REFERENCE.sub(rf"EXISTS (SELECT 1 FROM \2 r WHERE r.\3 = main.{table}.\1)", told)  # noqa: S608 - ours
