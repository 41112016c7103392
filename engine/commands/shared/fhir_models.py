"""FHIR documents against the models of `fhir.resources` (R4B): a second opinion, by an independent reader.

R4B differs from R4 only in wider reference targets among the resources that mappings make. The models' own texts quote
values; here places and kinds of errors are reported, and no content of the document.
"""

import importlib
from typing import Any

from pydantic import ValidationError

MOST = 20  # reported errors of a document


def departures(body: bytes) -> list[str]:
    """The errors of the models in a serialised resource, each once: ``entry.2.Observation.status: missing``.

    A body that is no JSON object is not checked here: `engine.mapping.validity` reports it.
    """
    from engine.mapping.validity import load

    try:
        content = load(body)
    except ValueError:
        return []
    models: Any = importlib.import_module("fhir.resources.R4B")
    try:
        models.get_fhir_model_class(content.get("resourceType", "")).model_validate(content)
    except ValidationError as error:
        found = dict.fromkeys(f"{_place(one['loc'])}: {one['type'].replace('_', ' ')}" for one in error.errors())
        return [f"R4B: {line}" for line in found][:MOST]
    except (LookupError, AttributeError, ValueError):
        return ["R4B: there is no resource of this type"]
    return []


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(map(str, parts)) or "the resource"
