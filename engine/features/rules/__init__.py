"""Rules that hold results: what each one has said, and how many results go out untouched."""

from engine.feature import Feature

FEATURE = Feature(
    after=("results", "quality_control"),
    on_outcome="on_outcome:Counts",
    on_decided="rows.counting:decided",
    tables="rows:TABLES",
    pages="pages:routes",
    menu="pages:MENU",
    lists="lists.listed:LISTS",
)
