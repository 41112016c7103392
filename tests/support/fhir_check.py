"""Is this Bundle valid FHIR R4, and one that a server will take as it is?

`faults(body)` lists what is wrong, one line each; `check_bundle(body)` asserts that there is nothing and returns the
Bundle for further looks. First the models of `fhir.resources` judge it (R4B, which differs from R4 only in wider
reference targets among our resources), then what they let pass: `engine.mapping.fhir.validity`.
"""

from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from engine.mapping.fhir import validity
from engine.mapping.fhir.validity import load


def check_bundle(body: bytes) -> dict[str, Any]:
    """The Bundle, its decimals as `Decimal`, after asserting that nothing is wrong with it."""
    found = faults(body)
    assert not found, "the Bundle is not valid:\n" + "\n".join(found)
    return load(body)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The resources of one type, in the order of the Bundle."""
    found = [entry["resource"] for entry in bundle.get("entry", []) if "resource" in entry]
    return [resource for resource in found if resource["resourceType"] == kind]


def faults(body: bytes) -> list[str]:
    """What is wrong with a serialised Bundle; the order is stable."""
    try:
        bundle = load(body)
    except ValueError:
        return validity.faults(body)
    return (
        [*_model_faults(bundle), *validity.faults(body)] if bundle.get("resourceType") == "Bundle" else ["not a Bundle"]
    )


def _model_faults(bundle: dict[str, Any]) -> Iterator[str]:
    try:
        get_fhir_model_class("Bundle").model_validate(bundle)
    except ValidationError as error:
        for problem in error.errors():
            yield f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
