"""The to-do list: an entry with what people have said about it."""

from datetime import datetime

from engine.model.process.clock import from_us
from engine.monitoring.todo import Todo
from engine.views.view import Field, View, local_time

TODO = View[Todo](
    "todo",
    Field("key", "KEY", of=lambda one: one.entry.key),
    Field("level", "LEVEL", of=lambda one: one.entry.level.value),
    Field("words", "WHAT", of=lambda one: str(one.entry.phrase)),
    Field("cause", of=lambda one: one.entry.cause),
    Field("subject", of=lambda one: one.entry.subject),
    Field("count", of=lambda one: one.entry.count),
    Field("since", "SINCE", of=lambda one: _iso(one.entry.since)),
    Field("step", "NEXT STEP", of=lambda one: one.entry.step),
    Field("taken_by", "TAKEN BY", of=lambda one: one.state.taken.by if one.state.taken else None),
    Field("taken_at", of=lambda one: _at(one.state.taken.at_us) if one.state.taken else None),
    Field("note", "NOTE", of=lambda one: one.state.note.text if one.state.note else None),
    Field("note_by", of=lambda one: one.state.note.by if one.state.note else None),
    Field("snoozed", of="is_snoozed"),
    Field("snoozed_until", of=lambda one: _iso(from_us(one.state.snooze.until_us)) if one.state.snooze else None),
    Field("snoozed_by", of=lambda one: one.state.snooze.by if one.state.snooze else None),
    Field("snoozed_for", of=lambda one: one.state.snooze.text if one.state.snooze else None),
)
# The same as it comes from the daemon.
TABLE = TODO.of_rows("level words since taken_by note key step", since=local_time)


def _at(us: int) -> str | None:
    """None where it is not known: the act's row is lost."""
    return _iso(from_us(us) if us else None)


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat(timespec="milliseconds") if instant is not None else None
