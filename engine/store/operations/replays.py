"""Replays that can be taken up again: how far each has come, kept in the transaction that queues its deliveries.

    begin    a replay has a number (of its first act), what it is about, and no message behind it yet
    step     the next messages are queued and the position moves behind them, both or neither
    end      it has come to its end, or a person has given it up

So whatever ends the process between two steps, nothing is queued twice and nothing is left out: who takes the replay up
again goes on behind its position. What a step has queued are deliveries like others, with leases, attempts and keys.

What a replay is about (`Replay.what`) stands in the audit row of its first act; this table has numbers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.errors import StoreError
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import audit
from engine.store.operations.outbox import queueing

MOST_UNFINISHED = 100  # the oldest that nobody takes up again is given up for the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay as it stands.

    Attributes:
        number: of its first act; what people name it by.
        position: the last message that was queued, or looked at in vain.
        last: the newest message there was when it began: nothing newer belongs to it.
        total, done: messages.
        deliveries: that were queued.
        failed: of these, that became dead letters; as far as it was noted.
        actor, at_us, what: of its first act.
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
    """What a step has queued: deliveries, and the lanes they stand in."""

    deliveries: tuple[int, ...] = ()
    lanes: frozenset[tuple[str, str]] = frozenset()


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, *, actor: str, what: dict[str, Any], total: int, last: int) -> int:
    """Note a replay that is about to start; its number."""
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
    """Queue the next messages, in ascending order; those behind the position already are left alone.

    Args:
        failed: dead letters among the deliveries of earlier steps that are not noted yet.
    """
    row = batch.execute("SELECT position FROM replay WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise StoreError(f"replay {number} was given up")
    (position,) = row
    ahead = [message for message in messages if message > position]
    # What was edited is another message's now: its documents have in them what was wrong.
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
    """A replay has come to its end, and so has its act."""
    _forget(batch, number)
    audit.end(batch, act, outcome)


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, number: int, *, actor: str) -> None:
    """A person gives a replay up. Recorded in the same transaction."""
    _forget(batch, number)
    audit.note(batch, actor, "replay", {"given_up": number})


def _forget(batch: Batch, number: int) -> None:
    batch.execute("DELETE FROM replay WHERE number = ?", (number,))
