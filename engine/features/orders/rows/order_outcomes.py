"""Reading what became of a message of a laboratory system, and whether there is news for it.

The answers to the orders of a message, in the note of the message's outcome.

A repeat of the message gets the same answer, also where the orders have changed since.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from engine.model.orders import ItemReason, ItemState, LineAnswer
from engine.model.texts.reasons import ReasonCode
from engine.store.core.notes import opened_note
from engine.store.queries.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The outcome of a message of a laboratory system.

    Attributes:
        state, reason, detail: of the message.
        answers: to each of its order lines; None: it brought none.
    """

    state: str
    reason: ReasonCode | None
    answers: tuple[LineAnswer, ...] | None
    detail: str = ""


def told_of(reader: Reader, message_id: int) -> Told | None:
    """The outcome of a message, or of the first one with its bytes, where it is a repeat; None: it has none yet.

    Raises:
        StoreError: the journal cannot be read.
    """
    with reader.snapshot() as execute:
        while True:
            row = execute(
                "SELECT s.state, s.reason, s.detail, j.channel, j.meta FROM message_state s"
                " JOIN journal j ON j.id = s.id WHERE s.id = ?",
                (message_id,),
            ).fetchone()
            if row is None:
                return None
            state, reason, sealed, channel, meta = row
            said = opened_note(reader.keys, meta, "meta", message_id, channel)
            earlier = said.get("repeat_of") or said.get("equal_to")
            if reason != ReasonCode.REPEAT.value or earlier is None:
                break
            message_id = earlier
    note = opened_note(reader.keys, sealed, "message_state", message_id, channel)
    found = opened(note["answers"]) if "answers" in note else None
    code = ReasonCode[reason] if reason else None
    return Told(state=state, reason=code, answers=found, detail=note.get("detail", ""))


def has_notices(reader: Reader) -> bool:
    """Whether laboratory systems are to hear of changes of their orders."""
    with reader.snapshot() as execute:
        return execute("SELECT 1 FROM order_notice LIMIT 1").fetchone() is not None


_USUAL = {one.name: one.default for one in fields(LineAnswer)}


def packed(told: Sequence[LineAnswer]) -> list[dict[str, Any]]:
    """For JSON, without usual parts."""
    return [{name: said for name, usual in _USUAL.items() if (said := getattr(one, name)) != usual} for one in told]


def opened(found: Sequence[dict[str, Any]]) -> tuple[LineAnswer, ...]:
    return tuple(_opened(one) for one in found)


def _opened(one: dict[str, Any]) -> LineAnswer:
    state = ItemState(one["state"]) if "state" in one else None
    return LineAnswer(
        **{**one, "reason": ItemReason(one.get("reason", "")), "state": state, "items": tuple(one.get("items", ()))}
    )
