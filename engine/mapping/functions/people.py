"""Names, addresses and telephone numbers: XPN, XCN, XAD, XTN and their ASTM counterparts."""

from typing import Any

from engine.mapping.functions.code_maps import CODE_MAPS
from engine.mapping.functions.coding import coding_concept
from engine.mapping.functions.registry import function
from engine.mapping.functions.specimens import field_of
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment

Json = dict[str, Any]

_NAME_USE, _ADDRESS_USE, _TELECOM_USE = (CODE_MAPS[table].values for table in ("0200", "0190", "0201"))
_ADDRESS_TYPE = {"M": "postal", "SH": "postal"}
_TELECOM_SYSTEM = {  # table 0202
    **dict.fromkeys(("PH", "CP"), "phone"),
    **dict.fromkeys(("INTERNET", "X.400"), "email"),
    **dict.fromkeys(("MD", "SAT", "TDD", "TTY"), "other"),
    "FX": "fax",
    "BP": "pager",
}
_GENDER = {"F": "female", "M": "male", "O": "other", "A": "other", "N": "other", "U": "unknown"}  # table 0001


def _words(*parts: str | None) -> list[str]:
    """Given names and the like: each part may hold several, with blanks between them."""
    return [word for part in parts if part for word in part.split()]


@function("xpn(name: field) -> HumanName")
def xpn(run: MessageContext, raw: str) -> Json | None:
    """An XPN: family name (with its prefix), given names, prefix, suffixes, use, period."""
    parts = raw.split(run.C)
    texts = [run.text(part) if part else None for part in parts]
    if run.S in parts[0]:
        texts[0] = _surname(run, parts[0])
    texts += [None] * (14 - len(texts))
    made = _name(texts[0], _words(texts[1], texts[2]), _words(texts[4]), _words(texts[3], texts[5], texts[13]))
    if made is None:
        return None
    if texts[6] and (use := _NAME_USE.get(texts[6])):
        made = {"use": use, **made}
    if period := run.times.period(texts[11], texts[12]):
        made["period"] = period
    return made


def _surname(run: MessageContext, raw: str) -> str | None:
    """FN: surname, own prefix and own surname, partner's prefix and surname. The prefix is said before the name."""
    parts = [run.text(part) for part in raw.split(run.S)] + [None] * 3
    if parts[2] and parts[1] and parts[0] and parts[0].endswith(parts[2]) and not parts[0].startswith(parts[1]):
        return f"{parts[1]} {parts[0]}"
    return parts[0] or " ".join(part for part in parts[1:3] if part) or None


def _name(family: str | None, given: list[str], prefix: list[str], suffix: list[str]) -> Json | None:
    made: Json = {}
    if family and family.strip(" ,"):
        made["family"] = family
    if given:
        made["given"] = given
    if prefix:
        made["prefix"] = prefix
    if suffix:
        made["suffix"] = suffix
    return made or None


@function("xcn_name(person: field) -> HumanName", steady=True)
def xcn_name(run: MessageContext, raw: str) -> Json | None:
    """The name in an XCN: components 2 to 6, and its use (10)."""
    parts = raw.split(run.C)
    texts = [run.text(part) if part else None for part in parts]
    texts += [None] * (11 - len(texts))
    if len(parts) > 1 and run.S in parts[1]:
        texts[1] = _surname(run, parts[1])
    made = _name(texts[1], _words(texts[2], texts[3]), _words(texts[5]), _words(texts[4]))
    if made is not None and texts[9] and (use := _NAME_USE.get(texts[9])):
        made = {"use": use, **made}
    return made


@function("called(person: field) -> Reference", steady=True)
def called(run: MessageContext, raw: str) -> Json | None:
    """A reference by name alone, to a person in an XCN without a number: prefix, given names, family name, suffix."""
    name = xcn_name(run, raw)
    if name is None:
        return None
    words = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())]
    return {"display": " ".join(filter(None, words))}


@function("ndl(person: field) -> field", steady=True)
def ndl(run: MessageContext, raw: str) -> str | None:
    """The person in an NDL (OBR-32 to OBR-35), as an XCN: its number and name are subcomponents there, and its
    assigning authority three of them. An NDL in which they are components is taken as it is."""
    parts = raw.split(run.C)
    if run.S not in parts[0]:
        return raw
    inner = parts[0].split(run.S) + [""] * 11
    return run.C.join([*inner[:8], run.S.join(inner[8:11]).rstrip(run.S)])


@function("astm_name(name: field) -> HumanName")
def astm_name(run: MessageContext, raw: str) -> Json | None:
    """An ASTM name: last, first, middle, suffix, title as components; a name in one piece is kept as text."""
    parts = [run.text(part) if part else None for part in raw.split(run.C)]
    if len(parts) == 1:
        return {"text": parts[0]} if parts[0] else None
    parts += [None] * (5 - len(parts))
    return _name(parts[0], _words(parts[1], parts[2]), _words(parts[4]), _words(parts[3]))


@function("xad(address: field) -> Address")
def xad(run: MessageContext, raw: str) -> Json | None:
    """An XAD: street lines, city, state, postal code, country, district, use or type, period."""
    parts = raw.split(run.C)
    texts = [run.text(part) if part else None for part in parts]
    if run.S in parts[0]:
        street = [run.text(part) for part in parts[0].split(run.S)] + [None, None]
        texts[0] = street[0] or " ".join(part for part in street[1:3] if part) or None
    texts += [None] * (19 - len(texts))
    made: Json = {}
    kind = texts[6]
    if kind:
        if kind in _ADDRESS_TYPE:
            made["type"] = _ADDRESS_TYPE[kind]
        elif kind in _ADDRESS_USE:
            made["use"] = _ADDRESS_USE[kind]
    lines = [line for line in (texts[0], texts[1], texts[18]) if line]
    if lines:
        made["line"] = lines
    for name, value in (
        ("city", texts[2]),
        ("district", texts[8]),
        ("state", texts[3]),
        ("postalCode", texts[4]),
        ("country", texts[5]),
    ):
        if value:
            made[name] = value
    if not made or made.keys() <= {"use", "type"}:
        return None
    if period := run.times.period(texts[12], texts[13]):
        made["period"] = period
    return made


@function("xtn(number: field, use: literal?) -> ContactPoint")
def xtn(run: MessageContext, raw: str, use: str | None = None) -> Json | None:
    """An XTN: number or e-mail address, its system and use; `use` holds where the field does not say."""
    parts = raw.split(run.C)
    texts = [run.text(part) if part else None for part in parts]
    texts += [None] * (12 - len(texts))
    equipment = (texts[2] or "").upper()
    value = texts[11]
    if value is None and texts[3] and (equipment in ("INTERNET", "X.400") or not (texts[0] or texts[6])):
        value = texts[3]
    if value is None and texts[6]:
        country = f"+{texts[4].lstrip('+')}" if texts[4] else None
        extension = f"X{texts[7]}" if texts[7] else None
        value = " ".join(part for part in (country, texts[5], texts[6], extension) if part)
    value = value or texts[0]
    if value is None:
        return None
    made: Json = {"system": _TELECOM_SYSTEM.get(equipment) or ("email" if "@" in value else "phone"), "value": value}
    said = _TELECOM_USE.get(texts[1] or "") or ("mobile" if equipment == "CP" else None) or use
    if said:
        made["use"] = said
    return made


@function("email_beside(number: field) -> ContactPoint", steady=True)
def email_beside(run: MessageContext, raw: str) -> Json | None:
    """The e-mail address in component 4 of an XTN that holds a telephone number as well, which `xtn` gives."""
    address = run.part_text(raw.split(run.C), 3)
    if address is None or "@" not in address:
        return None
    number = xtn(run, raw)
    return {"system": "email", "value": address} if number is not None and number["value"] != address else None


@function("contacts(relatives: segment[]) -> Patient.contact[]")
def contacts(run: MessageContext, relatives: list[Segment]) -> list[Json] | None:
    """NK1 segments as contacts: relationship (3) and role (7), name (2), telephones (5, 6), address (4), sex (15)."""
    made = []
    for segment in relatives:
        names, kinship, place, home, work, role, sex = (
            field_of(run, segment, number) for number in (2, 3, 4, 5, 6, 7, 15)
        )
        one: Json = {}
        told = [("v2-0063", kinship), ("v2-0131", role)]
        if relationship := [kind for system, text in told if text and (kind := coding_concept(run, system, text))]:
            one["relationship"] = relationship
        if name := xpn(run, names):
            one["name"] = name
        if telecom := [number for text, use in ((home, "home"), (work, "work")) if (number := xtn(run, text, use))]:
            one["telecom"] = telecom
        if address := xad(run, place):
            one["address"] = address
        if gender := _GENDER.get((run.text(sex) or "").upper()):
            one["gender"] = gender
        if one.keys() & {"name", "telecom", "address"}:  # pat-1
            made.append(one)
    return made or None
