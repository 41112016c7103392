"""Read what people have said about entries of the to-do list."""

from engine.model.todo import Look, Mark, Snooze, TodoState
from engine.store.core.notes import opened_note
from engine.store.queries.reader import Reader


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
