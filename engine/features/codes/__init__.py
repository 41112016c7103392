"""Codes that no table has, corrections of code tables, suggestions of packs."""

from engine.feature import Feature

FEATURE = Feature(
    pages="pages.all_pages:routes",
    menu="pages.all_pages:MENU",
)
