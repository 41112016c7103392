"""FHIR R4 (4.0.1): the elements that LabRelay writes. Used where mappings are compiled and checked, never for a
message.

The table is `data/r4.txt`, made by tools/generate_r4_tables.py from the specification.
"""

from typing import NamedTuple

from engine.model.tables import table_lines


class Element(NamedTuple):
    """One element of a resource or data type.

    Attributes:
        type: a data type, a primitive (`code`, `dateTime`), `Reference`, `Resource`, or a path such as
            `Observation.component`: always a key of `ELEMENTS`, of `PRIMITIVES`, or `Resource`.
        many: the cardinality ends in `*`, so JSON has a list.
        required: at least one; for a choice: one of the elements with the same ``choice``.
        choice: `value` for `valueQuantity`; empty where there is no choice.
        binding: key of `CODES` whose codes are the only ones allowed; empty where there is none.
        targets: types that a Reference may point to; empty means any.
    """

    type: str
    many: bool
    required: bool
    choice: str = ""
    binding: str = ""
    targets: tuple[str, ...] = ()


def _element(kind: str, cardinality: str, *more: str) -> Element:
    kind, _, targets = kind.rstrip(")").partition("(")
    choice = binding = ""
    for word in more:
        if word.startswith("="):
            binding = word[1:]
        else:
            choice = word.removesuffix("[x]")
    return Element(
        type=kind,
        many=cardinality.endswith("*"),
        required=not cardinality.startswith("0"),
        choice=choice,
        binding=binding,
        targets=tuple(targets.split("|")) if targets else (),
    )


def _read() -> tuple[dict[str, dict[str, Element]], dict[str, frozenset[str]]]:
    types: dict[str, dict[str, Element]] = {}
    sets: dict[str, frozenset[str]] = {}
    elements: dict[str, Element] = {}
    for line in table_lines(__file__, "../data/r4.txt"):
        if line.startswith(" "):
            name, *words = line.split()
            elements[name] = _element(*words)
        elif ":" in line:
            name, _, codes = line.partition(":")
            sets[name] = frozenset(codes.split())
        else:
            elements = types[line] = {}
    return types, sets


ELEMENTS, CODES = _read()
PRIMITIVES = CODES.pop("primitives")
RESOURCES = CODES.pop("resources")
