"""JSON Schema of what is read by hand, without models: mappings, their tests, and layouts.

`schemas/*.yaml` have the keys, what each holds and what it means; what the code knows better (names of structures,
policies, reasons) is filled in here. In a `body:` stand the elements of the type that is created, with FHIR's
cardinalities and required codes. Whether an expression means anything, `labrelay check` says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adapters.codecs.hl7v2 import writer as hl7v2_writer
from adapters.codecs.text import layout_language, layout_nodes, layout_reader
from adapters.codecs.text.framing import CHECKSUMS
from engine.mapping.fhir.r4 import CODES, ELEMENTS, PRIMITIVES, RESOURCES, Element
from engine.mapping.hold_rules import rules as hold_rules
from engine.mapping.language import rules, targets
from engine.mapping.language.structures import structures
from engine.model.texts.reasons import ReasonCode
from tools.schema_of_models import SCALAR

Schema = dict[str, Any]


def from_file(name: str, known: Mapping[str, object]) -> Schema:
    """The schema of ``schemas/NAME.yaml``; ``known``: what its names in capitals mean."""
    read: Schema = yaml.safe_load((Path(__file__).parent / "schemas" / f"{name}.yaml").read_text(encoding="utf-8"))
    del read["shared"]
    return {"title": read.pop("title"), **_filled(read, known)}


def _filled(node: Any, known: Mapping[str, object]) -> Any:
    if isinstance(node, list):
        return [_filled(inner, known) for inner in node]
    if not isinstance(node, dict):
        return known.get(node, node)
    filled = {key: _filled(inner, known) for key, inner in node.items()}
    if "properties" in filled:
        block = {"type": "object", "properties": filled.pop("properties"), "additionalProperties": False}
        filled = {**block, **filled}
    if isinstance(node.get("description"), str):
        filled["description"] = filled.pop("description")  # comes last
    return filled


def layout() -> Schema:
    """A file of ``layouts/``, or the ``layout.yaml`` of a pack."""
    field = layout_reader.FIELD.pattern.replace("[A-Z]", f"[{layout_language.LETTERS}]")
    known = {
        "CHECKSUMS": list(CHECKSUMS),
        "DURATION": f"^{layout_nodes.DURATION.pattern}$",
        "FIELD": f"^{field}$",
        "MAX_RULES": layout_reader.MAX_RULES,
        "OPENED_BY_RULES": list(layout_language.OPENED_BY_RULES),
    }
    return from_file("layout", known)


def test_file() -> Schema:
    """A test, or a list of tests: ``mappings/tests/*.yaml``."""
    causes = list(hold_rules.CAUSES)
    reasons = [reason.value for reason in ReasonCode]
    return from_file("test", {"CAUSES": causes, "HELD": [*causes, hold_rules.NOT_HELD], "REASONS": reasons})


def mapping() -> Schema:
    """A file of ``mappings/``: a mapping, or a library of fragments."""
    resources = sorted(RESOURCES & ELEMENTS.keys())
    known = {
        "BUNDLES": list(rules.BUNDLES),
        "DELIMITERS": list(targets.DELIMITERS),
        "FLAGS": list(targets.FLAGS),
        "FORMAT": rules.FORMAT,
        "REQUESTS": list(rules.REQUESTS),
        "RESOURCES": resources,
        "SEGMENTS": sorted(frozenset().union(*map(hl7v2_writer.known_segments, targets.HL7_STRUCTURES))),
        "STRUCTURES": [*(f"{kind}/{name}" for kind in ("hl7v2", "astm") for name in sorted(structures(kind))), "json"],
        "TARGETS": list(targets.TARGETS),
        **{f"POLICIES.{name}": list(choices) for name, choices in rules.POLICIES.items()},
    }
    schema = from_file("mapping", known)
    step = schema["definitions"]["step"]
    said = step["properties"]["body"]["description"]
    step["allOf"] = [
        {
            "if": {"properties": {key: {"const": name}}, "required": [key]},
            "then": {"properties": {"body": {**_ref(f"R4.{name}"), "description": said}}, "required": ["body"]},
        }
        for key in ("create", "add_to")
        for name in resources
    ]
    schema["definitions"] |= {f"R4.{name}": _body(name, elements) for name, elements in sorted(ELEMENTS.items())}
    schema["definitions"] |= {f"value.{kind}": _value(kind) for kind in sorted({*PRIMITIVES, *ELEMENTS, "Resource"})}
    return schema


def _body(name: str, elements: dict[str, Element]) -> Schema:
    """An object of a type: its elements, and the keys of the language among them."""
    names = {"type": "object", "additionalProperties": SCALAR}
    properties: dict[str, Schema] = {
        "$case": {"type": "array", "items": {"type": "object"}, "description": "The first branch that holds."},
        "$use": {**SCALAR, "description": "A fragment whose elements, or steps, are put here."},
        "$with": {**names, "description": "The arguments of the fragment: name: =expression."},
        "$let": {**names, "description": "Names for this object: name: =expression."},
    }
    for element, facts in elements.items():
        limits = f"{'1' if facts.required else '0'}..{'*' if facts.many else '1'}"
        value = _ref(f"value.{facts.type}")
        if facts.binding:
            value = {"anyOf": [{"enum": sorted(CODES[facts.binding])}, {"pattern": "^=", "type": "string"}]}
            value = _listed(value) if facts.many else value
        properties[element] = {**value, "description": f"{facts.type} {limits}"}
        if facts.type in PRIMITIVES:
            properties[f"_{element}"] = {"type": "object", "description": f"Extensions of {element}, or its id."}
    return {"type": "object", "properties": properties, "additionalProperties": False, "title": name}


def _value(kind: str) -> Schema:
    """A literal or an expression, an object of the type, or a list of these."""
    if kind in PRIMITIVES:
        return _listed(SCALAR)
    inner = _ref(f"R4.{kind}") if kind in ELEMENTS else {"type": "object"}
    return _listed({"anyOf": [{"type": "string", "pattern": "^="}, inner]})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _listed(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}
