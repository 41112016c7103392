"""The block ``identity:`` of a mapping: which fields ids are made of (`engine.mapping.identity_fields`)."""

import re
from dataclasses import replace

from engine.config.yaml_nodes import Node
from engine.mapping.identity_fields import IdentityFields
from engine.mapping.rule_bodies import BodyReader

_FIELD = re.compile(r"([A-Z][A-Z0-9]{0,2})-([1-9][0-9]{0,2})", re.ASCII).fullmatch
IDENTITY_KEYS = ("order_time", "result_time", "order_number", "name", "birth_date", "sex")


def read_identity(node: Node | None, standard: IdentityFields, reader: BodyReader) -> IdentityFields:
    """The block ``identity:`` of a mapping. Other fields are those of the standard.

    Args:
        standard: the fields of the format that the mapping reads.
    """
    if node is None:
        return standard
    reader.keys(node, IDENTITY_KEYS, "identity:")
    segments = (standard.order, standard.result, standard.order, *[standard.person] * 3)
    order, result, number, name, birth, sex = (
        _numbers(node.get(key), key, segment, reader) for key, segment in zip(IDENTITY_KEYS, segments, strict=True)
    )
    for key, found in (("name", name), ("birth_date", birth), ("sex", sex)):
        if len(found) > 1:
            reader.problems.error(node.get(key) or node, f"{key}: is one field")
    return replace(
        standard,
        order_time=order or standard.order_time,
        result_time=result or standard.result_time,
        order_number=number or standard.order_number,
        name=name[0] if name else standard.name,
        birth_date=birth[0] if birth else standard.birth_date,
        sex=sex[0] if sex else standard.sex,
    )


def _numbers(node: Node | None, key: str, segment: str, reader: BodyReader) -> tuple[int, ...]:
    found = []
    for item in () if node is None else node.items if node.kind == "list" else (node,):
        match = _FIELD(item.value) if item.kind == "scalar" else None
        if match is None or match[1] != segment:
            reader.problems.error(item, f"{key}: names whole fields of {segment}, as {segment}-8")
        else:
            found.append(int(match[2]))
    return tuple(found)
