"""The output format of a mapping: its ``to:``, and the settings of that format.

to: fhir/R4             a Bundle of resources (`create:`)
to: hl7v2/ORU_R01       an HL7 v2 message of this structure (`segment:`)
to: json                one object with lists of records (`document:`, `record:`)
to: csv                 lines of columns (`row:`), with ``csv: {delimiter: ';', header: no, ...}``
to: orders              lines of orders for the worklist (`line:`), see `engine.model.orders`
to: results/1           facts of the results, for who judges them (`document:`, `record:`), see
`engine.model.content.facts`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engine.config.reading.yaml_nodes import Node
from engine.model.texts.spelling import suggestion

if TYPE_CHECKING:
    from engine.mapping.language.rules import Problems

HL7_STRUCTURES = (
    *("ORU_R01", "ORU_R30", "ORU_R31", "ORU_R32", "ORU_R40"),
    *("OUL_R21", "OUL_R22", "OUL_R23", "OUL_R24"),
    *("ORM_O01", "OML_O21", "OML_O33", "OML_O35"),
    *("ADT_A01", "ADT_A02", "ADT_A03", "ADT_A04", "ADT_A05", "ADT_A06", "ADT_A07", "ADT_A08"),
    *("ADT_A11", "ADT_A13", "ADT_A28", "ADT_A31", "ADT_A40"),
)
TARGETS = ("fhir/R4", *(f"hl7v2/{name}" for name in HL7_STRUCTURES), "json", "csv", "orders", "results/1")

# The steps that make the output, by what is written; every other step is the same for all.
MAKING_STEPS = {
    "fhir": ("create",),
    "hl7v2": ("segment",),
    "json": ("record", "document"),
    "csv": ("row",),
    "orders": ("line",),
    "results": ("record", "document"),
}
MEDIA_TYPES = {
    "fhir": "application/fhir+json",
    "hl7v2": "x-application/hl7-v2+er7",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "orders": "application/json",
    "results": "application/json",
}
_WHOLE = {"fhir": "fhir/R4", "results": "results/1"}

RESULT_KEYS = ("patient", "order", "test", "sub", "value", "with", "status", "time")
_NEEDED = ("order", "test", "value")
SEVERAL = ("value", "with")
_CSV_KEYS = ("delimiter", "header", "guard")
DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}
FLAGS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How lines are written.

    Attributes:
        guard: a text that a spreadsheet would take for a formula gets an apostrophe in front.
    """

    delimiter: str = ","
    header: bool = True
    guard: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """The output format of a mapping.

    Attributes:
        kind: ``fhir``, ``hl7v2``, ``json``, ``csv``, ``orders`` or ``results``.
        event: of HL7 v2, as in ``to:``: ``ORU_R01``, ``ADT_A08``.
        results: of CSV and JSON, the columns or members by which results are compared with those before
            (`engine.succession.list_statements`), by `RESULT_KEYS`; empty: they are not, by ``results: none``. None:
            not stated.
    """

    kind: str = "fhir"
    event: str = ""
    csv: CsvForm = CsvForm()
    results: Mapping[str, tuple[str, ...]] | None = None

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.kind]

    def __str__(self) -> str:
        return _WHOLE.get(self.kind) or (f"hl7v2/{self.event}" if self.event else self.kind)


FHIR = Target()


class _Problems(Protocol):
    def error(self, node: Node, text: str, *, offset: int = 0) -> None: ...


def read_target(mapping: Node, problems: "Problems | _Problems") -> Target:
    """The target that a mapping file names; FHIR where it names none, or where what it names is a problem."""
    to, csv = mapping.get("to"), mapping.get("csv")
    text = "fhir/R4" if to is None else to.value
    if text not in TARGETS:
        assert to is not None
        others = "fhir/R4, hl7v2/ORU_R01 (or another structure), json, csv, orders or results/1"
        near = suggestion(text, TARGETS) or f"; write {others}"
        problems.error(to, f"'{text}' is not written{near}")
        return FHIR
    kind, _, event = text.partition("/")
    if kind != "fhir":
        for key in ("bundle", "profiles"):
            if (misplaced := mapping.key(key)) is not None:
                problems.error(misplaced, f"{key}: belongs to fhir/R4, and this mapping writes {text}; remove it")
    if kind != "csv" and (misplaced := mapping.key("csv")) is not None:
        problems.error(misplaced, f"csv: belongs to a mapping with to: csv, and this one writes {text}; remove it")
    results = mapping.get("results")
    if results is not None and kind not in ("csv", "json"):
        problems.error(results, f"results: belongs to csv and json, and this mapping writes {text}; remove it")
        results = None
    form = CsvForm() if csv is None or kind != "csv" else _read_csv(csv, problems)
    listed = None if results is None else _read_results(results, problems)
    return Target(kind, event if kind == "hl7v2" else "", form, listed)


def _read_results(node: Node, problems: "Problems | _Problems") -> dict[str, tuple[str, ...]]:
    if node.value == "none":
        return {}
    if node.kind != "map":
        problems.error(node, "results: is a map, as {order: specimen, test: test, value: value, ...}, or none")
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for key, value in node.pairs:
        if key.value not in RESULT_KEYS:
            problems.error(key, f"results: has no key '{key.value}'; known are {', '.join(RESULT_KEYS)}")
        elif value.kind == "list" and key.value in SEVERAL:
            found[key.value] = tuple(item.value for item in value.items)
        elif value.kind == "scalar" and value.value:
            found[key.value] = (value.value,)
        else:
            problems.error(value, f"results: {key.value}: is the name of a column, or list.member")
    for name in _NEEDED:
        if name not in found and not any(key.value == name for key, _ in node.pairs):
            problems.error(node, f"results: lacks '{name}'")
    return found


def _read_csv(node: Node, problems: "Problems | _Problems") -> CsvForm:
    if node.kind != "map":
        problems.error(node, "csv: is a map, as {delimiter: ';', header: no}")
        return CsvForm()
    found = CsvForm()
    delimiter, header, guard = found.delimiter, found.header, found.guard
    for key, value in node.pairs:
        if key.value not in _CSV_KEYS:
            problems.error(key, f"csv: has no key '{key.value}'; known are {', '.join(_CSV_KEYS)}")
        elif key.value == "delimiter":
            if value.value not in DELIMITERS:
                problems.error(value, "the delimiter is one of , ; | tab")
            delimiter = DELIMITERS.get(value.value, delimiter)
        elif value.value not in FLAGS:
            problems.error(value, f"{key.value} is yes or no")
        elif key.value == "header":
            header = FLAGS[value.value]
        else:
            guard = FLAGS[value.value]
    return CsvForm(delimiter, header, guard)
