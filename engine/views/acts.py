"""Acts of the audit trail."""

from collections.abc import Mapping
from typing import Any

from engine.views.trail import Entry, instant, purpose_of
from engine.views.view import Field, View, at

IN_WORDS = ("reason", "purpose")  # of a person; in a column of their own
LONGEST = 60  # signs of an object in a table

ACT = View[Entry](
    "acts",
    Field("id", "ID", right=True),
    Field("at", "AT", of=lambda one: instant(one.at_us), shown=at("at_us")),
    Field("actor", "WHO"),
    Field("role", of=lambda one: one.by.get("role", "")),
    Field("account", of=lambda one: one.by.get("account", "")),
    Field("from", "FROM", of=lambda one: one.by.get("from", "")),
    Field("given", of=lambda one: one.by.get("given", "")),
    Field("config"),
    Field("act", "ACT", of="verb"),
    Field("", "OBJECT", of=lambda one: about(one)),
    Field("state", "STATE"),
    Field("", "REASON", of=lambda one: reason(one) or purpose_of(one)),
    Field("ended", of=lambda one: instant(one.ended_us) if one.ended_us else None),
    Field("purpose", of=purpose_of),
    Field("what", of=lambda one: dict(one.what)),
    Field("outcome", of=lambda one: dict(one.outcome)),
)


def about(one: Entry) -> str:
    """The objects of an act, in one line."""
    text = _named({name: value for name, value in one.what.items() if name not in IN_WORDS})
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _named(values: Mapping[str, Any]) -> str:
    """Names with their values; a yes by its name alone, and no empty value."""
    return ", ".join(name if value is True else f"{name} {_value(value)}" for name, value in values.items() if value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_named(value)})"
    return f"({', '.join(map(str, value))})" if isinstance(value, list | tuple) else str(value)


def reason(one: Entry) -> str:
    """In the person's words."""
    return str(one.what.get("reason") or "")
