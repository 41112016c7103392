"""Results: whose each one is, how it follows those before it, and which are held for a person."""

from engine.feature import Feature

FEATURE = Feature(
    pages="pages.held:routes",
    menu="pages.held:MENU",
    panels="pages.panels:PANELS",
)
