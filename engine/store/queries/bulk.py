"""Read operations of people on many letters."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from engine.model.errors import IntegrityError
from engine.model.journal.journal_views import Act
from engine.store.operations.bulk import PART_MEMBERS, Fault, Member, Operation, is_stage, outcomes_of, unpacked
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader

# An operation outlives its first row where that is lost; one that has ended goes with it, in time.
_OPERATIONS = (
    "SELECT o.number, o.verb, o.stage, o.last, o.counted_us, o.total, CAST(o.outcomes AS BLOB), o.ended_us, o.fault,"
    " j.id, j.received_us, j.body FROM operation o LEFT JOIN journal j ON j.id = o.number AND j.kind = 3"
    " WHERE (j.id IS NOT NULL OR o.stage = 'running' OR o.fault = 'first_row')"
)


def operations_page(reader: Reader, *, before: int | None = None, limit: int = 50) -> list[Operation]:
    """Operations, newest first."""
    below = 2**62 if before is None else before
    rows = reader.rows(f"{_OPERATIONS} AND o.number < ? ORDER BY o.number DESC LIMIT ?", (below, limit))
    return [_operation(reader, row) for row in rows]


def operation_if(reader: Reader, number: int) -> Operation | None:
    """The operation of that number, if there is one."""
    return next((_operation(reader, row) for row in reader.rows(f"{_OPERATIONS} AND o.number = ?", (number,))), None)


def running_operations(reader: Reader) -> list[Operation]:
    """Those that have not ended, oldest first."""
    rows = reader.rows(f"{_OPERATIONS} AND o.stage = 'running' ORDER BY o.number")
    return [_operation(reader, row) for row in rows]


def members_from(reader: Reader, number: int, position: int, limit: int) -> list[Member]:
    """The next members of an operation, at most ``limit`` and up to the first that is lost or damaged; none where it
    has ended.
    """
    rows = reader.rows(
        "SELECT position, CAST(members AS BLOB) FROM operation_part WHERE operation = ? AND position > ?"
        " ORDER BY position LIMIT ?",
        (number, position - PART_MEMBERS, 1 + -(-limit // PART_MEMBERS)),
    )
    found = {first + n: member for first, members in rows for n, member in enumerate(unpacked(number, first, members))}
    return [found[at] for at in takewhile(found.__contains__, range(position, position + limit))]


def undelivered(reader: Reader, number: int) -> dict[str, int]:
    """The deliveries that an operation has queued and that are not delivered: state -> how many."""
    return dict(
        reader.rows(
            "SELECT CASE d.state WHEN 'sending' THEN 'waiting' ELSE d.state END AS state, count(*) FROM retried r"
            " CROSS JOIN delivery d ON d.id = r.delivery_id WHERE r.operation = ? GROUP BY 1",
            (number,),
        )
    )


def sends_now(reader: Reader, number: int) -> bool:
    """Whether a delivery that an operation has queued is still under way."""
    return bool(
        reader.rows(
            "SELECT 1 FROM retried r CROSS JOIN delivery d ON d.id = r.delivery_id"
            " WHERE r.operation = ? AND d.state IN ('waiting', 'sending') LIMIT 1",
            (number,),
        )
    )


def _operation(reader: Reader, row: Sequence[Any]) -> Operation:
    number, verb, stage, last, counted_us, total, stored, ended_us, fault, *said = row
    outcomes = outcomes_of(stored, total)
    found: Fault = "" if outcomes is not None and is_stage(stage) else "own_row"
    act = Act(id=number, at_us=said[1] or counted_us, actor="", verb=verb, damaged=True)
    if said[0] is not None:
        with suppress(IntegrityError):
            act = act_of(reader, said)
    if act.damaged:
        found = "first_row"
    return Operation(
        number=number, verb=verb, stage=stage, last=last, counted_us=counted_us, total=total, outcomes=outcomes or {},
        ended_us=ended_us, fault=found or fault, actor=act.actor, by=act.by, at_us=act.at_us, what=act.what,
        damaged=bool(found),
    )  # fmt: skip
