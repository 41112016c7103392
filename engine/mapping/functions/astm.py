"""The universal test id of ASTM E1394 (O-5, R-3), as makers fill it: select one code out of up to eleven components.

    ^^^WBC                                    most makers: component 4
    ^^^^WBC^1                                 Sysmex: component 5, then the run or dilution
    Na                                        adapters: component 1
    ^^^HIVVL^Xpert HIV-1 Viral Load^3^^LOG    GeneXpert: test, assay name, version, analyte, what of it was measured
    ^MTB-RIF^^RIF^^^SPC^Ct                    GeneXpert: panel in 2, test in 4, analyte in 7, cycle threshold in 8
    ^^^HIV1mlDBS^...^lot^lot^^F               Abbott m2000: F final, I interpretation, P raw signal in 9
    ^^^651^B-hCG^UNDILUTED^P^lot^serial^^I    Abbott ARCHITECT: the same in 11; 8 and 9 are a lot and a serial number
    ALT^1^1^0                                 Mindray BS: a name in 1, and counts behind it

A channel's setting overrides this for a maker that differs. Two more settings concern the same components: `table_code`
where the code was chosen at the site and another part of the id names the assay, `raw_results` for parts that are raw
signals of the instrument.

Values of several components in R-4 of ASTM E1394: a setting says which of them is the value.

    5.5                           no component delimiter: the value
    NOT DETECTED^                 nothing behind component 1: the value is component 1
    DETECTED^1250   -1^0.282      a call and a number (GeneXpert, cobas e411): r4: call^value
    0^4+^98                       corrected by a person, read by the machine, strength: r4: corrected^value^strength
    O^POS^NEG^ccee^K-^NEG         a blood group: no part is the value; r4: ABO^RhD^DAT^phenotype^Kell^antibodies
    5.5^mmol   5^6   132.1^27     nothing says which: the whole is one text, with the warning VALUE_PARTS

The channel's setting ``r4`` (a pack may give it) names the components in their order: ``value``, ``call`` (a word about
the value), any other name (a part of the result with a value of its own). ``-`` leaves out a component.
"""

import re
from dataclasses import dataclass
from typing import Any

from engine.mapping.code_tables.tables import Table
from engine.mapping.functions.registry import function
from engine.mapping.functions.specimens import factor_of
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.read_cache import CODES_KEPT, LONGEST_RESULT
from engine.model.content.results import CALL, LEFT_OUT, VALUE, component_names

VALUE_SETTING = "r4"


@dataclass(frozen=True, slots=True)
class _Parts:
    """A value of several components.

    Attributes:
        value: the component that is the value, raw; None where none is, or it is empty.
        call: the component that is a word about the value, raw.
        named: the other components by their names.
        whole: whether the value is all components as one text.
        unclear: whether nothing says what the components are.
    """

    value: str | None
    call: str | None = None
    named: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    unclear: bool = False


_NOTHING = ("", '""')
_UNCLEAR = _Parts(None, whole=True, unclear=True)


@function("astm_value(value: field) -> field", settings=(VALUE_SETTING,), is_field=True)
def astm_value(run: MessageContext, raw: str) -> str | None:
    """The component of R-4 that is the value: component 1 where it is the last one, else the one that the setting `r4`
    names `value` (the `call` where it is alone). Absent where no setting says which component is the value: `5^6` is
    neither 5 nor 6.
    """
    return raw if run.C not in raw else _read(run, raw).value


@function("astm_value_unclear(value: field) -> flag!", settings=(VALUE_SETTING,))
def astm_value_unclear(run: MessageContext, raw: str) -> bool:
    """Whether R-4 has components that no setting explains: then all of them are one text."""
    return run.C in raw and _read(run, raw).unclear


@function("astm_value_text(value: field) -> text", settings=(VALUE_SETTING,))
def astm_value_text(run: MessageContext, raw: str) -> str | None:
    """The value of R-4 as text: that of `astm_value`, else all components with the delimiters that were sent."""
    if run.C not in raw:
        return run.whole(raw.strip())
    parts = _read(run, raw)
    text = raw if parts.whole else parts.value
    return None if text is None else run.whole(text.strip())


@function("astm_call(value: field) -> text", settings=(VALUE_SETTING,), of_components=True)
def astm_call(run: MessageContext, raw: str) -> str | None:
    """The word beside the value of R-4 (`DETECTED^1250`), where the setting `r4` says so (`call^value`)."""
    if run.C not in raw:
        return None
    call = _read(run, raw).call
    return None if call is None else run.text(call)


@function("astm_components(value: field) -> Observation.component[]", settings=(VALUE_SETTING,), of_components=True)
def astm_components(run: MessageContext, raw: str) -> list[dict[str, Any]] | None:
    """The components of R-4 that the setting `r4` gives names of their own, each as a component of the Observation."""
    if run.C not in raw:
        return None
    found = [(name, run.text(part)) for name, part in _read(run, raw).named]
    return [{"code": {"text": name}, "valueString": text} for name, text in found if text is not None] or None


@function("astm_components_text(value: field) -> text", settings=(VALUE_SETTING,), of_components=True)
def astm_components_text(run: MessageContext, raw: str) -> str | None:
    """As `astm_components`, as one text: `corrected: 0; strength: 98`."""
    if run.C not in raw:
        return None
    found = [(name, run.text(part)) for name, part in _read(run, raw).named]
    return "; ".join(f"{name}: {text}" for name, text in found if text is not None) or None


def _read(run: MessageContext, raw: str) -> _Parts:
    """The parts of a value; those read last are kept, for several rules ask about one result."""
    if run.parts is None or run.parts[0] != raw:
        run.parts = raw, _parts_of_value(raw.split(run.C), component_names(run.setting(VALUE_SETTING) or ""))
    parts: _Parts = run.parts[1]
    return parts


def _parts_of_value(components: list[str], names: tuple[str, ...]) -> _Parts:
    said = [at for at, part in enumerate(components) if part.strip() not in _NOTHING]
    if not said:
        return _Parts(None)
    if not names:
        return _Parts(components[0]) if said == [0] else _UNCLEAR
    if said[-1] >= len(names):
        return _UNCLEAR
    by_name = {name: components[at] for at, name in enumerate(names) if at in said}
    value, call = by_name.pop(VALUE, None), by_name.pop(CALL, None)
    by_name.pop(LEFT_OUT, None)
    if value is None:
        value, call = call, None
    # A result that has names for all its components and none for the value is the whole of them.
    whole = VALUE not in names and CALL not in names
    return _Parts(value, call, tuple(by_name.items()), whole)


SETTING = "test_code"
TABLE_SETTING = "table_code"
RAW_SETTING = "raw_results"
DILUTION_SETTING, BEHIND_CODE = "dilution", "code"
COMPONENTS = 11
FINAL, KINDS = "F", ("F", "I", "P")  # component 11: the result, its interpretation, its signal
_COUNT = re.compile(r"[0-9]+", re.ASCII).fullmatch
_LETTER = re.compile(r"[^\W\d_]").search
_NAME = re.compile(r"[A-Za-z].*[A-Za-z]{3}", re.ASCII).search


@function("astm_test_code(id: field) -> text", steady=True, settings=(SETTING,))
def astm_test_code(run: MessageContext, raw: str) -> str | None:
    """The code of a test id, its parts joined with `/`, so that a cycle threshold never has the code of the result.

    The test is component 4, else 5, 2 or 1, with the panel in 2 before it. An analyte (7) counts where there is no name
    (5) beside it, a measured part (8) and a kind of result (9) always do; 6 is a run, version or lot and never does.
    Where 11 says the kind (I, P; F is the result itself), 8 and 9 are a lot and a serial number, and do not count.
    A channel says which components count where its maker does otherwise (Hologic Panther): `test_code: 4/5`.
    """
    known = run.reading.codes
    if raw in known:
        return known[raw]
    code = _test_code(run, raw)
    if len(known) < CODES_KEPT and len(raw) <= LONGEST_RESULT:
        known[raw] = code
    return code


def _test_code(run: MessageContext, raw: str) -> str | None:
    parts = _parts(run, raw)
    wanted = run.setting(SETTING)
    if wanted is not None:
        chosen = _chosen(parts, wanted)
    else:
        first, panel, third, fourth, fifth, _, analyte, measured, kind, _, told = parts
        if told in KINDS:
            measured, kind = None, told if told != FINAL else None
        test = fourth or fifth
        if first and fifth is None and _LETTER(first) and all(_COUNT(part or "") for part in (panel, third, fourth)):
            test, panel = first, None  # a name, and counts behind it
        if test is None:
            test, panel = panel or first, None
        named = fourth is not None and fifth is not None
        chosen = [panel, test, None if named else analyte, measured, kind]
    return "/".join(part for part in chosen if part) or None


@function("astm_table_code(id: field) -> text", steady=True, settings=(TABLE_SETTING,))
def astm_table_code(run: MessageContext, raw: str) -> str | None:
    """The code by which the code table is asked; without the channel's setting the test code.

    Where test codes are chosen at each site (GeneXpert: host codes), the same one means different analytes, and the
    maker's own name of the assay says which. `table_code: 5/7/8` joins these components, if the first of them is there:
    the parts of a result (cycle thresholds) have no name of an assay and keep the test code.
    """
    wanted = run.setting(TABLE_SETTING)
    if wanted is not None:
        chosen = _chosen(_parts(run, raw), wanted)
        if chosen and chosen[0]:
            return "/".join(part for part in chosen if part)
    return astm_test_code(run, raw)


@function("astm_test_name(id: field) -> text", settings=(SETTING, TABLE_SETTING))
def astm_test_name(run: MessageContext, raw: str) -> str | None:
    """The name of a test for people, where it is another one than the code: the maker's own (`table_code`), or
    component 5. One that other tests of the message have too (`A1c^AREA`, `F^AREA`) comes behind the code."""
    known = run.reading.names
    names = known.get(raw)
    if names is None:
        names = _test_names(run, raw)
        if len(known) < CODES_KEPT and len(raw) <= LONGEST_RESULT:
            known[raw] = names
    alone, behind = names
    if alone == behind:
        return alone
    if run.test_names is None:
        run.test_names = {}
        for result in run.parsed.segments:
            if result.name == "R" and (id := result.get(3)):
                said = _parts(run, id)
                run.test_names.setdefault(said[4], set()).add(said[3])
    return behind if len(run.test_names.get(alone, ())) > 1 else alone


def _test_names(run: MessageContext, raw: str) -> tuple[str | None, str | None]:
    """The name of a test, and its name where other tests of the message have that too."""
    code = astm_test_code(run, raw)
    by_name = astm_table_code(run, raw)
    if by_name != code or code is None:
        return by_name, by_name
    _, _, _, test, name, *_ = _parts(run, raw)
    if test is None or name is None or not _NAME(name) or name in code:
        return None, None
    return name, name if f"{name} ".startswith(f"{test} ") else f"{test} {name}"


@function("astm_is_raw(id: field, table: table?) -> flag!", steady=True, settings=(RAW_SETTING,))
def astm_is_raw(run: MessageContext, raw: str, table: Table | None = None) -> bool:
    """Whether a test id is that of a signal, not of a result: the last part of its code is one that the channel lists
    under `raw_results`, as `[P]` (Abbott m2000: cycle number) or `[AnalyteRLU]` (Hologic Panther); or the `type`
    in the code table is `none`, as for the images of Sysmex."""
    if table is not None and table.left_out and astm_table_code(run, raw) in table.left_out:
        return True
    listed = run.settings.get(RAW_SETTING)
    if not listed:
        return False
    code = astm_test_code(run, raw)
    return code is not None and code.rpartition("/")[2] in ([listed] if isinstance(listed, str) else map(str, listed))


@function("astm_dilution(id: field) -> text", steady=True, settings=(DILUTION_SETTING,))
def astm_dilution(run: MessageContext, raw: str) -> str | None:
    """The factor by which the specimen was diluted, where the channel's setting `dilution` says which component of a
    test id has it (`6`: Abbott ARCHITECT, `UNDILUTED`), or that it is behind the code (`code`: Roche cobas,
    `8/10/not`)."""
    where = run.setting(DILUTION_SETTING)
    if where is None:
        return None
    parts = _parts(run, raw)
    if where != BEHIND_CODE:
        return factor_of(parts[int(where) - 1]) if _COUNT(where) and 0 < int(where) <= COMPONENTS else None
    _, _, said = (parts[3] or "").partition("/")
    factor, _, before = said.partition("/")
    return factor_of(f"1:{factor}") if factor and before in ("", "not") else None


def _parts(run: MessageContext, raw: str) -> list[str | None]:
    """The components of a test id, None where one is empty."""
    parts = [run.text(part) if part else None for part in raw.split(run.C)[:COMPONENTS]]
    return parts + [None] * (COMPONENTS - len(parts))


def _chosen(parts: list[str | None], wanted: str) -> list[str | None]:
    """The components that a setting (``4/5``) lists."""
    numbers = [int(number) for number in wanted.split("/") if number.isdecimal()]
    return [parts[number - 1] for number in numbers if 1 <= number <= len(parts)]
