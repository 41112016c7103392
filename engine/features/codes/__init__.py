"""Codes that no table has, corrections of code tables, suggestions of packs."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows:TABLES",
    checks="rows:CHECKS",
    redone="rows:REDONE",
    corrections="rows:list_corrections",
    todo="todo:entries",
    service="service.missing_codes:CodeService",
    pages="pages:routes",
    menu="pages:MENU",
    doubts="examine:doubts",
    of_pack="examine:of_pack",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
)
