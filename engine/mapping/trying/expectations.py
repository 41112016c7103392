"""Compare the expectations of a mapping test with the result: subsets of resources, differences by path.

A map matches where each of its keys matches; other keys of the value are ignored. A list matches element by element
in order; the value may be longer. ``$absent`` must not be there, ``$any`` must be there, ``$match pattern`` is
found in the text. Numbers are compared as they are written: 148 is not 148.0.
"""

import re
from collections.abc import Iterator
from typing import Any

from engine.config.reading.yaml_nodes import Node

ABSENT, ANY, MATCH = "$absent", "$any", "$match"
_MISSING = object()


def plain(node: Node) -> Any:
    """A node as dictionaries, lists and texts."""
    if node.kind == "map":
        return {key.value: plain(value) for key, value in node.pairs}
    return [plain(item) for item in node.items] if node.kind == "list" else node.value


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Where a value is not as expected: ``valueQuantity.unit: expected g/L, got g/dL``."""
    if expected == ABSENT:
        if actual is not _MISSING:
            yield f"{path}: expected to be absent, got {shown(actual)}"
    elif actual is _MISSING:
        yield f"{path}: expected {shown(expected)}, and it is not there"
    elif expected == ANY:
        return
    elif (pattern := _pattern(expected)) is not None:
        if not isinstance(actual, str) or not re.search(pattern, actual, re.DOTALL):
            yield f"{path}: expected something that matches {pattern}, got {shown(actual)}"
    elif isinstance(expected, dict):
        if not isinstance(actual, dict):
            yield f"{path}: expected an object, got {shown(actual)}"
            return
        for name, value in expected.items():
            yield from differences(value, actual.get(name, _MISSING), f"{path}.{name}" if path else name)
    elif isinstance(expected, list):
        if not isinstance(actual, list):
            yield f"{path}: expected a list, got {shown(actual)}"
            return
        for at, value in enumerate(expected):
            yield from differences(value, actual[at] if at < len(actual) else _MISSING, f"{path}[{at}]")
    elif expected != actual:
        yield f"{path}: expected {shown(expected)}, got {shown(actual)}"


def _pattern(expected: Any) -> str | None:
    """The pattern of ``$match pattern`` or ``{$match: pattern}``."""
    if isinstance(expected, str) and expected.startswith(MATCH + " "):
        return expected[len(MATCH) + 1 :]
    if isinstance(expected, dict) and expected.keys() == {MATCH}:
        return str(expected[MATCH])
    return None


def changes(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Every difference of two whole documents."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in [*expected, *(name for name in actual if name not in expected)]:
            where = f"{path}.{name}" if path else name
            if name not in actual:
                yield f"{where}: expected {shown(expected[name])}, and it is not there"
            elif name not in expected:
                yield f"{where}: not expected, got {shown(actual[name])}"
            else:
                yield from changes(expected[name], actual[name], where)
    elif isinstance(expected, list) and isinstance(actual, list):
        for at in range(max(len(expected), len(actual))):
            where = f"{path}[{at}]"
            if at >= len(actual):
                yield f"{where}: expected {shown(expected[at])}, and it is not there"
            elif at >= len(expected):
                yield f"{where}: not expected, got {shown(actual[at])}"
            else:
                yield from changes(expected[at], actual[at], where)
    elif expected != actual:
        yield f"{path}: expected {shown(expected)}, got {shown(actual)}"


def shown(value: Any) -> str:
    """A value in a few words. Test data is made up, so it may be shown."""
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:6])}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value) if isinstance(value, str) and (not value or value != value.strip()) else str(value)
