"""Note events about states that no row has: of channels and destinations."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation


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
