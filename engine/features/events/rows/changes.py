"""How far each webhook has got: table ``webhook``. Its events are not kept anew; they are read from its position on.

Note events about states that no row has: of channels and destinations.

Read how far webhooks have got.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.queries.reader import Reader


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


class StateChange(NamedTuple):
    """A channel or destination has another state. ``kind``: channel, destination; ``was``: empty at a start."""

    kind: str
    name: str
    state: str
    was: str


@operation(priority=Priority.SETTLE, can_linger=True)
def note(batch: Batch, changes: Sequence[StateChange]) -> None:
    """Note them, in this order."""
    for one in changes:
        batch.tell(f"{one.kind}.state", **{one.kind: one.name}, state=one.state, was=one.was)


@dataclass(frozen=True, slots=True)
class FailingWebhook:
    """A webhook that is for a person, since then. ``count``: events that were given up; 0: attempts fail."""

    name: str
    since_us: int
    count: int = 0


class StoredWebhook(NamedTuple):
    """A webhook as it is kept. ``given_up``: events that its receiver refused, and when the last one was; 0 never."""

    name: str
    position: str
    given_up: int
    given_up_us: int


def stored_webhooks(reader: Reader) -> list[StoredWebhook]:
    """All of them, by name."""
    rows = reader.rows("SELECT name, position, given_up, given_up_us FROM webhook ORDER BY name")
    return [StoredWebhook(*row) for row in rows]
