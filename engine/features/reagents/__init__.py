"""Reagent lots, and the messages that name them."""

from engine.feature import Feature

FEATURE = Feature(
    on_outcome="on_outcome:Reagents",
    tables="rows:TABLES",
    pages="pages:routes",
    menu="pages:MENU",
    lists="lists.listed:LISTS",
)
