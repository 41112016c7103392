"""Resumable replays: the position of each is stored in the transaction that queues its deliveries.

    begin    a replay has a number (of its first audit row), a selection, and no message behind it yet
    step     the next messages are queued and the position moves behind them, both or neither
    end      it has ended, or a person has given it up

So if the process ends between two steps, nothing is queued twice and nothing is left out: a resumed replay goes on
behind its position. The deliveries of a step are like others, with leases, attempts and keys.

The selection of a replay (`Replay.what`) is in the audit row of its start; this table has numbers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.errors import StoreError
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import audit
from engine.store.operations.outbox import queueing

MOST_UNFINISHED = 100  # beyond this, a new replay gives the oldest unfinished one up


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay and its progress.

    Attributes:
        number: of its first audit row; the number that people use for it.
        position: the last message that was queued or skipped.
        last: the newest message when it began: newer ones do not belong to it.
        total, done: messages.
        deliveries: how many were queued.
        failed: how many of these became dead letters, as far as was recorded.
        actor, at_us, what: from its first audit row.
    """

    number: int
    position: int
    last: int
    total: int
    done: int
    deliveries: int
    failed: int
    actor: str = ""
    at_us: int = 0
    what: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step: its deliveries, and their lanes."""

    deliveries: tuple[int, ...] = ()
    lanes: frozenset[tuple[str, str]] = frozenset()


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, *, actor: str, what: dict[str, Any], total: int, last: int) -> int:
    """Record a replay that is about to start; return its number."""
    act = audit.begin(batch, actor, "replay", what)
    batch.execute(
        "DELETE FROM replay WHERE number <= (SELECT number FROM replay ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (MOST_UNFINISHED - 1,),
    )
    batch.execute(
        "INSERT INTO replay (number, position, last, total, done, deliveries, failed) VALUES (?, 0, ?, ?, 0, 0, 0)",
        (act, last, total),
    )
    return act


@operation(priority=Priority.SETTLE, can_linger=True)
def step(
    batch: Batch,
    number: int,
    messages: Sequence[int],
    *,
    destinations: frozenset[str] | None,
    to: str,
    takes: str,
    states: frozenset[str],
    failed: int = 0,
) -> Step:
    """Queue the next messages, in ascending order; skip those that the position has passed already.

    Args:
        failed: new dead letters among the deliveries of earlier steps.
    """
    row = batch.execute("SELECT position FROM replay WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise StoreError(f"replay {number} was given up")
    (position,) = row
    ahead = [message for message in messages if message > position]
    # An edited message is left out: its own documents contain the error that was edited.
    still = [
        message
        for message in ahead
        if batch.execute("SELECT 1 FROM edited WHERE original = ?", (message,)).fetchone() is None
    ]
    made = queueing.replay(batch, still, destinations, to=to, takes=takes, states=states)
    batch.execute(
        "UPDATE replay SET position = ?, done = done + ?, deliveries = deliveries + ?, failed = failed + ?"
        " WHERE number = ?",
        (max(ahead, default=position), len(ahead), len(made), failed, number),
    )
    lanes = {
        batch.execute(
            "SELECT l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.id = ?", (one,)
        ).fetchone()
        for one in made
    }
    return Step(tuple(made), frozenset(lanes))


@operation(priority=Priority.SETTLE)
def end(batch: Batch, number: int, act: int, outcome: dict[str, Any]) -> None:
    """End a replay, and its audit action."""
    _forget(batch, number)
    audit.end(batch, act, outcome)


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, number: int, *, actor: str) -> None:
    """Give a replay up in a person's name, with an audit row in the same transaction."""
    _forget(batch, number)
    audit.note(batch, actor, "replay", {"given_up": number})


def _forget(batch: Batch, number: int) -> None:
    batch.execute("DELETE FROM replay WHERE number = ?", (number,))
