"""Reagent lots, and the messages that name them."""

from engine.feature import Feature

FEATURE = Feature(
    lists="lists.listed:LISTS",
)
