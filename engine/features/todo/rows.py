"""The tables of this feature, with all of its SQL.

The tables of what people say to the to-do list.

People's words about entries of the to-do list: each is an audit row, and the table names it.

The words themselves are in the audit row, sealed as all reasons are. `observed` follows the list as it changes: it is
no act of a person, and writes only for entries that people have said something about.

A user's looks at the to-do list (`todo_look`). No act of a person: it is in no audit trail.

Read what people have said about entries of the to-do list.
"""

from collections.abc import Collection, Sequence
from typing import Any

from engine.feature import Table
from engine.model.journal.records import KIND_MESSAGE
from engine.model.site.todo import Look, Mark, Snooze, TodoState
from engine.store.core.notes import opened_note
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle.retention import Need, Rows
from engine.store.operations import audit
from engine.store.queries.reader import Reader

TABLES = (Table(name="todo"), Table(name="todo_look"))


MAX_KEPT = 1000  # entries; beyond it the one whose last act is the oldest goes


def keeps(rows: Rows, row_id: int, kind: int) -> Need:
    """An audit row stays as long as an entry names it."""
    if kind == KIND_MESSAGE:
        return Need()
    named = rows.execute("SELECT 1 FROM todo WHERE ? IN (taken, note, snooze) LIMIT 1", (row_id,)).fetchone()
    return Need(why="to-do list") if named else Need()


@operation(priority=Priority.SETTLE)
def take(batch: Batch, key: str, actor: str) -> int:
    """A person has the entry now; also one that another person had. Returns the id of the audit row."""
    act = audit.note(batch, actor, "todo-take", {"entry": key})
    return _keep(batch, key, taken=act)


@operation(priority=Priority.SETTLE)
def annotate(batch: Batch, key: str, actor: str, text: str) -> int:
    """Keep a note, in the place of the one before."""
    act = audit.note(batch, actor, "todo-note", {"entry": key, "reason": text})
    return _keep(batch, key, note=act)


@operation(priority=Priority.SETTLE)
def snooze(batch: Batch, key: str, actor: str, reason: str, *, until_us: int, rank: int, count: int) -> int:
    """Do not show the entry as work until then; ``rank``, ``count``: how it is now."""
    what = {"entry": key, "until_us": until_us, "reason": reason}
    act = audit.note(batch, actor, "todo-snooze", what)
    return _keep(batch, key, snooze=act, until_us=until_us, rank=rank, count=count)


@operation(priority=Priority.SETTLE)
def drop(batch: Batch, key: str, actor: str, only: str | None = None) -> int | None:
    """Forget who has the entry, its note and its snooze, or ``only`` one of them (``taken``, ``note``, ``snooze``);
    None: nothing was kept about it."""
    if only is None:
        changed = batch.execute("DELETE FROM todo WHERE key = ?", (key,))
    else:
        changed = batch.execute(f"UPDATE todo SET {only} = 0 WHERE key = ? AND {only} <> 0", (key,))  # noqa: S608 - a column
    if not changed.rowcount:
        return None
    batch.execute("DELETE FROM todo WHERE key = ? AND max(taken, note, snooze) = 0", (key,))
    return audit.note(batch, actor, "todo-drop", {"entry": key, **({"only": only} if only else {})})


@operation(priority=Priority.SETTLE)
def observed(batch: Batch, *, gone: Sequence[str], back: Sequence[str], forgotten: Sequence[str], now_us: int) -> None:
    """Entries have left the list, or come back to it, or have been gone for so long that they are new next time."""
    batch.executemany("UPDATE todo SET gone_us = ? WHERE key = ?", [(now_us, key) for key in gone])
    batch.executemany("UPDATE todo SET gone_us = 0 WHERE key = ?", [(key,) for key in back])
    batch.executemany("DELETE FROM todo WHERE key = ?", [(key,) for key in forgotten])


def _keep(batch: Batch, key: str, **columns: Any) -> int:
    """Change these columns of the entry's row; the first is the act's."""
    act: int = next(iter(columns.values()))
    names = ", ".join(columns)
    batch.execute(
        f"INSERT INTO todo (key, {names}) VALUES (?{', ?' * len(columns)})"  # noqa: S608 - our own names
        f" ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)}, gone_us = 0",
        (key, *columns.values()),
    )
    batch.execute(
        "DELETE FROM todo WHERE key IN (SELECT key FROM todo ORDER BY max(taken, note, snooze) DESC LIMIT -1 OFFSET ?)",
        (MAX_KEPT,),
    )
    return act


MOST_KEYS = 1000  # of one look
VISIT_US = 10 * 60_000_000  # a look that comes later than this is another visit


@operation(priority=Priority.SETTLE, can_linger=True)
def looked(batch: Batch, user: int, keys: Collection[str], at_us: int) -> None:
    """Note a look; where it begins another visit, the look before it is what that visit compares with."""
    batch.execute(
        "INSERT INTO todo_look (user, at_us, keys, before_us, before_keys) VALUES (?1, ?2, ?3, 0, '')"
        " ON CONFLICT DO UPDATE SET at_us = ?2, keys = ?3,"
        " before_us = CASE WHEN ?2 - at_us >= ?4 THEN at_us ELSE before_us END,"
        " before_keys = CASE WHEN ?2 - at_us >= ?4 THEN keys ELSE before_keys END",
        (user, at_us, "\n".join(sorted(keys)[:MOST_KEYS]), VISIT_US),
    )


def todo_states(reader: Reader) -> dict[str, TodoState]:
    """All that is kept, by the entry's key; without the journal's key it lacks persons and words."""
    found = {}
    for key, taken, note, snooze, until_us, rank, count, gone_us in reader.rows(
        "SELECT key, taken, note, snooze, until_us, rank, count, gone_us FROM todo ORDER BY key"
    ):
        snoozed = mark_of(reader, snooze)
        found[key] = TodoState(
            key=key,
            taken=mark_of(reader, taken),
            note=mark_of(reader, note),
            snooze=Snooze(
                by=snoozed.by, at_us=snoozed.at_us, text=snoozed.text, until_us=until_us, rank=rank, count=count
            )
            if snoozed is not None
            else None,
            gone_us=gone_us,
        )
    return found


def looks(reader: Reader, user: int) -> tuple[Look | None, Look | None]:
    """A user's last look at the list, and the last one of the visit before; None: there was none."""
    rows = reader.rows("SELECT at_us, keys, before_us, before_keys FROM todo_look WHERE user = ?", (user,))
    if not rows:
        return None, None
    ((at_us, keys, before_us, before),) = rows
    return _look(at_us, keys), _look(before_us, before)


def _look(at_us: int, keys: str) -> Look | None:
    return Look(at_us=at_us, keys=frozenset(keys.split("\n")) - {""}) if at_us else None


def mark_of(reader: Reader, act: int) -> Mark | None:
    """None where there was no such act; empty where its row is lost or cannot be opened."""
    if not act:
        return None
    rows = reader.rows("SELECT received_us, body FROM journal WHERE id = ? AND kind = 3", (act,))
    at_us, sealed = rows[0] if rows else (0, b"")
    said = opened_note(reader.keys, sealed, "body", act, "")
    return Mark(by=str(said.get("actor", "")), at_us=at_us, text=str(said.get("what", {}).get("reason", "")))
