"""Operations of people on many letters: stored with their members, and carried out in slices.

    begin     the members are frozen, with the filter and the journal's newest row when a person saw the count
    step      the next members are dealt with, and their outcomes counted: in one transaction, or not at all
    cancel    a person ends it; members that are left stay as they are
    abandon   it cannot go on: its first audit row is damaged, or its next members are lost

So each member is dealt with once, whatever ends the process between two steps: a step names the position that it
continues, and does nothing where the operation is elsewhere or has ended. What is done to the members of a step is a
function of the caller's (``work``), which counts an outcome for each of them.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import orjson

from engine.model.errors import RefusedError
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.core.rows import Execute
from engine.store.operations import audit

PART_MEMBERS = 500  # in one row
MOST_RUNNING = 20
MOST_KEPT = 500  # that have ended

Stage = Literal["running", "ended", "cancelled"]
Lanes = frozenset[tuple[str, str]]  # channel, destination

_MEMBER = struct.Struct("<qq")


class Member(NamedTuple):
    """A letter: a message (``delivery_id`` 0), or one of its deliveries."""

    message_id: int
    delivery_id: int = 0


class Done(NamedTuple):
    """What a step has done.

    Attributes:
        outcomes: name -> number of members; together all of the step.
        lanes: with new work.
    """

    outcomes: Mapping[str, int]
    lanes: Lanes = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation and its progress.

    Attributes:
        number: of its first audit row; the number that people use for it.
        last, counted_us: the journal's newest row, and the moment, when a person saw the count.
        total: members.
        outcomes: name -> number of members dealt with so far.
        ended_us: 0 where it has not ended.
        actor, by, at_us, what: from its first audit row.
        damaged: that row cannot be read: only its time is known.
    """

    number: int
    verb: str
    stage: Stage
    last: int
    counted_us: int
    total: int
    outcomes: Mapping[str, int]
    ended_us: int = 0
    actor: str = ""
    by: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    at_us: int = 0
    what: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    damaged: bool = False

    @property
    def shown(self) -> str:
        """Its stage as people see it."""
        return "damaged" if self.damaged else self.stage

    @property
    def position(self) -> int:
        """How many members are dealt with."""
        return sum(self.outcomes.values())


def packed(members: Iterable[Member]) -> bytes:
    return b"".join(_MEMBER.pack(*member) for member in members)


def unpacked(members: bytes) -> list[Member]:
    return [Member(*found) for found in _MEMBER.iter_unpack(members)]


@operation(priority=Priority.SETTLE)
def begin(
    batch: Batch, verb: str, members: Sequence[Member], *, last: int, counted_us: int, actor: str, what: dict[str, Any]
) -> int:
    """Record an operation that is about to start; return its number.

    Raises:
        RefusedError: too many are under way.
    """
    if batch.execute("SELECT count(*) FROM operation WHERE stage = 'running'").fetchone()[0] >= MOST_RUNNING:
        raise RefusedError(f"{MOST_RUNNING} operations are under way; wait for one of them, or cancel it")
    number = audit.begin(batch, actor, verb, what)
    batch.execute(
        "INSERT INTO operation (number, verb, stage, last, counted_us, total, outcomes, ended_us)"
        " VALUES (?, ?, 'running', ?, ?, ?, '{}', 0)",
        (number, verb, last, counted_us, len(members)),
    )
    batch.executemany(
        "INSERT INTO operation_part (operation, position, members) VALUES (?, ?, ?)",
        [(number, at, packed(members[at : at + PART_MEMBERS])) for at in range(0, len(members), PART_MEMBERS)],
    )
    batch.execute(
        "DELETE FROM operation WHERE stage <> 'running' AND number <= (SELECT number FROM operation"
        " WHERE stage <> 'running' ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (MOST_KEPT,),
    )
    return number


@operation(priority=Priority.SETTLE, size=lambda *step, payload: payload)
def step(
    batch: Batch, number: int, position: int, members: int, work: Callable[[Batch], Done], *, payload: int
) -> Done | None:
    """Deal with the next members, the number of which is ``members``; None: nothing was done, for the operation has
    ended, or is not at this position.

    The step that deals with the last of them ends the operation and its act.
    """
    row = batch.execute("SELECT stage, total, outcomes FROM operation WHERE number = ?", (number,)).fetchone()
    if row is None or row[0] != "running":
        return None
    outcomes = Counter[str](orjson.loads(row[2]))
    if outcomes.total() != position:
        return None
    done = work(batch)
    assert sum(done.outcomes.values()) == members, "each member has an outcome"
    outcomes.update(done.outcomes)
    reached = position + members
    batch.execute("UPDATE operation SET outcomes = ? WHERE number = ?", (_json(outcomes), number))
    batch.execute("DELETE FROM operation_part WHERE operation = ? AND position <= ?", (number, reached - PART_MEMBERS))
    if reached >= row[1]:
        _end(batch, number, "ended")
        audit.end(batch, number, _counted(outcomes))
    return done


@operation(priority=Priority.SETTLE)
def cancel(batch: Batch, number: int, *, actor: str) -> bool:
    """End an operation in a person's name, with an audit row in the same transaction. False: it has ended before."""
    found = _running(batch, number)
    if found is None:
        return False
    audit.note(batch, actor, "cancel", {"operation": number, "left": found[1]})
    _cancel(batch, number, *found)
    return True


@operation(priority=Priority.SETTLE)
def abandon(batch: Batch, number: int) -> bool:
    """End an operation that cannot go on, for a part of it is lost. False: it has ended before."""
    found = _running(batch, number)
    if found is None:
        return False
    _cancel(batch, number, *found)
    return True


def cancel_all(execute: Execute) -> None:
    """End all operations, in a journal that is being restored or saved from damage: they may have gone further than it
    knows, or have lost members.
    """
    execute("UPDATE operation SET stage = 'cancelled' WHERE stage = 'running'")
    execute("DELETE FROM operation_part")


def _running(batch: Batch, number: int) -> tuple[Counter[str], int] | None:
    """The outcomes of an operation, and how many members are left; None where it has ended."""
    row = batch.execute(
        "SELECT total, outcomes FROM operation WHERE number = ? AND stage = 'running'", (number,)
    ).fetchone()
    if row is None:
        return None
    outcomes = Counter[str](orjson.loads(row[1]))
    return outcomes, row[0] - outcomes.total()


def _cancel(batch: Batch, number: int, outcomes: Counter[str], left: int) -> None:
    _end(batch, number, "cancelled")
    audit.end(batch, number, {**_counted(outcomes), "cancelled": left})


def _end(batch: Batch, number: int, stage: Stage) -> None:
    batch.execute("UPDATE operation SET stage = ?, ended_us = ? WHERE number = ?", (stage, batch.now_us, number))
    batch.execute("DELETE FROM operation_part WHERE operation = ?", (number,))


def _counted(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in outcomes.items() if count}


def _json(outcomes: Mapping[str, int]) -> str:
    return orjson.dumps(_counted(outcomes)).decode()
