"""Rework: what a person does with dead letters and with messages that were mapped wrongly."""

from engine.feature import Feature

FEATURE = Feature(
    todo="todo:entries",
    pages="pages:routes",
    menu="pages:MENU",
    panels="pages.panels:PANELS",
    dead_letters="rows.letter_groups:letter_groups",
    acts="acts.verbs:ACTS",
    lists="lists.listed:LISTS",
)
