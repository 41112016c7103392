"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    acts="acts.verbs:ACTS",
    goes_along="rows.succession:newer_of_same_reports",
)
