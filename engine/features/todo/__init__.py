"""The to-do list: what waits for a person, and what people say about it."""

from engine.feature import Feature

FEATURE = Feature(
    pages="pages.todo:routes",
    strip="pages.rows_shown:STRIP",
)
