"""The parts of a message or a server's answer that are never patient data: shown where all else is masked. Pure.

Everything that is not allowed here is masked, letters as x and digits as 9. Allowed by place, and by a list of the
values permitted there:

    a field of codes       OBX-3, OBR-4, OBX-6, E1394 R-3, R-5 ...: where a code table, or the list of codes that no
                           table has (`labrelay gaps`), knows the text, or it is a LOINC (its check digit is right)
    a field of one table   status, flag, type of value, processing, version, acknowledgement: what the standard has
    a place in a document  Bundle.entry[4].resource.status, OBX[3]-5
    an error's number      HTTP 422, HAPI-0389, HL70203, MSG_PARAM_INVALID, the key of a FHIR invariant (obs-6)

A server's own words stay masked except places and numbers of errors, for they quote the data they were sent.
"""

import re
from collections.abc import Callable

from engine.model.tables import table_lines

CODES, UNITS = "codes", "units"
LONGEST_CODE = 40

# Name and number of a field -> values permitted in its components: codes of tables, or matches of the expression.
_PLACES = {
    (segment, int(field)): values
    for segment, field, values in (line.split("\t") for line in table_lines(__file__, "technology.txt"))
}
_COMPILED = {place: re.compile(text) for place, text in _PLACES.items() if text not in (CODES, UNITS)}
_SYSTEM = re.compile(r"LN|L|LB|SCT2?|UCUM|I9C?|I10|99[A-Z0-9]{1,10}|HL7\d{4}|HL70\d{3}")  # table 0396
_LOINC = re.compile(r"(\d{1,7})-(\d)")
_MARKS = re.compile(r"([\^~&\\@!])")
_LINE = re.compile(
    rb"(MSH|MSA|ERR|EVN|PID|PV1|PV2|ORC|OBR|OBX|NTE|SPM|SAC|TCD|INV|EQU|TQ1|QPD|QRD|QRF|RCP|QAK|QID|[HPORCQMSL])([^\w\s])"
)
# Of R4's Observation, DiagnosticReport, Specimen and ServiceRequest.
_STATUSES = re.compile(
    "registered|partial|preliminary|final|amended|corrected|appended|cancelled|entered-in-error|unknown|available|"
    "unavailable|unsatisfactory|draft|active|on-hold|revoked|completed"
)
_LANGUAGE = re.compile(r"[a-z]{2}(?:-[A-Z]{2})?")
_SYSTEMS = frozenset({"http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"})
_ERROR = (
    r"HTTP \d{3}|HAPI-\d{3,5}|HL70?\d{3,4}|MSG_[A-Z_]{3,60}"
    r"|(?:dom|ele|ext|ref|obs|bdl|qty|rng|rat|per|tim|org|pat|prd|cpt|txt)-\d{1,2}[a-z]?"
)


def codes_of(*texts: str) -> frozenset[str]:
    """Codes as they are compared: in lower case, without blanks around them."""
    return frozenset(text.strip().lower() for text in texts if text.strip() and len(text) <= LONGEST_CODE)


def mask(value: str) -> str:
    """``value`` with letters as x and digits as 9."""
    return "".join("9" if sign.isdigit() else "x" if sign.isalnum() else sign for sign in value)


def field(name: str, number: int, value: str, known: frozenset[str]) -> str:
    """A field of a message, masked but for what is technology.

    Args:
        name: of the segment or record. number: as its standard counts.
        known: codes and units that are no person's data (`codes_of`).
    """
    allowed = _allowed(name, number, known)
    if allowed is None:
        return mask(value)
    return "".join(one if _MARKS.fullmatch(one) or allowed(one) else mask(one) for one in _MARKS.split(value))


def _allowed(name: str, number: int, known: frozenset[str]) -> Callable[[str], bool] | None:
    kind = _PLACES.get((name, number))
    if kind is None:
        return None
    if kind in (CODES, UNITS):
        return lambda text: text.strip().lower() in known or _is_loinc(text) or _SYSTEM.fullmatch(text) is not None
    shape = _COMPILED[name, number]
    return lambda text: shape.fullmatch(text) is not None


def _is_loinc(text: str) -> bool:
    """Whether a text has the form of a LOINC, with its check digit (LOINC Users' Guide: Mod 10)."""
    parts = _LOINC.fullmatch(text)
    if parts is None:
        return False
    digits = [int(sign) for sign in reversed(parts[1])]
    doubled = sum(digit if at % 2 else sum(divmod(2 * digit, 10)) for at, digit in enumerate(digits))
    return (10 - doubled % 10) % 10 == int(parts[2])


def element(path: str, value: str, known: frozenset[str]) -> str:
    """The value of an element of a resource, masked but for statuses, languages, systems of codes, codes and units.

    Args:
        path: without numbers, as `engine.mapping.explanations.differences` has it.
    """
    last = path.rpartition(".")[2]
    if last == "status" and _STATUSES.fullmatch(value):
        return value
    if last == "language" and _LANGUAGE.fullmatch(value):
        return value
    coded = last in ("code", "unit") or path.endswith(("coding.system", "uantity.system"))
    if coded and (value.strip().lower() in known or _is_loinc(value) or value in _SYSTEMS):
        return value
    return mask(value)


def line(text: bytes, known: frozenset[str], rest: Callable[[bytes], str]) -> str:
    """A segment or record, masked but for what is technology.

    Args:
        rest: masks what is no segment or record.
    """
    head = _LINE.match(text)
    if head is None:
        return rest(text)
    name, separator = head[1].decode(), head[2]
    fields = text[len(name) + 1 :].split(separator)
    # MSH-1 is the separator; a record of E1394 counts its own name as the first field.
    first = 2 if name == "MSH" or len(name) == 1 else 1
    shown = [_shown(name, number, one, known) for number, one in enumerate(fields, start=first)]
    return separator.decode("latin-1").join([name, *shown])


def _shown(name: str, number: int, content: bytes, known: frozenset[str]) -> str:
    text = content.decode("latin-1")
    if text.isascii() and text.isprintable():
        return field(name, number, text, known)
    return "".join(
        "?" if sign > "\x7f" else mask(sign) if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text
    )


def said(text: str, place: "re.Pattern[str]") -> str:
    """A server's own words: masked but for places in a document and numbers of errors.

    Args:
        place: what a place looks like.
    """
    shown, at = [], 0
    for kept in re.finditer(rf"(?<![\w.-])(?:{_ERROR}|{place.pattern})(?![\w(-])", text):
        if "." not in kept[0] and re.fullmatch(_ERROR, kept[0]) is None:
            continue  # the name of a resource is a word like any other
        shown += [mask(text[at : kept.start()]), kept[0]]
        at = kept.end()
    return "".join([*shown, mask(text[at:])])


def error_code(text: str) -> str:
    """A code that a server gives its error; masked where it is no such code."""
    return text if re.fullmatch(_ERROR, text) else mask(text)
