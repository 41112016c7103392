"""Coded values: CE, CWE, CNE and single codes to Coding and CodeableConcept, code tables first.

LOINC codes that a sender states, compared with the unit beside them.

Analyzers send LOINC codes that do not exist, that belong to another method, or in each other's place: the count of
granulocytes under the code of their percentage (Dymind, Erba). Such a code is a hint. The table of terms says what kind
of quantity a term is (its property), the table of units what kind a unit measures; where both are known, they must
agree.
"""

from functools import lru_cache
from typing import Any

from engine.mapping.code_tables.tables import LOINC, Row, Table
from engine.mapping.code_tables.units import LOINC_SHAPE, dimension, loinc_check_digit_holds
from engine.mapping.functions.numbers import sent_unit
from engine.mapping.functions.registry import function
from engine.mapping.functions.systems import CODING_SYSTEMS, TERMINOLOGY, coding_system, is_of
from engine.mapping.message.message_context import MessageContext

Json = dict[str, Any]

_LANGUAGES = "urn:ietf:bcp:47"
CONCEPTS_KEPT = 2048  # coded fields kept per way of reading them; an analyzer has a few hundred
CONCEPT_LENGTH = 200


def _system(name: str) -> str:
    """A system as a mapping names it: a URI, or the last part of a terminology.hl7.org address."""
    return name if ":" in name else TERMINOLOGY + name


def make_coding(system: str | None, code: str | None, display: str | None = None, version: str | None = None) -> Json:
    """A Coding of what is there. FHIR codes have no blanks in a row."""
    made: Json = {}
    if system:
        made["system"] = system
    if version:
        made["version"] = version
    if code:
        if not code.isalnum() and code != " ".join(code.split()):
            code = " ".join(code.split())
        made["code"] = code
    if display:
        made["display"] = display
    return made


@function("cwe(value: field) -> CodeableConcept", steady=True, settings=("local_system",))
def cwe(run: MessageContext, raw: str) -> Json | None:
    """A CE, CWE or CNE: up to three codings, and the text.

    Components 1-3, 4-6 and 10-12 are codings (with versions 7 and 8); the text is component 9, else 2, 5 or 1.
    A system that is the sender's own (`L`, `99xxx`, none) becomes the channel's `local_system`. A code that the HL7
    table beside it (`HL70487`) does not have, and one that LOINC cannot have, stays as a code without a system.
    """
    # An analyzer sends the same few hundred codes again and again.
    known = run.concepts.get((raw,))
    if known is not None:
        return known
    noted = run.noted
    made = _cwe(run, raw)
    if made is not None and run.noted == noted:
        _keep(run, (raw,), made)
    return made


def _keep(run: MessageContext, sent: tuple[str | None, ...], concept: Json) -> None:
    if sum(map(len, filter(None, sent))) <= CONCEPT_LENGTH:
        if len(run.concepts) >= CONCEPTS_KEPT:
            run.concepts.clear()
        run.concepts[sent] = concept


def _cwe(run: MessageContext, raw: str) -> Json | None:
    parts = raw.split(run.C)
    count = len(parts)
    if count == 3 and run.X not in raw and run.S not in raw and '"' not in raw:
        # code^text^system without anything to resolve: nearly every coded field is this.
        one, words = parts[0].strip(), parts[1].strip()
        if one and words and "  " not in one:
            system = CODING_SYSTEMS.get(parts[2]) or coding_system(run, parts[2].strip())
            return {"coding": [_sent_coding(run, system, one, words)], "text": words}
    text = run.text
    code = text(parts[0])
    display = _words_in(run, parts[1]) if count > 1 and parts[1] else None
    if count < 4:
        if code is None:
            return {"text": display} if display else None
        coding = _sent_coding(run, coding_system(run, text(parts[2]) if count > 2 else None), code, display)
        return {"coding": [coding], "text": display or code}
    parts += [""] * (14 - count)
    codings = []
    for at, version in ((0, 6), (3, 7), (9, 12)):
        found = text(parts[at])
        if found is not None:
            system = coding_system(run, text(parts[at + 2]))
            codings.append(_sent_coding(run, system, found, _words_in(run, parts[at + 1]), text(parts[version])))
    said = _words_in(run, parts[8]) or display or _words_in(run, parts[4]) or code or text(parts[3])
    if codings:
        return {"coding": codings, "text": said} if said else {"coding": codings}
    return {"text": said} if said else None


def _words_in(run: MessageContext, raw: str) -> str | None:
    """The words of a component, whole: `H&E stain` holds a delimiter that the sender did not escape."""
    if run.S not in raw or run.R in raw:
        return run.text(raw)
    whole = run.whole(raw)
    return whole.strip() or None if whole is not None else None


def _sent_coding(
    run: MessageContext, system: str | None, code: str, display: str | None, version: str | None = None
) -> Json:
    """A Coding; a code that its system cannot have belongs to none."""
    made = make_coding(system, code, display, version)
    if system is None or is_of(system, made["code"]):
        return made
    if system == LOINC:
        run.warn("LOINC_MISMATCH", "no LOINC code looks like this; it was kept as a code of no system")
    return without_system(made)


@function("coded(row: row?, code: CodeableConcept?) -> CodeableConcept", steady=True)
def coded(run: MessageContext, row: Row | None, sent: Json | None) -> Json | None:
    """The code of the table row first, then the sent coding; without a row, the sent coding only.

    Where the row names another LOINC term than the sender, the sender's stays as a code without a system.
    """
    if row is None or row.coding is None:
        return sent
    if sent is None:
        return row.concept
    codings = sent.get("coding")
    if not codings:
        return {"coding": [row.coding], "text": sent["text"]}
    first = codings[0]
    if first.get("code") == row.code and first.get("system") == LOINC:
        if len(codings) == 1:
            return {**sent, "coding": [row.coding]}
        codings = codings[1:]
    others = [without_system(one) if one.get("system") == LOINC else one for one in codings]
    made: Json = {"coding": [row.coding, *others]}
    return {**made, "text": sent["text"]} if "text" in sent else made


@function("left_out(code: text, table: table) -> flag!", steady=True)
def left_out(run: MessageContext, code: str, table: Table) -> bool:
    """Whether a code table says that this is no result: the `type` of its row is `none` (a mode, an image, an age)."""
    return code in table.left_out


def without_system(coding: Json) -> Json:
    """A coding without a system: people see the sent text, and machines give it no meaning."""
    return {name: value for name, value in coding.items() if name not in ("system", "version")}


@function("concept(system: text, code: text, display: text?) -> CodeableConcept", pure=True)
def concept(system: str, code: str, display: str | None = None) -> Json:
    """A code of a given system; `observation-category` is short for its terminology.hl7.org address."""
    return {"coding": [make_coding(_system(system), code, display)]}


@function("coding(system: text, code: text, display: text?) -> Coding", pure=True)
def coding(system: str, code: str, display: str | None = None) -> Json:
    """As `concept`, where FHIR wants a Coding."""
    return make_coding(_system(system), code, display)


@function("coding_concept(system: text, value: field) -> CodeableConcept", steady=True, settings=("local_system",))
def coding_concept(run: MessageContext, system: str, raw: str) -> Json | None:
    """A field that holds a code of a given system, with its text in component 2 if it has one.

    A system that the field names itself (component 3) wins. A code that an HL7 table (`v2-0487`) does not have is the
    sender's own: one of the channel's `local_system`. Of a component (OBR-15.1) the subcomponents are read likewise.
    """
    parts = raw.split(run.C if run.C in raw else run.S)
    code = run.text(parts[0])
    display = run.part_text(parts, 1)
    if code is None:
        return {"text": display} if display else None
    if (named := run.part_text(parts, 2)) and (sent := coding_system(run, named)) and sent != run.local_system:
        return {"coding": [_sent_coding(run, sent, code, display)], "text": display or code}
    made = make_coding(_system(system), code, display)
    if is_of(made["system"], made["code"]):
        return {"coding": [made]}
    return {"coding": [make_coding(run.local_system or None, code, display)], "text": display or code}


@function("inner_cwe(value: field) -> CodeableConcept", steady=True, settings=("local_system",))
def inner_cwe(run: MessageContext, raw: str) -> Json | None:
    """As `cwe`, of a component whose parts are subcomponents (OBR-15.4)."""
    return cwe(run, raw.replace(run.S, run.C))


@function("language(value: field) -> CodeableConcept", steady=True)
def language(run: MessageContext, raw: str) -> Json | None:
    """A language (PID-15): a code of two letters that component 3 says is of ISO 639, else words alone.

    FHIR takes codes of languages from BCP 47 only, which has those of ISO 639-1 in small letters.
    """
    parts = raw.split(run.C)
    code, words = run.text(parts[0]), run.part_text(parts, 1)
    of = (run.part_text(parts, 2) or "").upper()
    if code and of in ("ISO639", "ISO639-1", "ISO6391") and len(code) == 2 and code.isascii() and code.isalpha():
        return {"coding": [make_coding(_LANGUAGES, code.lower(), words)], "text": words or code}
    return {"text": words or code} if words or code else None


@function("local_concept(code: text, text: text?) -> CodeableConcept", steady=True, settings=("local_system",))
def local_concept(run: MessageContext, code: str, text: str | None = None) -> Json:
    """A sender's own code under the channel's `local_system`, with its display there."""
    known = run.concepts.get((code, text))
    if known is None:
        known = {"coding": [make_coding(run.local_system or None, code)], "text": text or code}
        _keep(run, (code, text), known)
    return known


@function("text_concept(text: text) -> CodeableConcept", pure=True)
def text_concept(text: str) -> Json:
    """A concept that has words and no code."""
    return {"text": text}


@function("concepts(value: CodeableConcept...) -> CodeableConcept", pure=True)
def concepts(*values: Json | None) -> Json | None:
    """One concept with the codings of several, in order and each once; the text of the first that has one."""
    codings: dict[tuple[str | None, str | None], Json] = {}
    words = None
    for concept in filter(None, values):
        for coding in concept.get("coding", ()):
            codings.setdefault((coding.get("system"), coding.get("code")), coding)
        words = words or concept.get("text")
    made: Json = {"coding": [*codings.values()]} if codings else {}
    return ({**made, "text": words} if words else made) or None


@function("codes_in(concepts: CodeableConcept[], form: literal?) -> text[]", pure=True)
def codes_in(concepts: list[Json], form: str | None = None) -> list[str] | None:
    """The codes of concepts, each behind its system (`http://loinc.org|718-7`), of the form `plain` without; of one
    that has none its text."""
    found: list[str] = []
    for one in concepts:
        codings = [each for each in one.get("coding", ()) if each.get("code")]
        found += [each["code"] if form == "plain" else f"{each.get('system', '')}|{each['code']}" for each in codings]
        if not codings and (words := one.get("text")):
            found.append(words if form == "plain" else f"|{words}")
    return list(dict.fromkeys(found)) or None


@function("parts_in(components: Observation.component[]) -> text[]", steady=True)
def parts_in(run: MessageContext, components: list[Json]) -> list[str] | None:
    """The components of a value in words, each behind its name (`strength|98`); a coded answer has none."""
    found: list[str] = []
    for one in components:
        answered: Json = one.get("valueCodeableConcept") or {}
        first: Json = next(iter(answered.get("coding", ())), {})
        words = one.get("valueString") or answered.get("text") or first.get("display") or first.get("code")
        name = "" if answered else one["code"].get("text", "")
        found += [f"{name}|{words}"] if words else []
    return found or None


@function("table_code(row: row) -> CodeableConcept", steady=True)
def table_code(run: MessageContext, row: Row) -> Json | None:
    """The code of a table row alone."""
    return row.concept


@function("answer(value: field, unit: text?) -> CodeableConcept", steady=True, settings=("local_system",))
def answer(run: MessageContext, raw: str, unit: str | None = None) -> Json | None:
    """A coded answer as `cwe` reads it. A unit is appended to its words where these hold a digit (`2 to 4 ug/mL`) and
    the code is the sender's own: a term of a terminology has no unit.
    """
    concept = _words_alone(run, raw) if _is_escaped(run, raw) else cwe(run, raw)
    if concept is None or not unit or not any(map(str.isdigit, words := concept.get("text", ""))):
        return concept
    if any(one.get("system", run.local_system) != run.local_system for one in concept.get("coding", ())):
        return concept
    return {**concept, "text": f"{words} {unit}"}


@function("coded_answer(value: field) -> text", steady=True)
def coded_answer(run: MessageContext, raw: str) -> str | None:
    """The code of a coded answer: its first component. One with an escaped delimiter in it (`a\\S\\b\\S\\c`) is no
    code: the sender has escaped the delimiters, too."""
    return None if _is_escaped(run, raw) else run.text(raw)


def _is_escaped(run: MessageContext, raw: str) -> bool:
    return run.X in raw and run.C in (run.text(raw) or "")


def _words_alone(run: MessageContext, raw: str) -> Json | None:
    words = run.whole(raw.strip())
    return {"text": words} if words else None


@function("answers(code: CodeableConcept, values: field[], unit: text?) -> Observation.component[]", steady=True)
def answers(run: MessageContext, code: Json, values: list[str], unit: str | None = None) -> list[Json] | None:
    """Several coded answers to one question (see `answer`): a component each, under the code of the result."""
    found = [concept for value in values if (concept := answer(run, value, unit)) is not None]
    return [{"code": code, "valueCodeableConcept": concept} for concept in found] or None


WARNING = "LOINC_MISMATCH"
# Meaning of the last character of a name where there is no unit: GRAN#, GRAN%.
_BY_NAME = {"#": "count/volume", "%": "fraction"}


@function("believed(code: CodeableConcept, terms: table, units: row?, unit: text?) -> CodeableConcept", steady=True)
def believed(
    run: MessageContext, sent: Json, terms: Table, units: Row | None = None, unit: str | None = None
) -> Json | None:
    """A coded field in which a LOINC code stays one only if it can be what was measured.

    `terms` is a table of LOINC terms with their `dimension`, `units` the row of the unit in a table of units with
    theirs. A code whose check digit does not hold, or whose term measures something else than the unit, loses its
    system and is warned of (`LOINC_MISMATCH`); a code or a unit that the tables do not have is left alone. Without a
    unit the last sign of the name counts (`GRAN%`, `GRAN#`).
    """
    codings = sent.get("coding")
    if not codings:
        return sent
    if units is not None and len(codings) == 1:
        # Nearly every result: one code, a unit that is known, and they agree.
        row = terms.exact.get(codings[0].get("code"))
        if row is not None and row.dimension == units.dimension:
            return sent
    return _compared(run, sent, codings, terms, units, unit)


@function("unit_of_term(unit: field, terms: table, code: field?, row: row?) -> field", steady=True)
def unit_of_term(run: MessageContext, raw: str, terms: Table, sent: str | None = None, row: Row | None = None) -> str:
    """A unit (OBX-6) without its system, where the LOINC term beside it measures something else: `kU/L^^UCUM` of an
    allergen is no enzyme. Then its text is one as any other. The term is that of the row, else one in `code` (OBX-3).
    """
    if run.C not in raw or (measured := dimension(sent_unit(run, raw)[1] or "")) is None:
        return raw
    sent_as = (cwe(run, sent) or {}).get("coding", ()) if sent else ()
    for coding in sent_as if row is None or row.coding is None else (row.coding,):
        term = terms.exact.get(coding.get("code")) if coding.get("system") == LOINC else None
        if term is not None and term.dimension and measured not in term.dimension.split():
            return raw.partition(run.C)[0]
    return raw


def _compared(
    run: MessageContext, sent: Json, codings: list[Json], terms: Table, units: Row | None, unit: str | None
) -> Json:
    doubted = None
    for at, one in enumerate(codings):
        if one.get("system") != LOINC:
            continue
        row = terms.exact.get(one.get("code"))
        if row is not None:
            wanted = row.dimension
            measured = units.dimension if units is not None else None
            if wanted is None or wanted == measured:
                continue
            if measured is None and unit is None:
                measured = _BY_NAME.get(one.get("display", "")[-1:])
            if measured is None or measured in wanted.split():
                continue
            run.warn(WARNING, f"the LOINC code is of a term for {wanted} and the result is one of {measured}; {_KEPT}")
        elif _has_check_digit(one.get("code", "")):
            continue
        else:
            run.warn(WARNING, f"no LOINC code looks like this: its check digit does not hold; {_KEPT}")
        doubted = doubted or list(codings)
        doubted[at] = without_system(one)
    return sent if doubted is None else {**sent, "coding": doubted}


_KEPT = "it was kept as a code of no system"


@lru_cache(maxsize=4096)
def _has_check_digit(code: str) -> bool:
    """Whether a code can be of LOINC; parts and answers (LP..., LA...) have another form and are not looked at."""
    if code[:2] in ("LA", "LP", "LG", "LL"):
        return True
    return LOINC_SHAPE.fullmatch(code) is not None and loinc_check_digit_holds(code)
