"""The to-do list: what waits for a person, and what people say about it."""

from engine.feature import Feature

FEATURE = Feature(
    acts="acts:ACTS",
)
