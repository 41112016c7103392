"""Key columns that a table may have: a look-up names all of them, and uses those that the file has.

    key: [code, unit_in], optional_key: [device]        row: =lookup('analytes', OBX-3.1, OBX-6.1, OBX-18.1)

In a table without the column the argument is taken out of the rule before it is compiled, so that it costs nothing, and
nothing that depends on it keeps a value from being kept from message to message.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from engine.config.reading.yaml_nodes import Node
from engine.mapping.code_tables.tables import Table
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula


def without_missing(rules: Any, tables: Mapping[str, Table]) -> Any:
    """A mapping or library in which look-ups ask by the columns only that their tables have."""
    shorter = {name: table for name, table in tables.items() if table.asked != table.key}
    return _rewritten(rules, shorter) if shorter else rules


def _rewritten(value: Any, tables: Mapping[str, Table]) -> Any:
    match value:
        case Formula():
            tree = _asked(value.tree, tables)
            return value if tree is value.tree else replace(value, tree=tree)
        case Node() | str():
            return value
        case tuple() | list():
            items = [_rewritten(item, tables) for item in value]
            return value if all(map(_same, items, value)) else type(value)(items)
        case dict():
            return {name: _rewritten(item, tables) for name, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _parts_of(value, lambda part: _rewritten(part, tables))
    return value


def _asked(part: rules.Expression, tables: Mapping[str, Table]) -> rules.Expression:
    """An expression with the look-ups inside it."""
    made: rules.Expression = _parts_of(part, lambda inner: _inside(inner, tables))
    match made:
        case rules.Call(name="lookup", arguments=(rules.Literal(text=name), *keys)) if name in tables:
            table = tables[name]
            if len(keys) == len(table.asked):
                kept = [key for column, key in zip(table.asked, keys, strict=True) if column in table.key]
                return replace(made, arguments=(made.arguments[0], *kept))
    return made


def _inside(value: Any, tables: Mapping[str, Table]) -> Any:
    if isinstance(value, tuple):
        items = tuple(_inside(item, tables) for item in value)
        return value if all(map(_same, items, value)) else items
    return _asked(value, tables) if isinstance(value, rules.Expression) else value


def _parts_of(value: Any, change: Any) -> Any:
    """A dataclass whose parts are changed; itself where none is."""
    parts = {one.name: getattr(value, one.name) for one in fields(value)}
    made = {name: change(part) for name, part in parts.items()}
    changed = {name: part for name, part in made.items() if part is not parts[name]}
    return replace(value, **changed) if changed else value


def _same(one: Any, other: Any) -> bool:
    return one is other
