"""The shipped layouts, and the keys of a layout as its schema has them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from engine.commands.topics.tables import code, rows
from engine.config.layouts import layout_files
from engine.config.site import shipped

Schema = Mapping[str, Any]


def markdown() -> str:
    return "\n".join(("# Shipped layouts", "", *shipped_layouts(), "", "## Keys of a layout", "", *keys()))


def shipped_layouts() -> Iterator[str]:
    read = ((name, yaml.safe_load(path.read_text(encoding="utf-8"))) for name, path in layout_files(None).items())
    yield from rows("layout | ", ((code(name), layout["about"]) for name, layout in read))


def keys() -> Iterator[str]:
    """Of the schema for editors, which the wheel carries."""
    folder = shipped("config")
    if folder is not None:
        yield from _block(json.loads((folder / "schema" / "layout.json").read_text(encoding="utf-8")), "")


def _block(schema: Schema, path: str) -> Iterator[str]:
    """The keys of an object, then those of each object in it; an object that several share comes once for each."""
    found = schema["properties"]
    yield from rows("key | ", ((code(name), _about(one)) for name, one in found.items()))
    yield ""
    for name, one in found.items():
        for inner in _objects(one):
            yield from (f"### {code(f'{path}{name}:')}", "", *_block(inner, f"{path}{name}: "))


def _objects(schema: Schema) -> Iterator[Schema]:
    """The objects with keys of their own that the value can be, or be a list of."""
    if "properties" in schema:
        yield schema
    for one in schema.get("anyOf", ()):
        yield from _objects(one)
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"])


def _about(schema: Schema) -> str:
    choices = ", ".join(map(code, schema.get("enum", ())))
    return " ".join(filter(None, (schema.get("description", ""), f"One of {choices}." if choices else "")))
