"""Operations of people on many letters."""

from engine.actions.operations import sums
from engine.store.operations.bulk import Operation
from engine.views.trail import instant
from engine.views.view import Field, View, at

OPERATION = View[Operation](
    "operations",
    Field("number", "NUMBER", right=True),
    Field("since", "SINCE", of=at("at_us")),
    Field("actor", "ACTOR"),
    Field("verb", "ACT"),
    Field("stage", "STAGE", of="shown"),
    Field("total", "TOTAL", right=True),
    Field("done", "DONE", of=lambda one: sums(one)["done"], right=True),
    Field("failed", "FAILED", of=lambda one: sums(one)["failed"], right=True),
    Field("skipped", "SKIPPED", of=lambda one: sums(one)["skipped"], right=True),
    Field("left", "LEFT", of=lambda one: one.total - one.position, right=True),
    Field("outcomes", of=lambda one: dict(one.outcomes)),
    Field("last"),
    Field("counted", of=at("counted_us")),
    Field("fault"),
    Field("ended", of=lambda one: instant(one.ended_us) if one.ended_us else None),
    Field("selection", of=lambda one: one.what.get("selection")),
)
