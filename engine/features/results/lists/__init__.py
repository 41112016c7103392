"""The lists of this feature: their fields, as tables and JSON have them.

Lists that wait for a person: held results, persons to be confirmed.
"""

from engine.model.journal.journal_views import DeadLetter
from engine.model.journal.records import PossibleOtherPerson
from engine.views.view import Field, View, at, or_none

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
    Field("type", of="message_type"),
)
PERSON = View[PossibleOtherPerson](
    "persons",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("channel", "CHANNEL"),
    Field("received", "RECEIVED", of=at("received_us")),
    Field("before", "BEFORE", of=or_none("before"), right=True),
)
