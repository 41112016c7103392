"""Rework: what a person does with dead letters and with messages that were mapped wrongly."""

from engine.feature import Feature

FEATURE = Feature(
    dead_letters="rows.letter_groups:letter_groups",
)
