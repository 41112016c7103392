"""The fixed tables that `lookup()` knows by name: HL7 tables and those of ASTM E1394, which are never shared.

ASTM W is "validity questionable" where HL7 W is "wrong", ASTM N "needed to run the order" where HL7 N is "not asked".
A blank field gives nothing; each table defines the result of a code outside of it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.mapping.functions.systems import TERMINOLOGY, is_of
from engine.model.tables import table_lines
from engine.model.texts.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class CodeMap:
    """A fixed table.

    Attributes:
        kind: FHIR type of its values: ``code``, ``CodeableConcept``, ``Coding``.
        values: code -> value. Values are shared: never changed.
        otherwise: value of a code outside the table; None leaves it out with a warning.
        dead: reason that makes the message dead instead, by code; ``*`` for any code outside the table.
        doc: description, for the documentation.
        concept_system: a code outside the table becomes a concept: in this system, or text alone where it is empty.
        without: codes of the table without a counterpart in FHIR: no value and no warning.
        patterns: codes with a number in them -> value.
    """

    kind: str
    values: Mapping[str, Any]
    doc: str
    otherwise: str | None = None
    dead: Mapping[str, ReasonCode] = field(default_factory=dict)
    concept_system: str | None = None
    without: frozenset[str] = frozenset()
    patterns: Mapping[str, str] = field(default_factory=dict)


def _read() -> Iterator[tuple[str, CodeMap]]:
    """The tables of `code_maps.txt`, which says what its lines mean."""
    tables: list[tuple[str, str, defaultdict[str, list[str]]]] = []
    for line in table_lines(__file__, "code_maps.txt"):
        key, _, said = line.strip().partition(": ")
        if line.startswith(" "):
            tables[-1][2][key].append(said)
        else:
            tables.append((key, said, defaultdict(list)))
    return ((name, _code_map(kind, entries)) for name, kind, entries in tables)


def _code_map(kind: str, said: Mapping[str, list[str]]) -> CodeMap:
    values: dict[str, Any] = _pairs(said["codes"])
    for line in said["concepts"]:
        system, *codes = line.split()
        for code, _, other in (one.partition("=") for one in codes):
            coding = {"system": TERMINOLOGY + system, "code": other or code}
            values[code] = coding if kind == "Coding" else {"coding": [coding]}
    concept = next(iter(said["concept"]), None)
    return CodeMap(
        kind,
        values,
        said["about"][0],
        otherwise=next(iter(said["otherwise"]), None),
        dead={code: ReasonCode[reason] for code, reason in _pairs(said["dead"]).items()},
        concept_system=concept and ("" if concept == "text" else TERMINOLOGY + concept),
        without=frozenset(" ".join(said["without"]).split()),
        patterns=_pairs(said["patterns"]),
    )


def _pairs(lines: list[str]) -> dict[str, str]:
    """``F final, P preliminary``: codes and their values."""
    return dict(pair.split(" ") for line in lines for pair in line.split(", "))


CODE_MAPS: dict[str, CodeMap] = dict(_read())


def miss(table: str, code_map: CodeMap, code: str, run: Any, field: str = "") -> Any:
    """The value of a code that is not in ``code_map.values`` as it was sent; ``field`` is its place (``PV1-2``)."""
    found = code_map.values.get(code.upper())
    if found is not None:
        return found
    if code.upper() in code_map.without:
        return None
    for pattern, value in code_map.patterns.items():
        if re.fullmatch(pattern, code, re.ASCII | re.IGNORECASE):
            return value
    reason = code_map.dead.get(code.upper()) or code_map.dead.get("*")
    if reason is not None:
        raise run.dead(reason, f"a code that table {table} does not have", field=field)
    if code_map.concept_system is not None:
        code = " ".join(code.split())
        if not code_map.concept_system or not is_of(code_map.concept_system, code):
            return {"text": code}
        return {"coding": [{"system": code_map.concept_system, "code": code}]}
    run.warn("UNKNOWN_CODE", f"a code that table {table} does not have", field=field)
    return code_map.otherwise


def worst_status(statuses: list[str]) -> str:
    """The status of a report whose results have these: the one that is furthest from final."""
    found = set(statuses)
    if len(found) == 1:
        return statuses[0]
    if found & {"registered", "preliminary"}:
        return "partial" if found - {"registered", "preliminary"} else "preliminary"
    if found <= {"entered-in-error", "cancelled"}:
        return "cancelled"
    if "corrected" in found:
        return "corrected"
    return "amended" if "amended" in found else "final"
