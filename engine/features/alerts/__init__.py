"""Alerts: entries of the to-do list leave the house. Pure; `engine.features.alerts.service` runs it.

    to-do list -> rules.causes -> machine.step -> lines -> (journal) -> wording.notification -> a sink

`rules` says which entries are causes of alerts, and for how long each has to be there, or to be gone. `machine` carries
alerts from one look to the next. `wording` makes one message of the lines that go to a sink together.
"""

from engine.feature import Feature

FEATURE = Feature(
    on_outcome="on_outcome:CriticalValues",
    on_decided="rows.critical:decided",
    on_taken_back="rows.critical:decided",
    tables="rows:TABLES",
    every="rows.changes:EVERY",
    keeps="rows.changes:keeps",
    on_prune="rows.changes:prune_critical",
    todo="todo:entries",
    service="service:alerting",
    metrics="metrics:METRICS",
    pages="pages:routes",
    menu="pages:MENU",
    keys="config:AlertsKeys",
    servers="config:servers",
    key_help="config:KEYS",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
)
