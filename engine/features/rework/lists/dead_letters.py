"""Dead letters, each by itself and in groups."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.model.journal.journal_views import DeadLetter
from engine.views.view import Field, View, at, or_none

if TYPE_CHECKING:
    from engine.store.operations.dead_letters import Group

NAMES_SHOWN = 3  # of the channels of a group; JSON has all

LETTER = View[DeadLetter](
    "dead_letters",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("delivery", of=or_none("delivery_id")),
    Field("channel", "CHANNEL"),
    Field("destination", "DESTINATION"),
    Field("state", "STATE"),
    Field("code", "CODE", of="reason"),
    Field("since", "SINCE", of=at("at_us")),
    Field("type", "TYPE", of="message_type"),
)
LETTER_GROUP: "View[Group]" = View(
    "groups",
    Field("count", "COUNT", right=True),
    Field("code", "CODE", of="reason"),
    Field("cause", "CAUSE"),
    Field("channels", "CHANNELS", of=lambda one: sorted(one.channels), shown=lambda one: _some(one.channels)),
    Field("destination", "DESTINATION"),
    Field("retrying", "RETRYING", right=True),
    Field("back", "BACK", right=True),
    Field("retries"),
    Field("new"),
    Field("last_retry", of=at("last_retry_us")),
    Field("oldest", "OLDEST", of=at("oldest_us")),
    Field("newest", "NEWEST", of=at("newest_us")),
    Field("example", "EXAMPLE", right=True),
    Field("fix"),
)


def _some(found: Iterable[str]) -> list[str]:
    """The first few of many names."""
    names = sorted(found)
    more = len(names) - NAMES_SHOWN
    return names if more <= 1 else [*names[: NAMES_SHOWN - 1], f"{names[NAMES_SHOWN - 1]} and {more} more"]
