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

ALL_ROWS, NO_ROWS = "1", "0"
# Table -> `Table.unit`.
OF_CORE: Mapping[str, str] = {
    "meta": ALL_ROWS,
    "data_key": ALL_ROWS,
    "journal": "channel IN ({channels}) OR channel = '' AND kind <> 1",  # acts are read by the number that a row names
    "message_state": "id journal.id",
    "erased": "EXISTS (SELECT 1 FROM journal j WHERE j.id = number) AND what = 'journal'"
    " OR EXISTS (SELECT 1 FROM document d WHERE d.id = number) AND what = 'document'",
    "channel": "name IN ({channels})",
    "pause": "channel IN ({channels}) OR channel = '' AND (destination = '' OR destination IN (SELECT destination FROM"
    " lane))",
    "attempt": "delivery delivery.id",
    # One that has begun with messages of others, too, is theirs.
    "operation": "EXISTS (SELECT 1 FROM main.operation_part p WHERE p.operation = number) AND NOT EXISTS (SELECT 1 FROM"
    " main.operation_part p, json_each(messages_of(p.members)) m WHERE p.operation = number"
    " AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.id = m.value))",
    "operation_part": "operation operation.number",
    "event": "json_extract(data, '$.channel') IN ({channels})"
    " OR type LIKE 'alert.%' AND json_extract(data, '$.subject') IN ({channels})"
    " OR type = 'destination.state' AND json_extract(data, '$.destination') IN (SELECT destination FROM lane)",
}
BY_COLUMN = {"channel": "channel IN ({channels})", "message_id": "message_id journal.id"}  # where no more is said
_REFERENCE = re.compile(r"(\w+) (\w+)\.(\w+)")
_INDEX = re.compile(r" INDEXED BY \w+")  # a view has none by itself; SQLite chooses one of its table
_MEMBER = 16  # bytes; the number of the message is the first half


def _messages_of(members: bytes) -> str:
    numbers = {int.from_bytes(members[at : at + 8], "little") for at in range(0, len(members), _MEMBER)}
    return f"[{','.join(map(str, numbers))}]"


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
        self._views = ""

    def has(self, table: str, column: str, value: object) -> bool:
        """Whether a row is there."""
        return self.row(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", (value,)) is not None  # noqa: S608 - ours

    def _connect(self) -> sqlite3.Connection:
        made = connect(self.path, immutable=self.immutable, factory=_Connection)
        made.create_function("messages_of", 1, _messages_of, deterministic=True)
        made.execute("PRAGMA temp_store = 2")
        made.execute("PRAGMA query_only = 0")
        self._views = self._views or "".join(self._made(made))
        made.executescript(self._views)
        made.execute("PRAGMA query_only = 1")
        return made

    def _made(self, connection: sqlite3.Connection) -> list[str]:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        names = ", ".join("'{}'".format(name.replace("'", "''")) for name in sorted(self.channels)) or "NULL"
        found = [f"CREATE TEMP VIEW these_channels(name) AS SELECT value FROM json_each(json_array({names}));"]  # noqa: S608
        for (table,) in tables.fetchall():
            rows = _told(connection, table).format(channels=names)
            found.append(f"CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} WHERE {rows};")  # noqa: S608 - ours
        return found


def _told(connection: sqlite3.Connection, table: str) -> str:
    """Which rows of a table are those of ``{channels}``."""
    columns = {row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")}
    by_column = next((rows for column, rows in BY_COLUMN.items() if column in columns), NO_ROWS)
    told = {**OF_CORE, **{one.name: one.unit for one in of_features() if one.unit}}.get(table, by_column)
    if found := _REFERENCE.fullmatch(told):
        column, other, key = found.groups()
        told = f"EXISTS (SELECT 1 FROM {other} r WHERE r.{key} = main.{table}.{column})"  # noqa: S608 - ours
    return told
