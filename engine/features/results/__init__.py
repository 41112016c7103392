"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    bulk_acts="acts.hold_decisions:bulk_acts",
    service="service:ResultService",
)
