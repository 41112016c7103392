"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    lists="lists.listed:LISTS",
)
