"""JSON Schema of ``mappings/tests/*.yaml``: the keys that `engine.mapping.testing` reads."""

from typing import Any

from engine.mapping import testing
from engine.mapping.hold_rules import expecting
from engine.model.reasons import ReasonCode
from tools.schema_of_models import SCALAR

Schema = dict[str, Any]

_LIST: Schema = {"type": "array", "items": SCALAR}
_MAP: Schema = {"type": "object", "additionalProperties": SCALAR}


def test_file() -> Schema:
    """A test, or a list of tests."""
    one = {"$ref": "#/definitions/test"}
    return {
        "title": "Tests of mappings of LabRelay: mappings/tests/*.yaml",
        "if": {"type": "array"},
        "then": {"type": "array", "items": one},
        "else": one,
        "definitions": {"test": _test()},
    }


def _test() -> Schema:
    cause = {"enum": list(expecting.CAUSES)}
    held = _block({"cause": cause, "why": SCALAR})
    issue = _block(dict.fromkeys(("code", "place", "text", "rule", "severity"), SCALAR))
    reason = {"enum": [one.value for one in ReasonCode]}
    part = _block({"find": SCALAR, "has": {"type": "object"}}, "find")
    known: dict[str, Schema] = {
        "counts": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}},
        "issues": {"type": "array", "items": {"anyOf": [SCALAR, issue]}},
        "unmapped": _LIST,
        "unread": _LIST,
        "dead": reason,
        "filtered": reason,
        "held": {"anyOf": [{"enum": [*expecting.CAUSES, expecting.NOT_HELD]}, {"const": False}, held]},
        "golden": SCALAR,
    }
    parts: Schema = {"type": "array", "items": part}
    expect = {name: known.get(name, parts) for name in testing.EXPECT_KEYS}
    rule = {"anyOf": [{"type": "string"}, _block({"when": SCALAR, "reason": SCALAR}, "when")]}
    values: dict[str, Schema] = {
        "settings": {"type": "object"},
        "hold": {"anyOf": [rule, {"type": "array", "items": rule}]},
        "earlier": _MAP,
        "controls": {"type": "object", "additionalProperties": {"enum": ["passed", "failed"]}},
        "expect": _block(expect),
    }
    test = _block({name: values.get(name, SCALAR) for name in testing.KEYS}, "expect")
    return {**test, "anyOf": [{"required": ["given"]}, {"required": ["file"]}]}


def _block(properties: dict[str, Schema], *required: str) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema
