"""JSON Schema of what is read by hand, without models: mappings, their libraries, and layouts.

Of mappings: keys, policies and requests as `engine.mapping.rules` has them; in a `body:` the elements of the type that
is created, with FHIR's cardinalities and required codes. Whether an expression means anything, `labrelay check` says.
"""

from collections.abc import Iterable
from typing import Any

from adapters.codecs.hl7v2 import writer as hl7v2_writer
from adapters.codecs.text import layout_language, layout_reader
from adapters.codecs.text.framing import CHECKSUMS
from engine.mapping import rules, targets
from engine.mapping.identity_reading import IDENTITY_KEYS
from engine.mapping.r4 import CODES, ELEMENTS, PRIMITIVES, RESOURCES, Element
from engine.mapping.structures import structures
from tools.schema_of_models import SCALAR

Schema = dict[str, Any]

EXPRESSION: Schema = {"type": "string", "pattern": "^=", "description": "An expression."}
NAMES: Schema = {"type": "object", "additionalProperties": SCALAR}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _listed(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _block(properties: dict[str, Schema], required: Iterable[str] = ()) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


# -- mappings ------------------------------------------------------------------------------------------------------


def mapping() -> Schema:
    """A file of ``mappings/``: a mapping, or a library of fragments."""
    froms = [f"{kind}/{name}" for kind in ("hl7v2", "astm") for name in sorted(structures(kind))]
    of_mapping = _block(
        {
            "mapping": {**SCALAR, "description": "Its name, shown in traces and errors."},
            "format": {"const": rules.FORMAT},
            "description": SCALAR,
            "from": {**_listed({"enum": froms}), "description": "The structure that is read, or several."},
            "to": {"enum": list(targets.TARGETS), "description": "What is written; fhir/R4, if not given."},
            "csv": _block(
                {
                    "delimiter": {"enum": list(targets.DELIMITERS)},
                    "header": _flag(),
                    "guard": {**_flag(), "description": "No text becomes a formula of a spreadsheet."},
                }
            ),
            "results": {
                "anyOf": [
                    {"const": "none"},
                    _block(
                        {name: _listed(SCALAR) if name in targets.SEVERAL else SCALAR for name in targets.RESULT_KEYS}
                    ),
                ],
                "description": "The columns (CSV), or list.member (JSON), by which results are compared; or none.",
            },
            "bundle": {"enum": list(rules.BUNDLES)},
            "profiles": {
                "type": "object",
                "additionalProperties": SCALAR,
                "description": "Type of resource: URL of the profile that its meta names.",
            },
            "import": {"type": "array", "items": SCALAR, "description": "Libraries whose fragments are used."},
            "tables": {"type": "object", "additionalProperties": _ref("table")},
            "let": NAMES,
            "steps": {"type": "array", "items": _ref("step")},
            "identity": _block({key: _listed(SCALAR) for key in IDENTITY_KEYS}),
            "policies": _block({name: {"enum": list(choices)} for name, choices in rules.POLICIES.items()}),
        },
        ("mapping", "format", "from", "steps"),
    )
    of_library = _block(
        {
            "mapping-library": {**SCALAR, "description": "Its name, as in import: of mappings."},
            "format": {"const": rules.FORMAT},
            "description": SCALAR,
            "fragments": {"type": "object", "additionalProperties": _ref("fragment")},
        },
        ("mapping-library", "format"),
    )
    return {
        "title": "A mapping of LabRelay, or a library of fragments",
        "if": {"required": ["mapping-library"]},
        "then": of_library,
        "else": of_mapping,
        "definitions": {
            "step": _step(),
            "table": _block(
                {
                    "csv": {"anyOf": [SCALAR, {"type": "array", "items": SCALAR}]},
                    "key": {"type": "array", "items": SCALAR},
                    "optional_key": {
                        "type": "array",
                        "items": SCALAR,
                        "description": "Key columns that a file may have; a blank cell below them is any.",
                    },
                    "on_missing": {"enum": list(rules.ON_MISSING)},
                    "on_missing_unit": {"enum": list(rules.POLICIES["on_missing_unit"])},
                },
                ("csv", "key"),
            ),
            "fragment": _block(
                {
                    "takes": {"type": "array", "items": SCALAR},
                    "let": NAMES,
                    "body": {"type": "object"},
                    "steps": {"type": "array", "items": _ref("step")},
                }
            ),
            **{f"R4.{name}": _body(name, elements) for name, elements in sorted(ELEMENTS.items())},
            **{f"value.{kind}": _value(kind) for kind in sorted({*PRIMITIVES, *ELEMENTS, "Resource"})},
        },
    }


def _flag() -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"enum": list(targets.FLAGS)}]}


def _step() -> Schema:
    resources = sorted(RESOURCES & ELEMENTS.keys())
    segments = sorted(frozenset().union(*map(hl7v2_writer.known_segments, targets.HL7_STRUCTURES)))
    segment = {"anyOf": [{"enum": segments}, {"type": "string", "pattern": "^Z[A-Z0-9]{2}$"}]}
    step = _block(
        {
            "create": {"enum": resources, "description": "Makes a resource of this type."},
            "each": {**SCALAR, "description": "Once for each group, or each segment, of this name."},
            "do": {"type": "array", "items": _ref("step")},
            "$use": {**SCALAR, "description": "The steps of a fragment."},
            "$with": NAMES,
            "let": NAMES,
            "as": {**SCALAR, "description": "A name for what is made, for ref()."},
            "when": EXPRESSION,
            "where": {**EXPRESSION, "description": "With each: only these rounds."},
            "key": {**SCALAR, "description": "With create: what the sender calls it."},
            "request": {"enum": list(rules.REQUESTS)},
            "body": {"type": "object"},
            "segment": {**segment, "description": "to: hl7v2/...: writes this segment."},
            "fields": {"type": "object", "description": "With segment: its fields by number, as 3 or '3.1'."},
            "record": {**SCALAR, "description": "to: json: an object in the list of this name; do: for those inside."},
            "document": {"type": "object", "description": "to: json: members of the document itself."},
            "row": {"type": "object", "description": "to: csv: a line, column by column."},
            "filter": _block({"when": EXPRESSION, "as": SCALAR}, ("when",)),
            "add_to": {
                "enum": resources,
                "description": "More elements for a resource of this type that is made already.",
            },
            "which": {**EXPRESSION, "description": "With add_to: the reference to it, as =ref(x)."},
            "drop": {**SCALAR, "description": "Why the results of the group at hand are left out on purpose."},
            "dead": {**SCALAR, "description": "REASON: text. The message becomes a dead letter."},
            "warn": {**SCALAR, "description": "CODE: text. Notes an issue."},
        }
    )
    typed = [
        {
            "if": {"properties": {step_key: {"const": name}}, "required": [step_key]},
            "then": {"properties": {"body": _ref(f"R4.{name}")}, "required": ["body"]},
        }
        for step_key in ("create", "add_to")
        for name in resources
    ]
    return {**step, "allOf": typed}


def _body(name: str, elements: dict[str, Element]) -> Schema:
    """An object of a type: its elements, and the keys of the language among them."""
    properties: dict[str, Schema] = {
        "$case": {"type": "array", "items": {"type": "object"}, "description": "The first branch that holds."},
        "$use": SCALAR,
        "$with": NAMES,
        "$let": NAMES,
    }
    for element, facts in elements.items():
        limits = f"{'1' if facts.required else '0'}..{'*' if facts.many else '1'}"
        value = _ref(f"value.{facts.type}")
        if facts.binding:
            value = {"anyOf": [{"enum": sorted(CODES[facts.binding])}, {"pattern": "^=", "type": "string"}]}
            value = _listed(value) if facts.many else value
        properties[element] = {**value, "description": f"{facts.type} {limits}"}
        if facts.type in PRIMITIVES:
            properties[f"_{element}"] = {"type": "object"}
    return {"type": "object", "properties": properties, "additionalProperties": False, "title": name}


def _value(kind: str) -> Schema:
    """A literal or an expression, an object of the type, or a list of these."""
    if kind in PRIMITIVES:
        return _listed(SCALAR)
    inner = _ref(f"R4.{kind}") if kind in ELEMENTS else {"type": "object"}
    return _listed({"anyOf": [{"type": "string", "pattern": "^="}, inner]})


# -- layouts -------------------------------------------------------------------------------------------------------


def layout() -> Schema:
    """A file of ``layouts/``, or the ``layout.yaml`` of a pack."""
    time = {"type": "string", "pattern": f"^{layout_reader.DURATION.pattern}$"}
    number = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}]}
    flag = {"anyOf": [{"const": True}, {"const": "true"}]}
    field = layout_reader.FIELD.pattern.replace("[A-Z]", f"[{layout_language.LETTERS}]")
    place = {"type": "string", "pattern": f"^{field}$"}
    checksum = _block(
        {
            "kind": {"enum": list(CHECKSUMS)},
            "covers": _listed({"enum": ["start", "text", "end"]}),
            "place": {"enum": ["before", "after"]},
            "written": {"enum": ["hex", "byte"]},
            "check": {"enum": ["required", "warn"]},
        }
    )
    framing = _block(
        {
            **dict.fromkeys(("start", "end", "between"), SCALAR),
            "idle": time,
            "lines": number,
            "timeout": time,
            "checksum": checksum,
            "answer": _block({"good": SCALAR, "bad": SCALAR}, ("good",)),
            "replies": NAMES,
        }
    )
    text = _block(
        {
            "as": {"enum": ["lines", "fields", "csv"]},
            **dict.fromkeys(("ends", "separator", "until", "end", "delimiter", "quote", "skip_lines"), SCALAR),
            "tag": number,
            "skip": number,
            "header": {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]},
            **{name: _listed(SCALAR) for name in ("key", "optional", "ignore")},
        },
        ("as",),
    )
    taken = _block({"take": SCALAR, "time": _listed(SCALAR), "words": NAMES}, ("take",))
    values = {"type": "object", "additionalProperties": {"anyOf": [SCALAR, taken]}}
    rule = _block(
        {
            **dict.fromkeys(("line", "find", "begins", "tag", "value", "section", "refuse"), SCALAR),
            "columns": NAMES,
            "each": _listed(SCALAR),
            "at_end_of": {"enum": ["P", "O", "R"]},
            "in": _listed(SCALAR),
            "if": NAMES,
            "set": {**values, "propertyNames": place},
            "remember": values,
            "new": {"enum": list(layout_language.OPENED_BY_RULES)},
            "amend": {"type": "object", "propertyNames": place, "additionalProperties": SCALAR},
            "skip": flag,
            "no_result": flag,
        }
    )
    return {
        "title": "A layout of LabRelay: how the text of an analyzer is read",
        **_block(
            {
                "layout": SCALAR,
                "about": SCALAR,
                "evidence": {},
                "framing": framing,
                "text": text,
                "decimal": {"enum": [".", ","]},
                "required": _listed(place),
                "unread": {"enum": ["keep", "refuse"]},
                "rules": {"type": "array", "items": rule, "maxItems": layout_reader.MAX_RULES},
            },
            ("layout", "text", "rules"),
        ),
    }
