"""Problems of a file, as a person needs them: ``file:line:column: key.path: problem; what to do``.

pydantic gives the place in the data and the rule, the YAML nodes give the place in the file, the models give the
expected value. Values are shown as written in the file (never expanded), and those of secrets never.

The description of a key is the docstring below the field of its model. It is read from the source, and only where it
is asked for: by the documentation, the schemas for editors, and an error about a key that is missing.

Keys and values that are planned, and that this version does not support yet.

They are known by name, so that a person who finds them in the documentation of a later version reads "not in this
version" instead of "unknown key", and so that nothing is accepted and then silently ignored. Patterns are key paths,
``*`` for a name or a list position.
"""

import ast
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

from engine.config.reading.values import Words
from engine.config.reading.yaml_nodes import KeyPath, Node, line, walk
from engine.config.sources import source
from engine.model.texts.spelling import did_you_mean
from engine.model.texts.units import duration_text, size_text

# Keys that a channel may leave to the site's file, and their places there.
INHERITED: dict[KeyPath, str] = {("timezone",): "site.timezone"}


def closest(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?``, or nothing."""
    hint = did_you_mean(word, known)
    return f"; {hint}" if hint else ""


# -- what the models want ----------------------------------------------------------------------------------------


def alternatives(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models of a union by their tag; one model by the empty tag; else nothing."""
    inner = plain_type(annotation)
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return {"": inner}
    found: dict[str, type[BaseModel]] = {}
    if typing.get_origin(inner) in (typing.Union, types.UnionType):
        for member in typing.get_args(inner):
            model = plain_type(member)
            if isinstance(model, type) and issubclass(model, BaseModel):
                found[_tag(member, model)] = model
    return found


def plain_type(annotation: Any) -> Any:
    """Without `Annotated` and without ``| None``."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return plain_type(members[0])
    return annotation


def words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """The name of this type in the documentation."""
    for mark in metadata:
        if isinstance(mark, Words):
            return mark.text
    while True:
        if typing.get_origin(annotation) is Annotated:
            for mark in typing.get_args(annotation)[1:]:
                if isinstance(mark, Words):
                    return mark.text
            annotation = typing.get_args(annotation)[0]
        elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
            members = [member for member in typing.get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return "block"
            annotation = members[0]
        else:
            break
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    if origin is str:
        return "text"
    return "list" if origin is tuple else "block"


def _tag(member: Any, model: type[BaseModel]) -> str:
    for mark in typing.get_args(member)[1:] if typing.get_origin(member) is Annotated else ():
        if isinstance(mark, Tag):
            return mark.tag
    kind = model.model_fields.get("kind")
    values = typing.get_args(kind.annotation) if kind is not None else ()
    return str(values[0]) if values else ""


# -- from pydantic's errors to lines -----------------------------------------------------------------------------


class Reporter:
    """Turn the errors of one file into lines."""

    def __init__(self, root: Node, model: type[BaseModel]) -> None:
        self._root = root
        self._model = model

    def line(self, error: ErrorDetails) -> tuple[Node, str]:
        """The node concerned, and the line for it."""
        path, model, kind_of, choices = self._follow(error["loc"])
        rule, context = error["type"], error.get("ctx", {})
        if rule == "extra_forbidden":
            return self._unknown_key(path, model)
        if rule == "missing":
            return self._missing(path, model)
        if rule in ("union_tag_invalid", "union_tag_not_found"):
            return self._unknown_kind(path, list(choices))
        node = walk(self._root, path)
        if path and path[-1] == "[key]":
            path = path[:-1]
            parent = walk(self._root, path[:-1])
            node = parent.key(str(path[-1])) or parent
        if rule == "literal_error" or _is_later(path, node):
            return node, line(node, path, self._not_one_of(node, path, kind_of))
        text = _RULES[rule](context, kind_of) if rule in _RULES else _other(error, node, kind_of)
        # A URL with an @ may carry a password, and a rejected secret is one.
        is_secret = kind_of == "${NAME}" or (kind_of == "URL" and "@" in node.value)
        if rule == "value_error" and node.kind == "scalar" and not is_secret:
            hint = closest(node.value, available_timezones()) if kind_of == "time zone" else ""
            text = f"'{node.value}': {text}{hint}"
        return node, line(node, path, text)

    def _follow(self, loc: KeyPath) -> tuple[KeyPath, type[BaseModel] | None, str, dict[str, type[BaseModel]]]:
        """The key path of pydantic's location (which also names union members), the innermost model, the type, and the
        models of the type by their tag.
        """
        path: list[str | int] = []
        annotation: Any = self._model
        model: type[BaseModel] | None = self._model
        kind_of = "block"
        key_type: Any = None
        for step in loc:
            choices = alternatives(annotation)
            if step in choices and step != "":
                annotation = model = choices[str(step)]
                continue
            path.append(step)
            if step == "[key]":
                kind_of = words(key_type)
                break
            inner = choices.get("")
            if inner is not None:
                model = inner
                known = inner.model_fields.get(str(step))
                annotation = known.annotation if known is not None else None
                kind_of = words(annotation, known.metadata) if known is not None else ""
            else:
                arguments = typing.get_args(plain_type(annotation))
                is_map = typing.get_origin(plain_type(annotation)) is dict and len(arguments) == 2
                if is_map:
                    key_type, annotation = arguments
                else:
                    annotation = arguments[0] if arguments else None
                kind_of = words(annotation)
        return tuple(path), model, kind_of, alternatives(annotation)

    def _unknown_key(self, path: KeyPath, model: type[BaseModel] | None) -> tuple[Node, str]:
        parent, name = walk(self._root, path[:-1]), str(path[-1])
        node = parent.key(name) or parent
        if pattern(path, KEYS) or pattern(path, VALUES):
            return node, line(node, path, f"{NOT_YET}; take it out")
        if name in SETTINGS:
            return node, line(node, path, "unknown key; mappings read it: write it under settings: of the channel")
        known = list(model.model_fields) if model is not None else []
        hint = closest(name, known) or f"; known keys here: {', '.join(known)}"
        return node, line(node, path, f"unknown key{hint}")

    def _missing(self, path: KeyPath, model: type[BaseModel] | None) -> tuple[Node, str]:
        node, name = walk(self._root, path[:-1]), str(path[-1])
        wanted = description(model, name) if model is not None else ""
        if path in INHERITED:
            what, there = wanted.partition(". ")[0].replace("`", ""), INHERITED[path]
            text = f"is missing here and in the site's file; add {there} there for all channels, or {name} here: {what}"
            return node, line(node, path, text)
        return node, line(node, path, f"is missing; add {name}: {wanted}")

    def _unknown_kind(self, path: KeyPath, kinds: list[str]) -> tuple[Node, str]:
        block = walk(self._root, path)
        is_source = path[-1:] == ("source",)
        known = {
            "kind": list(source.presets()) if is_source else kinds,
            "transport": list(source.transports()),
            "link": list(source.links()),
        }
        for key in known:
            value = block.get(key) if block.kind == "map" else None
            if value is not None and value.value not in known[key]:
                return value, line(value, (*path, key), _choice(value.value, known[key], (*path, key)))
        if block.kind != "map":
            return block, line(block, path, f"expected a block with kind: {_either(known['kind'])}")
        tee = block.get("tee")
        if is_source and tee is not None and block.get("kind") is not None:
            return tee, line(tee, (*path, "tee"), "a tee is for kind mllp or astm; use one of these, or take tee out")
        if block.get("transport") is not None or block.get("link") is not None:
            return block, line(block, path, f"this transport and link do not go together; use {_either(known['kind'])}")
        return block, line(block, path, f"kind is missing; add kind: {_either(known['kind'])}")

    def _not_one_of(self, node: Node, path: KeyPath, kind_of: str) -> str:
        if node.kind != "scalar":
            return f"expected {kind_of.replace('`', '')}, found a {node.kind}"
        return _choice(node.value, [value.strip("`") for value in kind_of.split(" or ")], path)


def _is_later(path: KeyPath, node: Node) -> bool:
    entry = pattern(path, VALUES)
    return entry is not None and node.value in VALUES[entry]


def _choice(value: str, known: list[str], path: KeyPath) -> str:
    entry = pattern(path, VALUES)
    if entry is not None and value in VALUES[entry]:
        return f"'{value}' {NOT_YET}; use {_either(known)}"
    return f"unknown value '{value}'{closest(value, known) or f'; use {_either(known)}'}"


def _either(known: list[str]) -> str:
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} or {known[-1]}"


def _bound(word: str, key: str) -> Callable[[dict[str, Any], str], str]:
    def text(context: dict[str, Any], kind_of: str) -> str:
        value = context[key]
        shown = {"duration": duration_text, "size": size_text}.get(kind_of, str)(value)
        return f"expected {word} {shown}"

    return text


_NAME = "a name of letters, digits, '.', '_' and '-', at most 64, that begins with a letter or digit"
_FORMS = {
    "account or %group": "the name of an account, or % and that of a group: letters, digits, '.', '_', '@' and '-'",
    "e-mail address": "an e-mail address, as lab@lab.example.org",
    "id of a facility": "an id of 3 to 64 letters, digits, '_' and '-', as IN0000000001",
    "name of a header": "the name of a header, as X-Api-Key",
}

_RULES: dict[str, Callable[[dict[str, Any], str], str]] = {
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "string_too_short": lambda _, kind_of: f"is empty; expected a {kind_of}",
    "string_pattern_mismatch": lambda _, kind_of: f"expected {_FORMS.get(kind_of, _NAME)}",
    "value_error": lambda context, _: str(context["error"]),
}


def _other(error: ErrorDetails, node: Node, kind_of: str) -> str:
    if error["type"].endswith(("_type", "_instance_of")):
        found = {"scalar": "a single value", "list": "a list", "map": "a block of keys"}[node.kind]
        wanted = "a list, whose entries begin with -" if kind_of == "list" else kind_of.replace("`", "")
        return f"expected {wanted}; found {found}"
    return error["msg"]


def description(model: type[BaseModel], name: str) -> str:
    """What a field is for, in one line; empty where its model does not say it."""
    owners = (each for each in model.__mro__ if name in vars(each).get("__annotations__", ()))
    owner = next(owners, model)
    return _docstrings(owner.__module__).get((owner.__name__, name), "")


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """Class and field -> the docstring below it."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        (owner.name, field.target.id): " ".join(str(below.value.value).split())
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for field, below in pairwise(owner.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


NOT_YET = "is not in this version of LabRelay"

KEYS = frozenset(
    {
        # site
        "encryption",
        # channels
        "key_memory",
        "reject",
        "source.frame_limit",
        "source.pack",
    }
)

VALUES: dict[str, tuple[str, ...]] = {"destinations.*.kind": ("worklist",)}

# Mappings read these from `settings:`; people look for them one level higher.
SETTINGS = frozenset(
    {
        "create_service_request",
        "encounters",
        "lab",
        "local_system",
        "no_patient",
        "no_specimen",
        "obx2_default",
        "observation_key",
        "on_missing",
        "specimen_system",
    }
)


def pattern(path: tuple[str | int, ...], known: frozenset[str] | dict[str, tuple[str, ...]]) -> str | None:
    """The entry of ``known`` that ``path`` matches."""
    for entry in known:
        parts = entry.split(".")
        if len(parts) == len(path) and all(part in ("*", str(step)) for part, step in zip(parts, path, strict=True)):
            return entry
    return None
