"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    after=("orders",),
    on_outcome="on_outcome:Results",
    on_given_up="rows.report_owners:forget",
    before_send="rows.report_lists:GUARD",
    would_be_superseded="rows.succession:would_be_superseded",
    tables="rows:TABLES",
    earlier="rows.delta_history:DeltaHistory",
    others="rows.number_bearers:others",
    every="rows.erasing:EVERY",
    on_prune="rows.facts:prune",
    forgets="rows.erasing:forget",
    forgets_again="rows.erasing:forget_again",
    salvage="rows.salvage:SALVAGE",
    service="service:ResultService",
    todo="todo:entries",
    pages="pages:routes",
    menu="pages:MENU",
    panels="pages:PANELS",
    acts="acts:ACTS",
    goes_along="rows.succession:newer_of_same_reports",
    lists="lists.listed:LISTS",
)
