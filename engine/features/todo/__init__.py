"""The to-do list: what waits for a person, and what people say about it."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows:TABLES",
    keeps="rows:keeps",
    service="service:todo_list",
    pages="pages:routes",
    strip="pages:STRIP",
    acts="acts:ACTS",
)
