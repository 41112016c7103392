"""Check for faults in a resource that every FHIR server refuses, though it is JSON.

Checked for the types that LabRelay writes: unknown elements, lists where one value belongs (and the reverse),
required elements, codes outside a required binding, all on the resource's first level; and anywhere in it, null,
empty strings, lists and objects (FHIR R4, json.html: none may be empty). It is no validator, on purpose.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from engine.mapping.fhir.r4 import CODES, ELEMENTS, Element
from engine.model.tables import table_lines
from workbench.errors import RefusalError

TYPES = frozenset(" ".join(table_lines(__file__, "r4_types.txt")).split())
ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
# A hint only, found in rendered JSON at the speed of a search; `_empty_places` decides.
_EMPTY_HINT = re.compile(rb'[:\[,](?:""|\[\]|\{\}|null)')


def check_type(kind: object, place: str) -> str:
    """The name of a resource type.

    Raises:
        RefusalError: 400.
    """
    if not isinstance(kind, str) or kind not in TYPES:
        raise RefusalError(400, "invalid", "not the name of a FHIR R4 resource type", place)
    return kind


def check_id(identity: object, place: str) -> str:
    """A logical id.

    Raises:
        RefusalError: 400.
    """
    if not isinstance(identity, str) or not ID.fullmatch(identity):
        raise RefusalError(400, "value", "an id has 1 to 64 letters, digits, hyphens and dots", place)
    return identity


def check_resource(resource: dict[str, Any], kind: str, rendered: bytes) -> None:
    """The resource's first level, and emptiness anywhere.

    Args:
        rendered: the resource as JSON.

    Raises:
        RefusalError: 422.
    """
    if _EMPTY_HINT.search(rendered):
        for place in _empty_places(resource, kind):
            raise RefusalError(422, "invalid", "null and empty values are not allowed", place)
    if kind not in ELEMENTS:
        return
    required, choices = _demands(kind)
    elements = ELEMENTS[kind]
    for name, value in resource.items():
        element = elements.get(name)
        if element is None:
            if name == "resourceType" or (name.startswith("_") and name[1:] in elements):
                continue
            raise RefusalError(422, "structure", "no such element in this type", f"{kind}.{name}")
        if element.many != isinstance(value, list):
            wanted = "needs a list" if element.many else "is not a list"
            raise RefusalError(422, "structure", f"this element {wanted}", f"{kind}.{name}")
        if element.binding and not element.many and value not in CODES[element.binding]:
            raise RefusalError(422, "code-invalid", f"not a code of {element.binding}", f"{kind}.{name}")
    for name in required:
        if name not in resource and f"_{name}" not in resource:
            raise RefusalError(422, "required", "this element is required", f"{kind}.{name}")
    for choice, names in choices.items():
        if not names & resource.keys():
            raise RefusalError(422, "required", "this element is required", f"{kind}.{choice}[x]")


@cache
def _demands(kind: str) -> tuple[tuple[str, ...], dict[str, frozenset[str]]]:
    """Required elements of a type, and the names of each required choice."""
    elements: dict[str, Element] = ELEMENTS[kind]
    required = tuple(name for name, element in elements.items() if element.required and not element.choice)
    choices: dict[str, frozenset[str]] = {}
    for name, element in elements.items():
        if element.required and element.choice:
            choices[element.choice] = choices.get(element.choice, frozenset()) | {name}
    return required, choices


def _empty_places(value: Any, place: str) -> Iterator[str]:
    if value is None or value in ("", [], {}):
        # In lists of primitives beside a list of extensions null is allowed, as a place holder.
        if not (value is None and place.endswith("]")):
            yield place
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _empty_places(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _empty_places(inner, f"{place}[{position}]")
