"""JSON Schema of the blocks that pydantic models read: the site's file, channels, packs.

The models take every scalar as its text, while an editor sees YAML's own numbers and booleans, and `${NAME}` may stand
in place of any value. So this is written from the types' words (`engine.config.reading.values.Words`), and lets through
whatever the models could take: a schema that marks right files as wrong is switched off by people. What one key has to
say about another stays with `labrelay check`.
"""

import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.config.reading.problems import INHERITED, alternatives, description, plain_type
from engine.config.reading.values import NAME_PATTERN, Words
from engine.config.registry import dialects
from engine.config.sources import source

Schema = dict[str, Any]

VARIABLE = r"\$\{"
SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_WHICH_KIND = "Which kind of thing this is; the other keys follow from it."
_HOST_PORT = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?):[0-9]+$"


def text_like(pattern: str) -> Schema:
    """A text of a form, or one with a variable in it."""
    return {"type": "string", "pattern": f"{pattern}|{VARIABLE}"}


def _or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "string", "pattern": VARIABLE}]}


_OF_WORDS: dict[str, Schema] = {
    "text": SCALAR,
    "path": SCALAR,
    "character set": SCALAR,
    "time zone": {"type": "string"},
    "device": {"type": "string"},
    "name of a layout": SCALAR,
    "name": {"type": ["string", "number", "boolean"], "pattern": f"{NAME_PATTERN}|{VARIABLE}"},
    "name of a dialect": _or_variable({"enum": list(dialects())}),
    "duration": text_like(r"^([0-9]+(\.[0-9]+)?(ms|[smhdw]))+$"),
    "date": text_like(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    "time of day": text_like(r"^([01]?[0-9]|2[0-4]):[0-5][0-9]$"),
    "size": text_like(r"^[0-9]+(\.[0-9]+)? ?([kMG]B|[KMG]iB|B)$"),
    "host:port": text_like(_HOST_PORT),
    "URL": text_like("^https?://"),
    "URI": text_like("^[A-Za-z][A-Za-z0-9+.-]*:"),
    "${NAME}": {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"},
    "true or false": {
        "anyOf": [
            {"type": "boolean"},
            {"type": "string", "pattern": f"^(true|True|TRUE|false|False|FALSE)$|{VARIABLE}"},
        ]
    },
}


class Models:
    """Collects the definitions of the models that one file needs."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def file(self, model: type[BaseModel], title: str) -> Schema:
        """The schema of a whole file."""
        top = self._block(model)
        return {"title": title, **top, "definitions": dict(sorted(self.definitions.items()))}

    def _reference(self, model: type[BaseModel]) -> Schema:
        name = model.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a model may hold itself
            self.definitions[name] = self._block(model)
        return {"$ref": f"#/definitions/{name}"}

    def _block(self, model: type[BaseModel]) -> Schema:
        properties, required = {}, []
        for name, field in model.model_fields.items():
            described = description(model, name)
            properties[name] = {**self._field(model, name, field), **({"description": described} if described else {})}
            if field.is_required() and (name,) not in INHERITED:
                required.append(name)
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if model.__doc__ and not model.__doc__.startswith("!!!"):
            schema["description"] = " ".join(model.__doc__.split())
        if required:
            schema["required"] = required
        return schema

    def _field(self, model: type[BaseModel], name: str, field: FieldInfo) -> Schema:
        if name == "kind" and issubclass(model, source.Source):
            return {"enum": list(source.presets())}
        return self.of(field.annotation, field.metadata)

    def of(self, annotation: Any, metadata: Iterable[Any] = ()) -> Schema:
        """The schema of a type."""
        marks = list(metadata)
        while typing.get_origin(annotation) is Annotated:
            annotation, *more = typing.get_args(annotation)
            marks += more
        said = next((mark.text for mark in marks if isinstance(mark, Words)), "")
        plain, origin = annotation, typing.get_origin(annotation)
        if said == "whole number":
            return _whole(marks)
        if said in _OF_WORDS:
            return _OF_WORDS[said]
        if origin in (typing.Union, types.UnionType):
            return self._union(annotation, marks)
        if origin is typing.Literal:
            return _or_variable({"enum": _spellings(typing.get_args(plain))})
        if origin is tuple:
            items = self.of(typing.get_args(plain)[0])
            if said.startswith("expression"):  # each may be the expression alone
                items = {"anyOf": [{"type": "string", "pattern": "^="}, items]}
            listed: Schema = {"type": "array", "items": items}
            return {"anyOf": [items, listed]} if " or list" in said else listed
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(typing.get_args(plain)[1])}
        if isinstance(plain, type) and issubclass(plain, BaseModel):
            return self._reference(plain)
        return SCALAR if plain is str else {}

    def _union(self, annotation: Any, marks: list[Any]) -> Schema:
        inner = plain_type(annotation)
        choices = alternatives(annotation)
        if set(choices) == {""} or not choices:
            members = [member for member in typing.get_args(annotation) if member is not type(None)]
            return self.of(members[0], marks) if len(members) == 1 else self.of(inner)
        if any("/" in tag for tag in choices):
            return self._sources(choices)
        return self._by_kind({tag: self._reference(model) for tag, model in choices.items()})

    def _by_kind(self, choices: dict[str, Schema]) -> Schema:
        """Blocks told apart by their ``kind``: one `if` each, so that an editor speaks of the one that is meant."""
        return {
            "type": "object",
            "properties": {"kind": {"enum": list(choices), "description": _WHICH_KIND}},
            "required": ["kind"],
            "allOf": [{"if": _kind(tag), "then": schema} for tag, schema in choices.items()],
        }

    def _sources(self, choices: dict[str, type[BaseModel]]) -> Schema:
        """Sources: ``kind`` alone says which block, unless a transport, a link or a tee is named beside it."""
        named = {"anyOf": [{"required": [key]} for key in ("transport", "link", "tee")]}
        references = {tag: self._reference(model) for tag, model in choices.items()}
        plain = [
            {"if": {"allOf": [_kind(kind), {"not": named}]}, "then": references[f"{transport}/{link}"]}
            for kind, (transport, link, _) in source.presets().items()
        ]
        return {
            "type": "object",
            "properties": {"kind": {"enum": list(source.presets()), "description": _WHICH_KIND}},
            "anyOf": [{"required": ["kind"]}, {"required": ["link"]}],
            "allOf": [*plain, {"if": named, "then": {"anyOf": list(references.values())}}],
        }


def _kind(name: str) -> Schema:
    return {"properties": {"kind": {"const": name}}, "required": ["kind"]}


def _whole(marks: list[Any]) -> Schema:
    number: Schema = {"type": "integer"}
    for name, key in (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum"), ("lt", "exclusiveMaximum")):
        for mark in marks:
            if getattr(mark, name, None) is not None:
                number[key] = getattr(mark, name)
    return {"anyOf": [number, {"type": "string", "pattern": f"^[+-]?[0-9]+$|{VARIABLE}"}]}


def _spellings(values: Iterable[Any]) -> list[Any]:
    """Numbers may be written with quotes, too."""
    return [spelling for value in values for spelling in ([value, str(value)] if isinstance(value, int) else [value])]
