"""The OpenAPI document of the API (OpenAPI 3.1), of the table of resources, the models of arguments, and the views.

The daemon serves the file as it is, so that no request has to make it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter

from engine.actions.control import WITH_CONTENT
from engine.actions.declaring import Act
from engine.actions.selection import Selection
from engine.actions.verbs import all_acts, of_api
from engine.features.abdm.lists import CONSENT, CONTEXT, FACILITY, PAGE, STEP, TRANSFER, VERSION
from engine.features.orders.lists import CHANGE, ORDER
from engine.features.rework.lists.dead_letters import LETTER_GROUP
from engine.features.rework.lists.operations import OPERATION
from engine.views.message_in_full import TRACE
from engine.views.messages import DELIVERY
from engine.views.trail import ACT
from engine.views.view import InstantOf, OrNone, View
from engine.web.api import parameters, reads
from engine.web.api.acts import KEY_HEADER, LONGEST_KEY
from engine.web.api.lists import CONTENTS, EVENTS, QUESTIONS, ROOT, Resource, resources
from engine.web.api.problems import CONTENT_TYPE, KINDS

FILE = Path(__file__).resolve().parents[1] / "engine" / "web" / "api" / "openapi.json"
Json = dict[str, Any]

NAMES: Mapping[str, Json] = {  # other documents: address -> their names
    "/status": {"overall": {"type": "object"}, "findings": {"type": "array"}, "channels": {"type": "array"},
                "destinations": {"type": "array"}, "config_hash": {"type": "string"}},
    "/channels": {"channels": {"type": "array", "items": {"type": "object"}}},
    "/destinations": {"destinations": {"type": "array", "items": {"type": "object"}}},
    "/version": {name: {"type": "string"} for name in ("labrelay", "python", "sqlite", "system")},
    "/dead-letters/{message}": {"message": {"type": "integer"}, "dead_letters": {"type": "array"},
                                "masked": {"type": "boolean"}, "raw": {"type": "array", "items": {"type": "string"}}},
    "/held-results": {"message": {"type": "integer"}, "results": {"type": "object"}},
    "/messages/{message}/wire": {"wire": {"type": "object"}},
    CONTENTS: {"payload": {"type": "string"}, "bodies": {"type": "object"}},
    "/todo": {"todo": {"type": "array", "items": {"type": "object"}}},
    "/operations/{number}/wait": {"waits": {"type": "string"}},
}  # fmt: skip


def files() -> dict[Path, str]:
    return {FILE: json.dumps(document(), indent=1, ensure_ascii=False) + "\n"}


def document() -> Json:
    paths: Json = {}
    for one in resources():
        paths.setdefault(one.path, {})["post" if one.of_post else "get"] = _resource(one)
    for question in QUESTIONS:
        verb = all_acts()[question.verb]
        said = _operation(question.what, question.verb, _object(NAMES[question.path]))
        said |= {"parameters": list(_parameters(verb.arguments, question.path))}
        paths[question.path] = {"get": said | _needs(", ".join(sorted(verb.needs)))}
    reveal = _operation(
        "the contents of one message; the audit trail keeps the purpose", "contents", _object(NAMES[CONTENTS])
    )
    reveal |= {"parameters": list(_parameters(parameters.OneMessage, CONTENTS)), **_body(parameters.Reveal)}
    paths[EVENTS] = {"get": _events()}
    paths[CONTENTS] = {"post": reveal | _needs("look, see-patients")}
    for name, act in of_api().items():
        paths[f"/acts/{name}"] = {"post": _act(act)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LabRelay",
            "version": "1",
            "description": "docs/api.md says what holds for all: permissions, pages, keys of acts, problems.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ROOT}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _problem(),
                "Selection": _selection(),
                "ReasonCode": {"type": "string", "enum": [*parameters.CODES]},
                **{
                    _title(view): _row(view)
                    for view in (*filter(None, map(_view, resources())), TRACE, CHANGE, FACILITY, VERSION, STEP, PAGE)
                },
            },
            "responses": {"Problem": _problems()},
        },
    }


def _events() -> Json:
    said = _operation("events as they happen, as server-sent events (docs/events.md)", "events", {})
    said["responses"]["200"] = {
        "description": "a stream without end; each event has an id to go on from",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    last = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}
    last["description"] = "The id of the last event that came; it counts before `after`."
    said["parameters"] = [*_parameters(parameters.Events, EVENTS), last]
    return said | _needs("look; events of kind act need administer, too")


# -- operations ----------------------------------------------------------------------------------------------------


def _resource(one: Resource) -> Json:
    model = reads.model_of(one.read)
    said = _operation(one.what, one.name, _answer(one))
    said |= _body(model) if one.of_post else {"parameters": list(_parameters(model, one.path))}
    return said | _needs(", ".join(sorted(one.needs)))


def _answer(one: Resource) -> Json:
    if one.path == "/messages/{message}":
        return {
            "allOf": [
                _ref("schemas", _title(TRACE)),
                _object({"deliveries": _list(DELIVERY), "acts": {"type": "array"}}),
            ]
        }
    if one.path == "/operations/{number}":
        more = _object({"undelivered": {"type": "object"}, "reason": {"type": "string"}})
        return {"allOf": [_ref("schemas", _title(OPERATION)), more]}
    if one.path == "/orders/{item}":
        more = _object(
            {
                "for": {"type": "array", "items": {"type": "string"}},
                "from": {"type": "string"},
                "after": {"type": ["string", "null"]},
                "parent": {"type": ["string", "null"]},
                "history": _list(CHANGE),
            }
        )
        return {"allOf": [_ref("schemas", _title(ORDER)), more]}
    if one.path == "/abdm/status":
        return _object(
            {"well": {"type": "boolean"}, "account": {"type": ["object", "null"]}, FACILITY.name: _list(FACILITY)}
        )
    if one.path == "/abdm/contexts/{number}":
        more = _object({"versions": _list(VERSION), "calls": _list(STEP), "sent": _list(PAGE)})
        return {"allOf": [_ref("schemas", _title(CONTEXT)), more]}
    if one.path == "/abdm/consents/{number}":
        more = _object(
            {
                "signature": {"type": "string"},
                "grants": {"type": "integer"},
                "granted": {"type": ["object", "null"]},
                "contexts": {"type": "array", "items": {"type": "integer"}},
                "transfers": _list(TRANSFER),
            }
        )
        return {"allOf": [_ref("schemas", _title(CONSENT)), more]}
    view = _view(one)
    if view is None:
        return _object(NAMES[one.path])
    pages = {"cursor": {"type": ["string", "null"]}, "next": {"type": ["string", "null"]}}
    paged = "cursor" in reads.model_of(one.read).model_fields
    return _object({view.name: _list(view)} | (pages if paged else {}))


def _view(one: Resource) -> View[Any] | None:
    """Of the rows of a list."""
    return ACT if one.path == "/acts" else one.view


def _act(act: Act) -> Json:
    said = _operation(act.api, f"act_{act.name}", _object({"verb": {"type": "string"}}))
    key = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}
    said["parameters"] = [
        {
            "name": KEY_HEADER,
            "in": "header",
            "schema": key,
            "description": "Another text for each act; not with dry_run.",
        }
    ]
    said["responses"]["202"] = {**said["responses"]["200"], "description": "it goes on; Location is its operation's"}
    said |= _body(act.arguments)
    if act.name in WITH_CONTENT:
        schema = said["requestBody"]["content"]["application/json"]["schema"]
        schema["properties"]["content"] = {"type": "string", "contentEncoding": "base64"}
        schema.setdefault("required", []).append("content")
    return said | _needs(", ".join(sorted(act.needs)))


def _operation(what: str, name: str, schema: Json) -> Json:
    answers: Json = {"200": {"description": "done", "content": {"application/json": {"schema": schema}}}}
    answers |= dict.fromkeys(("4XX", "5XX"), _ref("responses", "Problem"))
    return {"operationId": name, "summary": what, "responses": answers}


def _needs(permissions: str) -> Json:
    return {"description": f"Needs {permissions}."}


def _object(properties: Json) -> Json:
    common = {"schema_version": {"type": "integer"}}
    return {"type": "object", "properties": common | properties, "required": [*common, *properties]}


def _list(view: View[Any]) -> Json:
    return {"type": "array", "items": _ref("schemas", _title(view))}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


# -- arguments -----------------------------------------------------------------------------------------------------


def _parameters(model: type[BaseModel], path: str) -> Iterator[Json]:
    schema = model.model_json_schema()
    for name, said in schema.get("properties", {}).items():
        said = _without_null(said)
        in_path = f"{{{name}}}" in path
        made = {"name": name, "in": "path" if in_path else "query", "required": in_path, "schema": said}
        described = said.pop("description", "")
        yield made | ({"description": described} if described else {})


def _body(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema()
    for name, said in schema.get("properties", {}).items():
        schema["properties"][name] = _ref("schemas", "Selection") if name == "selection" else _without_null(said)
    schema.pop("title", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _without_null(said: Json) -> Json:
    """Of a query nothing can be null; it is left out."""
    said.pop("title", None)
    if said.get("default", "") is None:
        del said["default"]
    (kind, *_) = [one for one in said.pop("anyOf", [{}]) if one.get("type") != "null"]
    return _code(kind | said)


def _code(said: Json) -> Json:
    """The same, with the list of all reason codes in one place."""
    if said.get("enum") != [*parameters.CODES]:
        return said
    return _ref("schemas", "ReasonCode") | {name: said[name] for name in ("description",) if name in said}


def _selection() -> Json:
    properties = {
        name: _without_null(said) for name, said in TypeAdapter(Selection).json_schema()["properties"].items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


# -- answers -------------------------------------------------------------------------------------------------------


def _title(view: View[Any]) -> str:
    """Of the schema of its rows: two views may have lists of one name."""
    return {id(TRACE): "messageInFull", id(LETTER_GROUP): "deadLetterGroups"}.get(id(view), view.name)


def _row(view: View[Any]) -> Json:
    of = getattr(view, "__orig_class__", None)
    kind = get_args(of)[0] if of is not None else None
    properties = {field.name: _field(kind, field.of or field.name) for field in view.fields if field.name}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _field(kind: Any, of: Any) -> Json:
    if isinstance(of, InstantOf):
        return {"type": ["string", "null"], "format": "date-time"}
    if isinstance(of, OrNone):
        return _or_null(_type(kind, of.name))
    return _type(kind, of) if isinstance(of, str) else {}


def _type(kind: Any, name: str) -> Json:
    """The schema of an attribute, by its annotation; empty where there is none."""
    if not (is_dataclass(kind) or hasattr(kind, "_fields")):
        return {}
    declared = getattr(kind, name, None)
    try:
        hints = get_type_hints(declared.fget) if isinstance(declared, property) else get_type_hints(kind)
    except NameError:  # a name that only a checker of types imports
        return {}
    return _schema(hints.get("return" if isinstance(declared, property) else name, Any))


def _schema(hint: Any) -> Json:
    if get_origin(hint) in (Union, UnionType):
        (one, *more) = [part for part in get_args(hint) if part is not NoneType]
        return _or_null(_schema(one)) if not more and NoneType in get_args(hint) else {}
    if get_origin(hint) is Literal:
        return {"type": "string"}
    if get_origin(hint) in (tuple, list):
        return {"type": "array"}
    known: Mapping[Any, Json] = {
        bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"type": "number"}, str: {"type": "string"},
        datetime: {"type": "string", "format": "date-time"},
    }  # fmt: skip
    return dict(known.get(hint, {}))


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]} if isinstance(schema.get("type"), str) else schema


def _problem() -> Json:
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "trace_id")}
    wrong = {name: {"type": "string"} for name in ("parameter", "pointer", "detail")}
    errors = {"type": "array", "items": {"type": "object", "properties": wrong, "required": ["detail"]}}
    properties = {**texts, "status": {"type": "integer"}, "errors": errors}
    return {"type": "object", "properties": properties, "required": [*texts, "status"]}


def _problems() -> Json:
    kinds = [f"{kind.status} `{name}`: {kind.title}" for name, kind in KINDS.items()]
    content = {CONTENT_TYPE: {"schema": _ref("schemas", "Problem")}}
    return {"description": "\n\n".join(kinds), "content": content}
