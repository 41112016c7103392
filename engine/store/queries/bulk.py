"""Read operations of people on many letters."""

from collections.abc import Sequence
from typing import Any

import orjson

from engine.store.operations.bulk import PART_MEMBERS, Member, Operation, unpacked
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader

_COLUMNS = (
    "SELECT o.number, o.verb, o.stage, o.last, o.counted_us, o.total, o.outcomes, o.ended_us, j.id, j.received_us,"
    " j.body FROM operation o CROSS JOIN journal j ON j.id = o.number AND j.kind = 3"
)


def operations_page(reader: Reader, *, before: int | None = None, limit: int = 50) -> list[Operation]:
    """Operations, newest first."""
    below = 2**62 if before is None else before
    rows = reader.rows(f"{_COLUMNS} WHERE o.number < ? ORDER BY o.number DESC LIMIT ?", (below, limit))
    return [_operation(reader, row) for row in rows]


def operation_if(reader: Reader, number: int) -> Operation | None:
    """The operation of that number, if there is one."""
    return next((_operation(reader, row) for row in reader.rows(f"{_COLUMNS} WHERE o.number = ?", (number,))), None)


def running_operations(reader: Reader) -> list[Operation]:
    """Those that have not ended, oldest first."""
    rows = reader.rows(f"{_COLUMNS} WHERE o.stage = 'running' ORDER BY o.number")
    return [_operation(reader, row) for row in rows]


def members_from(reader: Reader, number: int, position: int, limit: int) -> list[Member]:
    """The next members of an operation, at most ``limit``; none where it has ended."""
    rows = reader.rows(
        "SELECT position, members FROM operation_part WHERE operation = ? AND position > ? ORDER BY position LIMIT ?",
        (number, position - PART_MEMBERS, 1 + -(-limit // PART_MEMBERS)),
    )
    found = [member for _, members in rows for member in unpacked(members)]
    skipped = position - rows[0][0] if rows else 0
    return found[skipped : skipped + limit]


def _operation(reader: Reader, row: Sequence[Any]) -> Operation:
    number, verb, stage, last, counted_us, total, outcomes, ended_us, *said = row
    act = act_of(reader, said)
    return Operation(
        number=number, verb=verb, stage=stage, last=last, counted_us=counted_us, total=total,
        outcomes=orjson.loads(outcomes), ended_us=ended_us, actor=act.actor, by=act.by, at_us=act.at_us, what=act.what,
    )  # fmt: skip
