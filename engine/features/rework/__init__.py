"""Rework: what a person does with dead letters and with messages that were mapped wrongly."""

from engine.feature import Feature

FEATURE = Feature(
    lists="lists.listed:LISTS",
)
