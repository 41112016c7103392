"""Check whether a Bundle is valid FHIR R4, as far as tables can show, and whether a server will accept it.

`faults(body)` lists the problems, one line each, by path and never with a value: elements, cardinalities and types of
R4, codes of required bindings, shapes of primitives, a value beside a dataAbsentReason (obs-6) and other invariants,
references that lead nowhere, empty strings and lists, requests that contradict their resource, numbers that are no
plain decimals. Profiles and terminology are beyond it.

For `labrelay check --samples` and for tests; messages are mapped without it, since the compiler has looked already.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote

from engine.mapping.fhir.r4 import CODES, ELEMENTS, PRIMITIVES, RESOURCES

FULL_URL = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# FHIR R4, section 2.24: data types. A dateTime with a time has seconds and an offset.
DAY = r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?"
ZONE = r"(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))"
CLOCK = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
SHAPES = {
    "base64Binary": re.compile(r"[0-9a-zA-Z+/]*={0,2}"),
    "code": re.compile(r"[^\s]+(\s[^\s]+)*"),
    "date": re.compile(DAY),
    "dateTime": re.compile(rf"\d{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])(T{CLOCK}{ZONE})?)?)?"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": re.compile(rf"\d{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T{CLOCK}{ZONE}"),
    "time": re.compile(CLOCK),
    "uri": re.compile(r"\S+"),
    "url": re.compile(r"\S+"),
    "canonical": re.compile(r"\S+"),
}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# Type -> an element (empty: always), the ones of which it needs one, and the fault where it has none.
_NEEDED: dict[str, tuple[str, set[str], str]] = {
    "Observation.referenceRange": ("", {"low", "high", "text"}, "obs-3: needs low, high or text"),
    "Quantity": ("code", {"system"}, "qty-3: code without system"),
    "ContactPoint": ("value", {"system"}, "cpt-2: value without system"),
    "Attachment": ("data", {"contentType"}, "att-1: data without contentType"),
    "Organization": ("", {"identifier", "name"}, "org-1: needs an identifier or a name"),
    "Identifier": ("", {"value", "extension"}, "an identifier without a value identifies nothing"),
    "Coding": ("", {"code", "display"}, "a coding without code and display says nothing"),
}
DECIMAL_LITERAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def load(body: bytes) -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads(body, parse_float=Decimal)
    return bundle


def faults(body: bytes) -> list[str]:
    """The problems of a serialised Bundle; the order is stable."""
    try:
        bundle = load(body)
    except ValueError as error:
        return [f"not JSON: {error}"]
    if bundle.get("resourceType") != "Bundle":
        return ["not a Bundle"]
    return [
        *_shape_faults(bundle, "Bundle", "Bundle"),
        *_entry_faults(bundle),
        *_reference_faults(bundle),
        *_decimal_faults(body),
    ]


def _shape_faults(value: Any, kind: str, path: str) -> Iterator[str]:
    """``value``, a JSON object, against the table of the type ``kind``; recursive."""
    if not isinstance(value, dict):
        yield f"{path}: {kind} must be an object"
        return
    if kind == "Resource":
        kind = value.get("resourceType", "")
    elements = ELEMENTS.get(kind)
    if elements is None:
        yield f"{path}: {'has no resourceType' if not kind else 'is of a type that we do not write'}"
        return
    if not value.keys() - {"resourceType"}:
        yield f"{path}: empty object"
    for name, content in value.items():
        if name == "resourceType":
            continue
        element = elements.get(name.removeprefix("_"))
        if element is None:
            yield f"{path}.{name}: no such element in {kind}"
            continue
        if element.many != isinstance(content, list):
            yield f"{path}.{name}: {'needs' if element.many else 'must not be'} a list"
            continue
        if element.many and not content:
            yield f"{path}.{name}: empty list"
        for position, item in enumerate(content if element.many else [content]):
            here = f"{path}.{name}[{position}]" if element.many else f"{path}.{name}"
            if name.startswith("_"):
                if not item:
                    yield f"{here}: empty"
            elif element.type in PRIMITIVES:
                yield from _primitive_faults(item, element.type, here)
                if element.binding and item not in CODES[element.binding]:
                    yield f"{here}: has a code that is not in {element.binding}"
            else:
                yield from _shape_faults(item, element.type, here)
    yield from _missing(value, kind, path)
    yield from _invariant_faults(value, kind, path)


def _missing(value: dict[str, Any], kind: str, path: str) -> Iterator[str]:
    choices: dict[str, bool] = {}
    for name, element in ELEMENTS[kind].items():
        if not element.required:
            continue
        there = name in value or f"_{name}" in value
        if element.choice:
            choices[element.choice] = choices.get(element.choice, False) or there
        elif not there:
            yield f"{path}.{name}: required"
    for choice, there in choices.items():
        if not there:
            yield f"{path}.{choice}[x]: required"


def _invariant_faults(value: dict[str, Any], kind: str, path: str) -> Iterator[str]:
    """Invariants that the models do not know; named as the specification names them."""
    chosen: dict[str, list[str]] = {}
    for name in value:
        element = ELEMENTS[kind].get(name)
        if element and element.choice:
            chosen.setdefault(element.choice, []).append(name)
    for names in chosen.values():
        if len(names) > 1:
            yield f"{path}: {' and '.join(names)} exclude each other"
    if kind in {"Observation", "Observation.component"} and "dataAbsentReason" in value and chosen.get("value"):
        yield f"{path}: obs-6: dataAbsentReason beside {chosen['value'][0]}"
    if kind == "Period" and "start" in value and "end" in value and value["start"][:10] > value["end"][:10]:
        yield f"{path}: per-1: ends before it starts"
    if kind in _NEEDED:
        beside, needed, fault = _NEEDED[kind]
        if (not beside or beside in value) and not value.keys() & needed:
            yield f"{path}: {fault}"


def _primitive_faults(value: Any, kind: str, path: str) -> Iterator[str]:
    if kind == "boolean":
        if not isinstance(value, bool):
            yield f"{path}: must be true or false"
    elif kind in {"decimal", "integer", "positiveInt", "unsignedInt"}:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            yield f"{path}: must be a number"
        elif kind != "decimal" and not isinstance(value, int):
            yield f"{path}: must be an integer"
        elif kind == "positiveInt" and value < 1:
            yield f"{path}: must be positive"
    elif not isinstance(value, str):
        yield f"{path}: must be text"
    elif not value.strip():
        yield f"{path}: empty or blank"
    elif CONTROL.search(value):
        yield f"{path}: has a control character"
    elif kind in SHAPES and not SHAPES[kind].fullmatch(value):
        yield f"{path}: not a {kind}"


def _entry_faults(bundle: dict[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    transaction = bundle.get("type") in {"transaction", "batch"}
    for number, entry in enumerate(bundle.get("entry", [])):
        path = f"Bundle.entry[{number}]"
        url, resource = entry.get("fullUrl", ""), entry.get("resource", {})
        if not url:
            yield f"{path}.fullUrl: required"
        elif url.startswith("urn:uuid:") and not FULL_URL.fullmatch(url):
            yield f"{path}.fullUrl: not a UUID in lower case"
        if url in seen:
            yield f"{path}.fullUrl: used twice"
        seen.add(url)
        if transaction:
            yield from _request_faults(entry.get("request", {}), resource, url, path)
        elif "request" in entry:
            yield f"{path}.request: only in a transaction or batch"
    if bundle.get("type") == "document" and resources_of(bundle)[:1] != ["Composition"]:
        yield "Bundle.entry[0]: a document starts with its Composition"
    if bundle.get("type") == "message" and resources_of(bundle)[:1] != ["MessageHeader"]:
        yield "Bundle.entry[0]: a message starts with its MessageHeader"


def resources_of(bundle: dict[str, Any]) -> list[str]:
    """The resource types, in the order of the Bundle."""
    return [entry.get("resource", {}).get("resourceType", "") for entry in bundle.get("entry", [])]


def _request_faults(request: dict[str, Any], resource: dict[str, Any], full_url: str, path: str) -> Iterator[str]:
    method, url, kind = request.get("method"), request.get("url", ""), resource.get("resourceType", "")
    if method not in {"POST", "PUT"}:
        yield f"{path}.request.method: POST or PUT expected"
    head, _, query = url.partition("?")
    if head.partition("/")[0] != kind:
        yield f"{path}.request.url: of another type than its {kind}"
    if method == "POST":
        if url != kind:
            yield f"{path}.request.url: a POST goes to {kind} alone"
        if "id" in resource:
            yield f"{path}.resource.id: the server gives the id of what is created"
    elif "ifNoneExist" in request:
        yield f"{path}.request.ifNoneExist: only beside POST"
    elif query:
        yield from _query_faults(query, f"{path}.request.url")
        if "id" in resource:
            yield f"{path}.resource.id: a conditional update carries no id"
    elif method == "PUT":
        if url != f"{kind}/{resource.get('id')}":
            yield f"{path}.request.url: not the resource's own type and id"
        if full_url.startswith("urn:uuid:") and full_url.removeprefix("urn:uuid:") != resource.get("id"):
            yield f"{path}.fullUrl: another id than its resource's"
    if "ifNoneExist" in request:
        yield from _query_faults(request["ifNoneExist"], f"{path}.request.ifNoneExist")


def _query_faults(query: str, path: str) -> Iterator[str]:
    """A conditional query: percent-encoded, and a token that names its system."""
    pairs = parse_qsl(query, keep_blank_values=True)
    if not pairs or query.startswith("?"):
        yield f"{path}: not a query"
    if re.search(r"[ \"<>\\^`{|}#]|[^\x20-\x7e]", query):
        yield f"{path}: has characters that must be percent-encoded"
    for name, value in pairs:
        if name == "identifier" and not all(unquote(value).partition("|")[::2]):
            yield f"{path}: identifier needs system|value"


def _reference_faults(bundle: dict[str, Any]) -> Iterator[str]:
    """Every reference leads to an entry of an allowed type, or is a logical one (`identifier`, `display`)."""
    kinds = {entry.get("fullUrl"): entry.get("resource", {}).get("resourceType") for entry in bundle.get("entry", [])}
    for path, reference, targets in _references(bundle, "Bundle", "Bundle"):
        target = reference.get("reference")
        if target is None:
            if not reference.keys() & {"identifier", "display"}:
                yield f"{path}: a reference to nothing"
        elif target.startswith("urn:uuid:"):
            if target not in kinds:
                yield f"{path}: its target is not in the Bundle"
            elif "type" in reference and reference["type"] != kinds[target]:
                yield f"{path}: says another type than {kinds[target]}, which it leads to"
            elif targets and kinds[target] not in targets:
                yield f"{path}: leads to a {kinds[target]}, only {', '.join(targets)} allowed"
        elif targets and _literal_type(target) not in targets:
            yield f"{path}: {_literal_type(target) or 'an unknown type'} is not allowed here"


def _literal_type(reference: str) -> str:
    head, slash, _ = reference.partition("/")
    return head if slash and head in RESOURCES else ""


def _references(value: Any, kind: str, path: str) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Every Reference below ``value``, with its place and the types that the element allows."""
    if not isinstance(value, dict):
        return
    elements = ELEMENTS.get(value.get("resourceType", "") if kind == "Resource" else kind, {})
    for name, content in value.items():
        element = elements.get(name)
        if element is None or element.type in PRIMITIVES:
            continue
        for position, item in enumerate(content if isinstance(content, list) else [content]):
            here = f"{path}.{name}[{position}]" if isinstance(content, list) else f"{path}.{name}"
            if element.type == "Reference" and isinstance(item, dict):
                yield here, item, element.targets
            else:
                yield from _references(item, element.type, here)


def _decimal_faults(body: bytes) -> Iterator[str]:
    """Numbers are written as plain decimal text: no exponent, no rounding artefact of a float."""
    numbers: list[str] = []

    def note(text: str) -> str:
        numbers.append(text)
        return text

    json.loads(body, parse_float=note, parse_int=note)
    for text in numbers:
        if not DECIMAL_LITERAL.fullmatch(text) or "e" in text.lower():
            yield "a number is not plain decimal text"
