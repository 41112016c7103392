"""What rules have said, as tables, JSON and files have it."""

from engine.features.rules.rows.reading import RuleView, UntouchedView
from engine.features.rules.rules import ChangeView
from engine.views.view import Field, View

COUNTS: tuple[Field[RuleView], ...] = tuple(
    Field(name, name.upper(), right=True) for name in ("seen", "hit", "unknown", "confirmed", "overturned")
)
NAMED: tuple[Field[RuleView], ...] = (
    Field("channel", "CHANNEL"),
    Field("rule", "RULE"),
    Field("version", "VERSION"),
    Field("shadow", "SHADOW"),
)
RULE = View[RuleView]("rules", *NAMED, Field("since", "SINCE", of="day"), *COUNTS)
DAY = View[RuleView]("days", Field("day", "DAY"), *NAMED, *COUNTS)
UNTOUCHED = View[UntouchedView](
    "untouched",
    Field("month", "MONTH"),
    Field("channel", "CHANNEL"),
    Field("test", "TEST"),
    Field("results", "RESULTS", right=True),
    Field("untouched", "UNTOUCHED", right=True),
    Field("percent", "%", right=True),
)
_FEW = 10  # numbers of messages in a cell
CHANGE = View[ChangeView](
    "changes",
    Field("rule", "RULE"),
    Field("shadow", "SHADOW"),
    Field("test", "TEST"),
    Field("change", "CHANGE"),
    Field("messages", "MESSAGES", right=True),
    Field("numbers", "NUMBERS", shown=lambda one: " ".join(map(str, one.numbers[:_FEW]))),
)
