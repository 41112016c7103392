"""The generated R4 table agrees with an independent rendering of the standard: the R4B models of fhir.resources.

R4B differs from R4, among what is written here, only in wider targets of some References, which are not compared.
"""

import re
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from engine.mapping.fhir.r4 import CODES, ELEMENTS, PRIMITIVES, RESOURCES

# Written with `fhir_comments`, `resourceType` or `_status` by those models only.
NOT_ELEMENTS = re.compile(r"^_|^fhir_comments$|^resourceType$|^resource_type$")


def test_every_type_named_in_the_table_is_known() -> None:
    known = ELEMENTS.keys() | PRIMITIVES | {"Resource"}
    for name, elements in ELEMENTS.items():
        for element, definition in elements.items():
            assert definition.type in known, f"{name}.{element}"
            assert definition.binding in CODES.keys() | {""}, f"{name}.{element}"


@pytest.mark.parametrize(
    "name", sorted(RESOURCES | {name for name in ELEMENTS if "." not in name and name != "Extension"})
)
def test_elements_and_cardinalities_agree_with_the_models(name: str) -> None:
    model = get_fhir_model_class(name)
    fields: dict[str, Any] = {field.alias or "": field for field in model.model_fields.values()}
    theirs = {alias: field for alias, field in fields.items() if not NOT_ELEMENTS.match(alias)}
    ours = ELEMENTS[name]
    assert set(ours) == set(theirs)
    for element, field in theirs.items():
        assert ours[element].many == ("List[" in str(field.annotation)), element
        extra = field.json_schema_extra or {}
        assert ours[element].choice == extra.get("one_of_many", ""), element
        if not ours[element].choice:
            assert ours[element].required == (field.is_required() or extra.get("element_required", False)), element
        codes = [code for code in extra.get("enum_values", []) if code != "+"]  # `+`: there are more
        if ours[element].binding and codes:
            assert set(codes) <= CODES[ours[element].binding], element


def test_code_sets_are_whole() -> None:
    assert CODES["observation-status"] == {
        *("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown")
    }
    assert CODES["administrative-gender"] == {"male", "female", "other", "unknown"}
    assert ELEMENTS["Quantity"]["comparator"].binding == "quantity-comparator"
