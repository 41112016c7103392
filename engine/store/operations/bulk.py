"""Operations of people on many letters: stored with their members, and carried out in slices.

    begin     the members are frozen, with the filter and the journal's newest row when a person saw the count
    step      the next members are dealt with, and their outcomes counted: in one transaction, or not at all
    cancel    a person ends it; members that are left stay as they are
    abandon   it cannot go on, for a part of it is damaged or lost: it has failed

So each member is dealt with once, whatever ends the process between two steps: a step names the position that it
continues, and does nothing where the operation is elsewhere or has ended. What is done to the members of a step is a
function of the caller's (``work``), which counts an outcome for each of them.

The members of an operation as they are now: it leaves alone what is no longer as a person saw it.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import orjson

from engine.model.errors import RefusedError
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

PART_MEMBERS = 500  # in one row
MOST_RUNNING = 20
MOST_KEPT = 500  # that have ended

Stage = Literal["running", "ended", "cancelled", "failed"]
Fault = Literal["", "first_row", "own_row", "letters", "steps", "open_act"]
Lanes = frozenset[tuple[str, str]]  # channel, destination

_MEMBER = struct.Struct("<qq")
_PART = struct.Struct("<qq")  # operation, position
_DIGEST_BYTES = 16


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
        fault: the part of it that was found damaged or lost: its row of the audit trail, its own row, its list of
            letters, the row that says that it is under way; or that its steps failed again and again.
        actor, by, at_us, what: from its first audit row.
        damaged: that row, or its own, cannot be read.
    """

    number: int
    verb: str
    stage: Stage
    last: int
    counted_us: int
    total: int
    outcomes: Mapping[str, int]
    ended_us: int = 0
    fault: Fault = ""
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


def counts(outcome: str) -> Callable[[Batch], Done]:
    """The work of a step that leaves its one member alone."""
    return leaves_all({outcome: 1})


def leaves_all(outcomes: Mapping[str, int]) -> Callable[[Batch], Done]:
    """The work of a step that leaves its members alone."""
    return lambda batch: Done(outcomes)


def packed(number: int, position: int, members: Iterable[Member]) -> bytes:
    """A part of an operation's letters, with a digest: damage must never name other letters."""
    content = b"".join(_MEMBER.pack(*member) for member in members)
    return content + _digest(number, position, content)


def unpacked(number: int, position: int, part: bytes) -> list[Member]:
    """The letters of a part; none where it is damaged."""
    content, digest = part[:-_DIGEST_BYTES], part[-_DIGEST_BYTES:]
    if digest != _digest(number, position, content):
        return []
    return [Member(*found) for found in _MEMBER.iter_unpack(content)]


def members_left(execute: Execute) -> set[int] | None:
    """The messages that operations under way have still to deal with; None: the list of one is damaged or lost.

    A few of the last part that was begun are dealt with already.
    """
    left: set[int] = set()
    for number, total, done in execute(
        "SELECT number, total, CAST(outcomes AS BLOB) FROM operation WHERE stage = 'running'"
    ).fetchall():
        outcomes, came = outcomes_of(done, total), 0
        for position, part in execute(
            "SELECT position, members FROM operation_part WHERE operation = ? ORDER BY position", (number,)
        ).fetchall():
            members = unpacked(number, position, part)
            came = position + len(members)
            left.update(member.message_id for member in members)
        if outcomes is None or came != total:
            return None
    return left


def _digest(number: int, position: int, content: bytes) -> bytes:
    return blake2b(_PART.pack(number, position) + content, digest_size=_DIGEST_BYTES).digest()


def is_stage(stored: object) -> bool:
    return stored in get_args(Stage)


def outcomes_of(stored: bytes, total: int) -> Counter[str] | None:
    """The outcomes of an operation's row; None where it is damaged."""
    try:
        outcomes = Counter[str]({name: int(count) for name, count in orjson.loads(stored).items()})
    except (ValueError, TypeError, AttributeError):
        return None
    return outcomes if min(outcomes.values(), default=0) >= 0 and outcomes.total() <= total else None


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
    number, channels = audit.begin(batch, actor, verb, what), what.get("selection", {}).get("channels")
    batch.execute(
        "INSERT INTO operation (number, verb, stage, last, counted_us, total, outcomes, ended_us, fault, channels)"
        " VALUES (?, ?, 'running', ?, ?, ?, '{}', 0, '', ?)",
        (number, verb, last, counted_us, len(members), orjson.dumps(channels).decode() if channels else ""),
    )
    batch.executemany(
        "INSERT INTO operation_part (operation, position, members) VALUES (?, ?, ?)",
        [
            (number, at, packed(number, at, members[at : at + PART_MEMBERS]))
            for at in range(0, len(members), PART_MEMBERS)
        ],
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
    ended, or is not at this position, or its row is damaged.

    The step that deals with the last of them ends the operation and its act.
    """
    row = batch.execute(
        "SELECT stage, total, CAST(outcomes AS BLOB) FROM operation WHERE number = ?", (number,)
    ).fetchone()
    if row is None or row[0] != "running":
        return None
    outcomes = outcomes_of(row[2], row[1])
    if outcomes is None or outcomes.total() != position:
        return None
    done = work(batch)
    assert sum(done.outcomes.values()) == members, "each member has an outcome"
    outcomes.update(done.outcomes)
    reached = position + members
    batch.execute("UPDATE operation SET outcomes = ? WHERE number = ?", (_json(outcomes), number))
    batch.execute("DELETE FROM operation_part WHERE operation = ? AND position <= ?", (number, reached - PART_MEMBERS))
    if reached >= row[1]:
        _end(batch, number, "ended", _counted(outcomes))
    return done


@operation(priority=Priority.SETTLE)
def cancel(batch: Batch, number: int, *, actor: str) -> bool:
    """End an operation in a person's name, with an audit row in the same transaction. False: it has ended before."""
    found = _running(batch, number)
    if found is None:
        return False
    outcomes, left = found
    audit.note(batch, actor, "cancel", {"operation": number, "left": left})
    _end(batch, number, "cancelled", {**_counted(outcomes), "cancelled": left})
    return True


@operation(priority=Priority.SETTLE)
def abandon(batch: Batch, number: int, fault: Fault) -> bool:
    """End an operation that cannot go on; ``fault`` as of `Operation`. False: it has ended before."""
    found = _running(batch, number)
    if found is None:
        return False
    outcomes, left = found
    _end(batch, number, "failed", {**_counted(outcomes), "abandoned": True, "left": left}, fault)
    return True


def cancel_all(execute: Execute) -> None:
    """End all operations, in a journal that is being restored or saved from damage: they may have gone further than it
    knows, or have lost members.
    """
    execute("UPDATE operation SET stage = 'cancelled' WHERE stage = 'running'")
    execute("DELETE FROM operation_part")


def _running(batch: Batch, number: int) -> tuple[Counter[str], int] | None:
    """The outcomes of an operation, and how many members are left; None where it has ended. Nothing is known of a
    damaged row: no outcomes, and 0.
    """
    row = batch.execute(
        "SELECT total, CAST(outcomes AS BLOB) FROM operation WHERE number = ? AND stage = 'running'", (number,)
    ).fetchone()
    if row is None:
        return None
    outcomes = outcomes_of(row[1], row[0])
    return (Counter[str](), 0) if outcomes is None else (outcomes, row[0] - outcomes.total())


def _end(batch: Batch, number: int, stage: Stage, outcome: dict[str, Any], fault: Fault = "") -> None:
    """End it and its act. The operation's row guards against a second end, so the act ends also where the row that says
    that it is under way is lost.
    """
    if not audit.is_under_way(batch, number):
        fault = fault or "open_act"
    batch.execute(
        "UPDATE operation SET stage = ?, ended_us = ?, fault = ? WHERE number = ?", (stage, batch.now_us, fault, number)
    )
    batch.execute("DELETE FROM operation_part WHERE operation = ?", (number,))
    audit.end_always(batch, number, outcome | ({"fault": fault} if fault else {}))


def _counted(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in outcomes.items() if count}


def _json(outcomes: Mapping[str, int]) -> str:
    return orjson.dumps(_counted(outcomes)).decode()


def why_left(batch: Batch, member: Member) -> str:
    """The outcome of a letter that is not as it was counted."""
    return "erased" if pruned_ranges.act_of(batch.execute, pruned_ranges.JOURNAL, member.message_id) else "skipped"


def as_counted(batch: Batch, delivery_id: int, state: str, counted_us: int) -> tuple[str, str, str] | None:
    """Cause, channel and destination of a delivery; None where it is not as it was counted."""
    row: tuple[str, str, str] | None = batch.execute(
        "SELECT d.cause, l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
        " WHERE d.id = ? AND d.state = ? AND d.settled_us <= ?",
        (delivery_id, state, counted_us),
    ).fetchone()
    return row
