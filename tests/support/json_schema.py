"""As much of JSON Schema (draft 7) as ours use, so that a test can ask what an editor would mark.

A keyword that is not known here is an error: nothing of a schema is silently without effect.
"""

import re
from collections.abc import Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
WORDS = {"$schema", "title", "description", "definitions"}
KEYWORDS = WORDS | {
    *("$ref", "type", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("items", "maxItems", "properties", "required", "additionalProperties", "propertyNames"),
    *("anyOf", "allOf", "not", "if", "then", "else"),
}


def marks(schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value, each with its path."""
    return list(_marks(schema, value, "", schema))


def _marks(schema: Any, value: Any, path: str, root: dict[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{path}: not allowed"
        return
    assert schema.keys() <= KEYWORDS, schema.keys() - KEYWORDS

    def fits(inner: Any) -> bool:
        return next(_marks(inner, value, path, root), None) is None

    if "$ref" in schema:
        yield from _marks(root["definitions"][schema["$ref"].removeprefix("#/definitions/")], value, path, root)
    wanted = schema.get("type", [])
    if wanted and not any(_is(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted)):
        yield f"{path}: not of type {wanted}"
        return
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{path}: none of {schema['enum']}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{path}: not {schema['const']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{path}: not of the form {schema['pattern']}"
    if _is(value, "number"):
        yield from _limits(schema, value, path)
    if isinstance(value, dict):
        yield from _object(schema, value, path, root)
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{path}: too many"
        for at, item in enumerate(value):
            yield from _marks(schema.get("items", True), item, f"{path}[{at}]", root)
    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        yield f"{path}: fits none of the forms"
    for inner in schema.get("allOf", ()):
        yield from _marks(inner, value, path, root)
    if "not" in schema and fits(schema["not"]):
        yield f"{path}: of a form that it must not have"
    if "if" in schema:
        yield from _marks(schema.get("then" if fits(schema["if"]) else "else", True), value, path, root)


def _object(schema: dict[str, Any], value: dict[str, Any], path: str, root: dict[str, Any]) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: is missing"
    for name, inner in value.items():
        yield from _marks(schema.get("propertyNames", True), name, f"{path}.{name} (key)", root)
        yield from _marks(known.get(name, schema.get("additionalProperties", True)), inner, f"{path}.{name}", root)


def _limits(schema: dict[str, Any], value: float, path: str) -> Iterator[str]:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        yield f"{path}: beyond its limits"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{path}: beyond its limits"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"{path}: beyond its limits"


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _same(value: Any, other: Any) -> bool:
    """JSON's true is not its 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
