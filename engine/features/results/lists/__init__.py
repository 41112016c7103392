"""The lists of this feature: their fields, as tables and JSON have them.

Lists that wait for a person: held results, persons to be confirmed; and the results of a held message.
"""

from typing import Any

from engine.model.journal.journal_views import DeadLetter
from engine.model.journal.records import PossibleOtherPerson
from engine.model.process.clock import from_us
from engine.views.view import Field, View, at, or_none


def _before(name: str) -> Any:
    """Of the value before a result; None: there is none."""

    def value(one: Any) -> Any:
        found = None if one.before is None else getattr(one.before, name)
        return from_us(found).isoformat(timespec="seconds") if name == "at" and isinstance(found, int) else found

    return value


HELD = View[DeadLetter](
    "held",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("delivery", of="delivery_id"),
    Field("channel", "CHANNEL"),
    Field("destination", "DESTINATION"),
    Field("state"),
    Field("critical", "CRITICAL"),
    Field("code", "CODE", of="reason"),
    Field("since", "SINCE", of=at("at_us")),
    Field("why", "WHY", of="detail"),
    Field("says", of=lambda one: dict(one.says)),
    Field("type", of="message_type"),
)
PERSON = View[PossibleOtherPerson](
    "persons",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("channel", "CHANNEL"),
    Field("received", "RECEIVED", of=at("received_us")),
    Field("before", "BEFORE", of=or_none("before"), right=True),
)
RESULT = View[Any](
    "results",
    Field("codes"),
    Field("flags", of=lambda one: list(one.flags)),
    Field("status"),
    Field("unit"),
    Field("held"),
    Field("critical"),
    Field("test"),
    Field("name"),
    Field("loinc"),
    Field("specimen"),
    Field("value"),
    Field("missing"),
    Field("sends"),
    Field("range"),
    Field("limits"),
    Field("collected"),
    Field("at"),
    Field("earlier", of=_before("text")),
    Field("earlier_at", of=_before("at")),
    Field("earlier_message", of=_before("message")),
    Field("change"),
    Field("percent"),
)
COMPARED = View[Any]("compared", Field("field"), Field("sent"), Field("known"), Field("compared"))
