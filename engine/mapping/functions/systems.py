"""Coding systems (HL7 table 0396) and assigning authorities (HD) as URIs.

Where a sender uses a name of its own, the channel's ``local_system`` or the site's ``namespaces:`` says what it means;
nothing is guessed, and no old edition of a terminology is taken for its successor.

Codes of HL7 v2 tables, as FHIR R4 publishes them: `data/hl7_codes.txt`, made by tools/generate_hl7_codes.py.
"""

import re
from functools import cache

from engine.mapping.message.message_context import MessageContext
from engine.model.tables import table_lines


@cache
def codes_of(table: str) -> frozenset[str] | None:
    """The codes of a table, as `v2-0203`; None where FHIR publishes none."""
    line = _lines().get(table)
    return frozenset(line.split("|")[1:]) if line is not None else None


@cache
def _lines() -> dict[str, str]:
    return {line.partition("|")[0]: line for line in table_lines(__file__, "../data/hl7_codes.txt")}


CLIA = "urn:oid:2.16.840.1.113883.4.7"  # numbers of laboratories under the Clinical Laboratory Improvement Amendments
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
IDENTIFIER_TYPE = TERMINOLOGY + "v2-0203"

_SYSTEMS = [line.split("|") for line in table_lines(__file__, "../data/coding_systems.txt")]
CODING_SYSTEMS = {name: uri for names, uri, _ in _SYSTEMS for name in names.split()}
SYSTEMS_BY_OID = {oid: uri for _, uri, oid in _SYSTEMS if oid}

_HL7_TABLE_OIDS = "2.16.840.1.113883.12."
_HL7_TABLES = TERMINOLOGY + "v2-"
_OWN_SYSTEM = re.compile(r"L|99[A-Z0-9]{1,4}", re.ASCII)
_HL7_TABLE = re.compile(r"HL7(\d{4})", re.ASCII)
_LOINC_CODE = re.compile(r"(?:L[APGL])?[1-9]\d*-\d", re.ASCII)  # LA..: answers, LP.., LG.., LL..: parts, groups, lists
# Three arcs at least: with two (1.1) it is that of a registrar, which gives no numbers to patients or tubes.
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*)){2,}", re.ASCII)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+", re.ASCII)


def coding_system(run: MessageContext, name: str | None) -> str | None:
    """The URI of a coding system as CE.3 names it; the channel's local system where it is the sender's own."""
    if not name:
        return run.local_system or None
    known = CODING_SYSTEMS.get(name) or CODING_SYSTEMS.get(name.upper())
    if known:
        return known
    if table := _HL7_TABLE.fullmatch(name.upper()):
        return f"{TERMINOLOGY}v2-{table[1]}"
    if _OID.fullmatch(name):
        if name in SYSTEMS_BY_OID:
            return SYSTEMS_BY_OID[name]
        number = name.removeprefix(_HL7_TABLE_OIDS)
        return f"{_HL7_TABLES}{number:0>4}" if number.isdigit() else f"urn:oid:{name}"
    if _URI.fullmatch(name):
        return name
    return run.context.namespaces.get(name) or run.local_system or None


def names_a_system(run: MessageContext, name: str) -> bool:
    """Whether a text is the name of a coding system (table 0396), `L` and `99xxx` included."""
    if name.upper() in CODING_SYSTEMS or name in run.context.namespaces:
        return True
    return any(pattern.fullmatch(name.upper()) for pattern in (_HL7_TABLE, _OID, _OWN_SYSTEM))


def is_of(system: str, code: str) -> bool:
    """Whether a coding system can have this code.

    It cannot where it is an HL7 table and the code is none of its published ones, or where no LOINC code looks like
    this. Sites extend many HL7 tables; under HL7's system a code of their own would claim a meaning that it has not.
    """
    if system == LOINC:
        return _LOINC_CODE.fullmatch(code) is not None
    if not system.startswith(_HL7_TABLES):
        return True
    codes = codes_of(system[len(TERMINOLOGY) :])
    return codes is None or code in codes


def authority(run: MessageContext, name: str | None, identifier: str | None, kind: str | None) -> str | None:
    """The URI of an HD: its universal id where that is one, else the site's entry for its name, else one of ours."""
    if identifier:
        kind = (kind or "").upper()
        if kind == "ISO" and _OID.fullmatch(identifier):
            return f"urn:oid:{identifier}"
        if kind == "UUID" and _UUID.fullmatch(identifier):
            return f"urn:uuid:{identifier.lower()}"
        if kind in ("DNS", "URI", "URL") and not any(sign.isspace() for sign in identifier):
            return identifier
        if not kind and _OID.fullmatch(identifier):
            return f"urn:oid:{identifier}"
        known = run.context.namespaces.get(name or identifier) or run.context.namespaces.get(identifier)
        return known or run.namespace(name or identifier)
    if name == "CLIA" and name not in run.context.namespaces:
        return CLIA
    return run.namespace(name) if name else None


def hd(run: MessageContext, raw: str) -> str | None:
    """As `authority`, from an HD inside a component (its parts are subcomponents) or is a field."""
    parts = raw.split(run.C if run.C in raw else run.S)
    texts = [run.text(part) for part in parts[:3]] + [None, None]
    return authority(run, texts[0], texts[1], texts[2])
