"""A page about the API for people who write programs: every address, its arguments, its answer. It has no scripts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.web.api.problems import KINDS
from engine.web.api.resources import ROOT
from engine.web.page_templates import templates

OPENAPI = Path(__file__).with_name("openapi.json")
_FOLDER = Path(__file__).with_name("templates")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    place: str
    form: str
    meaning: str
    required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """
    Attributes:
        answer: the names in it.
        is_plain: it can be asked by its address alone.
    """

    name: str
    method: str
    path: str
    what: str
    needs: str
    arguments: list[Argument]
    answer: list[str]
    is_plain: bool


def page() -> str:
    document = orjson.loads(OPENAPI.read_bytes())
    problems = [{"name": name, "status": kind.status, "title": kind.title} for name, kind in KINDS.items()]
    operations = list(_operations(document))
    template = templates(_FOLDER).get_template("explorer.html")
    return template.render(root=ROOT, operations=operations, problems=problems)


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            content = said["responses"]["200"]["content"]
            yield Operation(
                name=said["operationId"],
                method=method.upper(),
                path=path,
                what=said["summary"],
                needs=said["description"],
                arguments=[*_of_address(document, said), *_of_body(document, said)],
                answer=list(_names(document, content[_JSON]["schema"])) if _JSON in content else [],
                is_plain=method == "get" and "{" not in path and _JSON in content,  # a stream has no end
            )


def _of_address(document: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Argument]:
    for one in said.get("parameters", ()):
        form = _form(document, one["schema"])
        yield Argument(one["name"], one["in"], form, one.get("description", ""), one.get("required", False))


def _of_body(document: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Argument]:
    if "requestBody" in said:
        schema = said["requestBody"]["content"][_JSON]["schema"]
        for name, one in schema.get("properties", {}).items():
            form, meaning = _form(document, one), one.get("description", "")
            yield Argument(name, "body", form, meaning, name in schema.get("required", ()))


def _form(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Type and bounds, in short."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        names = ", ".join(_names(document, schema))
        return f"{name}: {names}" if names else name
    if "enum" in schema:
        return ", ".join(schema["enum"])
    bounds = [f"{word} {schema[name]}" for name, word in (("minimum", "from"), ("maximum", "to")) if name in schema]
    return " ".join([str(schema.get("type", "any")), *bounds])


def _names(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", ()):
        yield from _names(document, part)
    yield from schema.get("properties", {})
