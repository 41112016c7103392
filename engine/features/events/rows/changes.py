"""How far each webhook has got: table ``webhook``. Its events are not kept anew; they are read from its position on."""

from collections.abc import Collection, Sequence

from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, names: Sequence[str], position: str) -> dict[str, str]:
    """The positions of webhooks, by name; ``position`` for one that has none yet."""
    batch.executemany(
        "INSERT INTO webhook (name, position, given_up, given_up_us) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING",
        [(name, position) for name in names],
    )
    kept = dict(batch.execute("SELECT name, position FROM webhook").fetchall())
    return {name: kept[name] for name in names}


@operation(priority=Priority.SETTLE, can_linger=True)
def reached(batch: Batch, name: str, position: str) -> None:
    """All events before ``position`` were taken, or given up."""
    batch.execute("UPDATE webhook SET position = ? WHERE name = ?", (position, name))


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, name: str, position: str) -> None:
    """The receiver refuses the event before ``position`` for good."""
    batch.execute(
        "UPDATE webhook SET position = ?, given_up = given_up + 1, given_up_us = ? WHERE name = ?",
        (position, batch.now_us, name),
    )


@operation(priority=Priority.SETTLE)
def keep(batch: Batch, names: Collection[str]) -> None:
    """Forget webhooks that are not configured any more."""
    marks = ", ".join("?" * len(names))
    batch.execute(f"DELETE FROM webhook WHERE name NOT IN ({marks})", tuple(names))  # noqa: S608 - question marks
