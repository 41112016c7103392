"""The answers to the orders of a message, in the note of the message's outcome.

A repeat of the message gets the same answer, also where the orders have changed since.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from engine.model.orders import ItemReason, ItemState, LineAnswer

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
