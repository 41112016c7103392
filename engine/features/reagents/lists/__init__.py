"""Reagent lots."""

from engine.model.journal.journal_views import ReagentView
from engine.views.view import Field, View, at

LOT = View[ReagentView](
    "reagents",
    Field("channel", "CHANNEL"),
    Field("name", "REAGENT"),
    Field("lot", "LOT"),
    Field("expires", "EXPIRES"),
    Field("tests", "TESTS"),
    Field("left", "LEFT"),
    Field("messages", "MESSAGES", right=True),
    Field("first", "FIRST", of=at("first_us")),
    Field("last", "LAST", of=at("last_us")),
)
