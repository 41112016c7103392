"""Codes of HL7 v2 tables, as FHIR R4 publishes them: `data/hl7_codes.txt`, made by tools/generate_hl7_codes.py."""

from functools import cache

from engine.model.tables import table_lines


@cache
def codes_of(table: str) -> frozenset[str] | None:
    """The codes of a table, as `v2-0203`; None where FHIR publishes none."""
    line = _lines().get(table)
    return frozenset(line.split("|")[1:]) if line is not None else None


@cache
def _lines() -> dict[str, str]:
    return {line.partition("|")[0]: line for line in table_lines(__file__, "../data/hl7_codes.txt")}
