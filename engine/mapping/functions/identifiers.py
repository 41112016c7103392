"""Identifiers: CX, EI, HD, XCN, XON, and the numbers of ASTM patients. A number without its system says nothing."""

from typing import Any
from urllib.parse import quote

from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import CLIA, IDENTIFIER_TYPE, authority, hd, is_of
from engine.mapping.message.certain_numbers import is_no_patient_number
from engine.mapping.message.message_context import MessageContext
from engine.model.content.numbers import may_last
from engine.model.message import Segment

Json = dict[str, Any]

_NO_SERIALS = frozenset({"UNKNOWN", "UNK", "N/A", "NA", "NONE", "NULL", "NIL", "-", "."})
_ASTM_PATIENT_IDS = ((3, "patient_system"), (4, "patient_system_lab"), (5, "patient_system_3"))


def make_identifier(system: str | None, value: str, kind: str | None = None) -> Json:
    """An Identifier; a type that HL7 table 0203 does not have (`MRN`) becomes text."""
    made: Json = {}
    if kind:
        known = is_of(IDENTIFIER_TYPE, kind)
        made["type"] = {"coding": [{"system": IDENTIFIER_TYPE, "code": kind}]} if known else {"text": kind}
    if system:
        made["system"] = system
    made["value"] = value
    return made


def type_of(made: Json) -> str | None:
    """The type of an identifier as `make_identifier` was given it."""
    kind: Json = made.get("type", {})
    return kind["coding"][0]["code"] if "coding" in kind else kind.get("text")


@function("cx(id: field) -> Identifier", settings=("patient_system", "no_patient_ids"))
def cx(run: MessageContext, raw: str) -> Json | None:
    """A CX: value, system of its assigning authority (else facility), type, period; absent without a value.

    An id without authority gets the channel's setting `patient_system`, else the site's entry for the sending facility,
    else a system that only this channel uses: two analyzers with their maker's name in MSH-4 count different patients.
    A placeholder (`0`, `UNKNOWN`, `?`; setting `no_patient_ids`) is absent, with a warning; so is the number of the
    order or specimen beside it.
    """
    text = run.text
    parts = raw.split(run.C)
    value = text(parts[0]) if run.S not in parts[0] else _undivided(run, parts[0])
    if value is None or is_no_patient_number(run, raw, value):
        return None
    count = len(parts)
    system = hd(run, parts[3]) if count > 3 and parts[3] else None
    if system is None and count > 5 and parts[5]:
        system = hd(run, parts[5])
    lasts = system is not None and system in run.context.namespaces.values()
    if system is None:
        system = run.setting("patient_system") or run.own_system
    _note_whether_it_lasts(run, system, value, lasts)
    made = make_identifier(system, value, text(parts[4]) if count > 4 and parts[4] else None)
    if count > 6 and (period := run.times.period(text(parts[6]), text(parts[7]) if count > 7 else None)):
        made["period"] = period
    return made


def _undivided(run: MessageContext, raw: str) -> str | None:
    """An id that holds the delimiter of subcomponents, unescaped: the part before it may be another person's id."""
    if not any(map(run.present, raw.split(run.S)[1:])):
        return run.text(raw)
    run.warn("DIVIDED_ID", "an id holds the delimiter of subcomponents; it is kept whole")
    whole = run.whole(raw)
    return whole.strip() if whole is not None else None


def _note_whether_it_lasts(run: MessageContext, system: str | None, value: str, says_namespace: bool) -> None:
    """A number is one person's for good only where the site says so of the channel, or of the number's authority."""
    lasts = (says_namespace or run.context.patient_numbers == "lasting") and may_last(value)
    (run.lasting if lasts else run.counted).add((system, value))


@function("ei(id: field, type: literal?) -> Identifier", steady=True)
def ei(run: MessageContext, raw: str, kind: str | None = None) -> Json | None:
    """An EI: value and the system of its namespace; `type` is a code of table 0203 (`PLAC`, `FILL`)."""
    parts = raw.split(run.C)
    value = run.text(parts[0])
    if value is None:
        return None
    system = None
    if len(parts) > 1:
        system = authority(run, *([*map(run.text, parts[1:4]), None, None][:3]))
    return make_identifier(system, value, kind)


@function("inner_ei(id: field, type: literal?) -> Identifier", steady=True)
def inner_ei(run: MessageContext, raw: str, kind: str | None = None) -> Json | None:
    """As `ei`, of a component whose parts are subcomponents (OBR-29.1)."""
    return ei(run, raw.replace(run.S, run.C), kind)


@function("hd_identifier(authority: field) -> Identifier[]", steady=True)
def hd_identifier(run: MessageContext, raw: str) -> list[Json] | None:
    """An HD as identifiers of the organization that it names: its universal id as a URI, or as CLIA number where it is
    one (type `CLIA`), and its short name."""
    parts = [run.text(part) for part in raw.split(run.C)[:3]] + [None, None]
    name, identifier, kind = parts[:3]
    made = []
    if identifier and (kind or "").upper() == "CLIA":
        made.append({"system": CLIA, "value": identifier})
    elif identifier:
        system = authority(run, name, identifier, kind)
        if system and system.startswith(("urn:oid:", "urn:uuid:")):
            made.append({"system": "urn:ietf:rfc:3986", "value": system})
    if name:
        made.append({"system": run.context.namespaces.get("facilities") or "urn:labrelay:facility", "value": name})
    return made or None


@function("identifier(system: text?, value: text) -> Identifier", steady=True)
def identifier(run: MessageContext, system: str | None, value: str) -> Json:
    """An Identifier of a system, often a `setting('...')`, and a value."""
    return make_identifier(system, value)


@function("serial_number(value: field) -> text", steady=True)
def serial_number(run: MessageContext, raw: str) -> str | None:
    """The serial number of an instrument; absent where the text is a placeholder (`Unknown`, `N/A`, `0`)."""
    value = run.text(raw)
    return None if value is None or value.upper() in _NO_SERIALS or not value.strip("0") else value


@function("typed_identifier(type: literal, system: text?, value: text) -> Identifier", steady=True)
def typed_identifier(run: MessageContext, kind: str, system: str | None, value: str) -> Json:
    """As `identifier`, with a type of table 0203."""
    return make_identifier(system, value, kind)


@function("preferred(ids: Identifier[], type: text...) -> Identifier")
def preferred(run: MessageContext, ids: list[Json], *kinds: str | None) -> Json | None:
    """The identifier that names its bearer: the first of the first type listed that there is, else the first of all.

    One that lasts (`patient_numbers`, `namespaces`) comes before one that may be given again.
    """
    if len(ids) == 1:
        return ids[0]
    ids = [one for one in ids if (one.get("system"), one["value"]) in run.lasting] or ids
    for kind in kinds:
        for one in ids:
            if kind is not None and type_of(one) == kind:
                return one
    return ids[0]


@function("same_number(one: Identifier?, other: Identifier?) -> flag!", pure=True)
def same_number(one: Json | None, other: Json | None) -> bool:
    """Whether two identifiers have the same number and system; types are ignored; false where one is absent."""
    if one is None or other is None:
        return False
    return (one.get("system"), one["value"]) == (other.get("system"), other["value"])


@function("xcn_identifier(person: field) -> Identifier", steady=True)
def xcn_identifier(run: MessageContext, raw: str) -> Json | None:
    """The identifier in an XCN: component 1, the system of its authority (9), its type (13)."""
    parts = raw.split(run.C)
    value = run.text(parts[0])
    if value is None:
        return None
    system = hd(run, parts[8]) if len(parts) > 8 and parts[8] else None
    return make_identifier(system, value, run.part_text(parts, 12))


@function("xon_identifier(organization: field) -> Identifier", steady=True)
def xon_identifier(run: MessageContext, raw: str) -> Json | None:
    """The identifier in an XON: component 10, else 3, the system of its authority (6), its type (7)."""
    parts = raw.split(run.C)
    value = run.part_text(parts, 9) or run.part_text(parts, 2)
    if value is None:
        return None
    system = hd(run, parts[5]) if len(parts) > 5 and parts[5] else None
    return make_identifier(system, value, run.part_text(parts, 6))


@function(
    "astm_patient_ids(patient: segment) -> Identifier[]",
    settings=("patient_system", "patient_system_lab", "patient_system_3", "no_patient_ids"),
)
def astm_patient_ids(run: MessageContext, patient: Segment) -> list[Json] | None:
    """The ids of a P record. P-3, P-4 and P-5 number different things, so each has a system of its own: the channel's
    settings `patient_system`, `patient_system_lab`, `patient_system_3`, else one that only this channel uses. A
    placeholder (setting `no_patient_ids`) is absent, with a warning; so is a name in the place of a number
    (`Rabe^Marie`), which other people have too."""
    made = []
    for field, setting in _ASTM_PATIENT_IDS:
        value = patient_number(run, patient.get(field))
        if value is None:
            continue
        if run.trace is not None:
            run.trace.read(patient, field, 0)
        system = run.setting(setting)
        if system is None:
            system = f"urn:labrelay:ns:{quote(run.context.channel, safe='')}:P-{field}"
        _note_whether_it_lasts(run, system, value, says_namespace=False)
        made.append(make_identifier(system, value))
    return made or None


@function("patient_number(value: field) -> text", settings=("no_patient_ids",))
def patient_number(run: MessageContext, raw: str) -> str | None:
    """The number in a field of a patient's numbers, for outputs that have no Identifier. A placeholder (setting
    `no_patient_ids`) and a name in the place of a number are absent, with a warning.
    """
    value = run.text(raw)
    return None if value is None or is_no_patient_number(run, raw, value) else value
