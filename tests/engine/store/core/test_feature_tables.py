"""Each table of the journal has one owner, comes back with a backup, and goes with the messages that it names.

A row of made-up values is put into each table of a feature, and of the store where it names a message, so that what is
said of it is done to it.
"""

import ast
import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.feature import Table
from engine.store.core.connecting import JOURNAL_NAME, PLACES
from engine.store.lifecycle import erasure
from engine.store.operations.pruning import TABLES, PrunableRows, let_go, of_features
from engine.store.recovery.backups import state_snapshot
from engine.store.recovery.backups.catalog import Copy
from tests.support.copies import Place
from tests.support.journals import NOW_US, opened, queue, running

ENGINE = Path(__file__).parents[4] / "engine"
WRITES = re.compile(r"\b(?:INTO|UPDATE(?: OR \w+)?|DELETE FROM)\s+(?:main\.)?(\w+)\b")
# Tables that another than their owner writes, too: table, who, and why.
WRITTEN_BY_OTHERS = {
    ("todo_look", "access"): "a user is removed",
    ("edited", "rework"): "an edit is rework; what came of it is the journal's, and all of it reads this",
    ("meta", "abdm"): "a key of its own",
    ("meta", "orders"): "a key of its own",
    ("message_state", "orders"): "a message is processed again after a salvage",
    ("message_state", "reports"): "the results that are to be counted",
    ("delivery", "results"): "a delivery is held",
    ("report", "results"): "whose a report is, is judged there; pruning, restores and salvages of it are the journal's",
}
# Tables of features that a restore leaves empty, or as the copy has them.
ENDS = {"log_in_session", "log_in_device", "failed_log_in", "refused_log_in", "abdm_offer", "abdm_code"}
# Rows that outlast the message that they name, and why.
OUTLASTS = {
    "bearer": "the person of a number is known for good",
    "bearer_asked": "a message with an open question is never deleted",
    "earlier_value": "it is asked for in 90 days, and then forgotten",
    "used_number": "the days of a number are known for as long as the number may come again",
    "order_query": "a question has an age of its own",
    "abdm_context": "its reference is never another report's",
    "qc_point": "controls are looked at for years, and are no patient's",
    "critical_call": "reports count it for 800 days, and it names no patient",
    "result_seen": "a result that comes again within a week is not counted twice",
}
OUTLASTS_OF_STORE = {
    "repeat": "it has an end of its own, and its message is kept until then",
    "report": "it has an end of its own, and its message is kept until then",
}
# Rows that an erasure of the message that they name leaves as they are, and why: nothing of them is a patient's.
STAYS_ERASED = {
    "critical_call": "times, and whose act it was",
    "critical_result": "numbers of messages",
    "critical_value": "times",
    "order_event": "its detail goes with its order (`engine.features.orders.rows.forgetting`)",
    "order_query": "times, and numbers of orders",
    "order_reflex": "codes of tests, and numbers of orders",
    "qc_bracket": "times, and codes of tests",
    "qc_look": "who has looked",
    "reagent_use": "codes of tests",
    "rule_hit": "names of rules",
}
OTHERWISE = {("result_pending", "waits"): ""}  # a value that is read when its message goes


def schema(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def put_made_up_rows(connection: sqlite3.Connection, tables: Iterable[str]) -> None:
    """One row in each table: of message 1, number 1, changed just now."""
    for table in tables:
        row: dict[str, object] = {}
        for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
            made_up: dict[str, object] = {"INTEGER": NOW_US if name.endswith("_us") else 1, "BLOB": b"1"}
            row[name] = OTHERWISE.get((table, name), made_up.get(kind, "1"))
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def name_messages(connection: sqlite3.Connection, tables: Iterable[str]) -> set[str]:
    """Those with a column for the number of a message."""
    return {
        table
        for table in tables
        if any(name == "message_id" for _, name, *_ in connection.execute(f"PRAGMA table_info({table})"))
    }


def rows_in(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {one.name: connection.execute(f"SELECT * FROM {one.name}").fetchall() for one in of_features()}


def writers() -> Iterator[tuple[str, str]]:
    """Each table that a statement writes, with the feature that has it; empty: the core."""
    for path in ENGINE.rglob("*.py"):
        inside = path.relative_to(ENGINE).parts
        owner = inside[1] if inside[0] == "features" else ""
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from ((table, owner) for table in WRITES.findall(node.value))


def test_each_table_is_of_the_store_or_of_one_feature(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        there = schema(connection)
    owners = {table.name: feature for feature, tables in TABLES.by_feature().items() for table in tables}
    assert [name for name, n in Counter(one.name for one in of_features()).items() if n > 1] == []
    assert owners.keys() <= there
    written = {(table, owner) for table, owner in writers() if table in there}
    assert {table for table, _ in written} >= {"bearer", "journal", "order_item", "todo"}, "statements are found"
    others = {(table, owner) for table, owner in written if owner != owners.get(table, "")}
    assert others == WRITTEN_BY_OTHERS.keys()


def test_a_feature_makes_the_tables_that_it_declares_and_the_store_makes_the_others() -> None:
    made: dict[str, set[str]] = {}
    for path in (path for place in PLACES for path in sorted(ENGINE.glob(place))):
        feature = path.parent.name if path.parent.parent.name == "features" else ""
        made.setdefault(feature, set()).update(re.findall(r"CREATE TABLE (\w+)", path.read_text(encoding="utf-8")))
    assert "journal" in made.pop("")
    assert made == {feature: {one.name for one in tables} for feature, tables in TABLES.by_feature().items()}


@pytest.fixture
def lived(tmp_path: Path) -> tuple[Place, Copy, bytes]:
    """A site with a copy of its empty journal, a message since, and a row in each table of a feature."""
    place = Place(tmp_path)

    async def run() -> tuple[Copy, bytes]:
        async with running(place.data) as journal:
            copy = await place.copy(journal)
            await queue(journal, b"1")
            return copy, journal.journal_id

    copy, journal_id = asyncio.run(run())
    with closing(sqlite3.connect(place.data / JOURNAL_NAME, isolation_level=None)) as connection:
        put_made_up_rows(connection, (one.name for one in of_features()))
    return place, copy, journal_id


def test_each_table_of_a_feature_comes_back_with_a_backup(lived: tuple[Place, Copy, bytes]) -> None:
    place, copy, journal_id = lived
    before = rows_in(place.data / JOURNAL_NAME)
    assert [name for name, rows in before.items() if len(rows) != 1] == []
    snapshot = state_snapshot.write(copy, place.data / JOURNAL_NAME)
    assert snapshot is not None
    with closing(sqlite3.connect(place.data / JOURNAL_NAME, isolation_level=None, uri=True)) as connection:
        for one in of_features():
            connection.execute(f"DELETE FROM {one.name}")
        state_snapshot.apply(connection, snapshot, journal_id)
    after = rows_in(place.data / JOURNAL_NAME)
    assert {name for name, rows in after.items() if not rows} == ENDS
    assert {name: rows for name, rows in after.items() if name not in ENDS} == {
        name: rows for name, rows in before.items() if name not in ENDS
    }


def test_rows_that_are_copied_together_come_in_place_of_those_that_are_there(lived: tuple[Place, Copy, bytes]) -> None:
    place, copy, journal_id = lived
    snapshot = state_snapshot.write(copy, place.data / JOURNAL_NAME)
    assert snapshot is not None
    together = [one for one in of_features() if one.copied == "" or one.by]
    path = place.data / JOURNAL_NAME
    with closing(sqlite3.connect(path, isolation_level=None, uri=True)) as connection:
        doubled = [one.name for one in together if put_another(connection, one)]
        assert {"bearer", "earlier_value", "reagent_use", "todo", "alert"} <= set(doubled)
        state_snapshot.apply(connection, snapshot, journal_id)
    assert {name: len(rows) for name, rows in rows_in(path).items() if name in doubled} == dict.fromkeys(doubled, 1)


def put_another(connection: sqlite3.Connection, table: Table) -> bool:
    """One more row that belongs to the made-up one; whether there can be one."""
    info = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
    if [name for _, name, _, _, _, key in info if key] == [table.by]:
        return False
    values = ", ".join(name if name == table.by else f"{name} + 1" for _, name, *_ in info)
    connection.execute(f"INSERT INTO {table.name} SELECT {values} FROM {table.name}")
    return True


def test_rows_go_with_the_message_that_they_name(lived: tuple[Place, Copy, bytes]) -> None:
    place, _, _ = lived
    journal = opened(place.data)
    with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection:
        ((chain,),) = connection.execute("SELECT chain FROM journal WHERE id = 1").fetchall()
        named = name_messages(connection, (one.name for one in of_features()))
    journal.run_alone(lambda batch: let_go(batch, PrunableRows(0, rows={1: chain}, messages=[1])))
    journal.close()
    left = {name for name, rows in rows_in(place.data / JOURNAL_NAME).items() if rows}
    assert named & left == OUTLASTS.keys(), "say `pruned` of its Table in its feature, or why it outlasts, here"
    assert len(named) > len(OUTLASTS)


def test_an_erased_message_leaves_nothing_in_the_tables_that_name_it(lived: tuple[Place, Copy, bytes]) -> None:
    place, _, _ = lived
    path = place.data / JOURNAL_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        named = name_messages(connection, (one.name for one in of_features()))
        connection.execute(
            "DELETE FROM order_item"
        )  # sealed: tests/engine/features/orders/rows/test_kept_and_erased.py
    before = rows_in(path)
    journal = opened(place.data)
    journal.run_alone(erasure.erase, [1], ["P1"], actor="ann", reason="asked", more={})
    journal.close()
    after = rows_in(path)
    unchanged = {name for name in named if before[name] and before[name] == after[name]}
    assert unchanged == STAYS_ERASED.keys(), "say `forgets` in the feature, or here why its rows name no patient"


def test_rows_of_the_store_go_with_the_message_that_they_name(lived: tuple[Place, Copy, bytes]) -> None:
    place, _, _ = lived
    path = place.data / JOURNAL_NAME
    journal = opened(place.data)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ((chain,),) = connection.execute("SELECT chain FROM journal WHERE id = 1").fetchall()
        named = name_messages(connection, schema(connection) - {one.name for one in of_features()})
        put_made_up_rows(connection, named - {"document", "delivery", "message_number"})  # these it has already
        rows = {
            name: connection.execute(f"SELECT count(*) FROM {name} WHERE message_id = 1").fetchone() for name in named
        }
    assert [name for name, (n,) in rows.items() if not n and name != "message_number"] == []
    journal.run_alone(lambda batch: let_go(batch, PrunableRows(0, rows={1: chain}, messages=[1])))
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        left = {name for name in named if connection.execute(f"SELECT 1 FROM {name} WHERE message_id = 1").fetchone()}
    assert left == OUTLASTS_OF_STORE.keys(), (
        "add the table to `_OF_MESSAGE` of engine/store/operations/pruning.py, or say here why its rows outlast"
    )
