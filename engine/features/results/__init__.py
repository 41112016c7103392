"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows.tables:TABLES",
    others="rows.number_bearers:others",
    every="rows.upkeep:EVERY",
    forgets="rows.erasing:forget",
    forgets_again="rows.erasing:forget_again",
    salvage="rows.salvage:SALVAGE",
)
