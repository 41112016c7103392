"""Paths into JSON: ``$`` is the document, ``@`` the value that the innermost loop is at.

A value is read as its text: numbers with the digits that were sent, ``true`` and ``false``. An object, a list, null and
a blank are absent; of a path with ``[*]`` those that have a text make a list.
"""

import re
from functools import cache
from types import ModuleType
from typing import Any

from orjson import Fragment

from engine.config import registry
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import TEXT, Val
from engine.mapping.language import nodes, syntax
from engine.mapping.language.rules import Step
from engine.mapping.language.structures import JSON

Path = tuple[str | int | None, ...]
_EACH = re.compile(syntax.TREE_PATH)


def tree_value(c: Compilation, part: nodes.TreePath, scope: Scope, want: str) -> Val:
    """The text at a path, or the texts at one with ``[*]``; what is wanted as ``json`` keeps its type."""
    if c.setting.message_format != JSON:
        return c.error(part, f"{part.text} is a path into JSON, and this reads {c.setting.message_format}")
    path = _codec().path_of("$" + part.text[1:])
    here = scope.group_scope()
    many = None in path
    variable = c.code.new()
    read = c.code.constant(_READERS[want == "json", many])
    c.code.emit(f"{variable} = {read}({_base(part.text, scope)}, {c.code.constant(path)})")
    if c.traced:
        place, positions = _placed(part.text, here)
        noted = ", ".join((c.code.constant(place), *positions))
        c.code.emit(f"if {variable} is not None: T.tree({noted})")
    return Val(variable, TEXT.each() if many else TEXT)


def tree_loop(c: Compilation, step: Step, scope: Scope) -> tuple[str, str, tuple[str, ...]] | None:
    """The values that an ``each:`` goes through, as source; their place, and the variables of the positions in it."""
    assert step.each_node is not None
    if not _EACH.fullmatch(step.each) or "[*]" in step.each:
        c.problems.error(step.each_node, f"'{step.each}' is no list of JSON; write its path, as $.items or '@.lines'")
        return None
    if step.filter is not None:
        c.problems.error(step.each_node, "filter: is for results of an analyzer; leave values out by where:")
        return None
    items = c.code.constant(_items)
    head = f"{items}({_base(step.each, scope)}, {c.code.constant(_codec().path_of('$' + step.each[1:]))})"
    place, positions = _placed(step.each, scope.group_scope())
    if not c.traced:
        return head, place, positions
    counter = c.code.new()
    c.code.emit(f"{counter} = -1")
    return head, f"{place}[{{}}]", (*positions, counter)


def count_round(c: Compilation, scope: Scope) -> None:
    """At the start of a round: note its position for the trace."""
    if c.traced and scope.positions:
        c.code.emit(f"{scope.positions[-1]} += 1")


def _base(text: str, scope: Scope) -> str:
    """The value that a path starts at, as source."""
    here = scope.group_scope()
    return "m.parsed.tree" if text.startswith("$") or here.parent is None else here.variable


def _placed(text: str, here: Scope) -> tuple[str, tuple[str, ...]]:
    """A path from the document on, as a template for `str.format`, and its positions."""
    own = text[1:].replace("{", "{{").replace("}", "}}")
    return (f"${own}", ()) if text.startswith("$") else (f"{here.place}{own}", here.positions)


@cache
def _codec() -> ModuleType:
    return registry.load(registry.FORMATS, JSON)


def _text(tree: Any, path: Path) -> str | None:
    return next(iter(_texts(tree, path) or ()), None)


def _texts(tree: Any, path: Path) -> list[str] | None:
    codec = _codec()
    return [text for value in codec.values_at(tree, path) if (text := codec.text_of(value)) is not None] or None


def _typed(tree: Any, path: Path) -> Any:
    return next(iter(_all_typed(tree, path) or ()), None)


def _all_typed(tree: Any, path: Path) -> list[Any] | None:
    codec = _codec()
    return [
        Fragment(text) if isinstance(value, codec.Digits) else value if isinstance(value, bool) else text
        for value in codec.values_at(tree, path)
        if (text := codec.text_of(value)) is not None
    ] or None


# Whether values keep their type, and whether there may be several.
_READERS = {(False, False): _text, (False, True): _texts, (True, False): _typed, (True, True): _all_typed}


def _items(tree: Any, path: Path) -> list[Any]:
    found: list[Any] = [value for value in _codec().values_at(tree, path) if value is not None]
    return found[0] if found and isinstance(found[0], list) else found
