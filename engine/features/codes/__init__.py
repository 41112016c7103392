"""Codes that no table has, corrections of code tables, suggestions of packs."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows.tables:TABLES",
    checks="rows.check:CHECKS",
    redone="rows.changes:REDONE",
    corrections="rows.reading:list_corrections",
    todo="todo:entries",
    service="service.missing_codes:CodeService",
    pages="pages.all_pages:routes",
    menu="pages.all_pages:MENU",
    doubts="examine:doubts",
    of_pack="examine:of_pack",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
)
