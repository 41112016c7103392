"""Codes that no table has, corrections of code tables, suggestions of packs."""

from engine.feature import Feature

FEATURE = Feature(
    lists="lists.listed:LISTS",
)
