"""The to-do list: what waits for a person, and what people say about it."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows.tables:TABLES",
    keeps="rows.changes:keeps",
    service="service.todo_list:todo_list",
    pages="pages.todo:routes",
    strip="pages.rows_shown:STRIP",
    acts="acts:ACTS",
)
