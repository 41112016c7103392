"""The universal test id of ASTM E1394 (O-5, R-3), as makers fill it: select one code out of up to eleven components.

    ^^^WBC                                    most makers: component 4
    ^^^^WBC^1                                 Sysmex: component 5, then the run or dilution
    Na                                        adapters: component 1
    ^^^HIVVL^Xpert HIV-1 Viral Load^3^^LOG    GeneXpert: test, assay name, version, analyte, what of it was measured
    ^MTB-RIF^^RIF^^^SPC^Ct                    GeneXpert: panel in 2, test in 4, analyte in 7, cycle threshold in 8
    ^^^HIV1mlDBS^...^lot^lot^^F               Abbott m2000: F final, I interpretation, P raw signal in 9
    ^^^651^B-hCG^UNDILUTED^P^lot^serial^^I    Abbott ARCHITECT: the same in 11; 8 and 9 are a lot and a serial number
    ALT^1^1^0                                 Mindray BS: a name in 1, and counts behind it
    XM^1234567                                Ortho VISION: a crossmatch, and the number of the donor's unit

A channel's setting overrides this for a maker that differs. Two more settings concern the same components: `table_code`
where the code was chosen at the site and another part of the id names the assay, `raw_results` for parts that are raw
signals of the instrument.
"""

import re

from engine.mapping.code_tables.tables import Table
from engine.mapping.functions.registry import function
from engine.mapping.functions.specimens import factor_of
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.read_cache import CODES_KEPT, LONGEST_RESULT

SETTING = "test_code"
TABLE_SETTING = "table_code"
RAW_SETTING = "raw_results"
BESIDE_SETTING = "beside_code"
DILUTION_SETTING, BEHIND_CODE = "dilution", "code"
COMPONENTS = 11
_ISOLATE = re.compile(r"O-([34])\.([2-9])")  # in `test_code`: the number of an isolate behind that of its specimen
ISOLATE = _ISOLATE.search
FINAL, KINDS = "F", ("F", "I", "P")  # component 11: the result, its interpretation, its signal
IS_COUNT = re.compile(r"[0-9]+", re.ASCII).fullmatch
_LETTER = re.compile(r"[^\W\d_]").search
_NAME = re.compile(r"[A-Za-z].*[A-Za-z]{3}", re.ASCII).search
_UNIT = re.compile(r"[0-9]+|[A-Za-z]{1,5}[0-9]{5,}", re.ASCII).fullmatch  # the number of a donor's unit


@function("astm_test_code(id: field) -> text", steady=True, settings=(SETTING, BESIDE_SETTING))
def astm_test_code(run: MessageContext, raw: str) -> str | None:
    """The code of a test id, its parts joined with `/`, so that a cycle threshold never has the code of the result.

    The test is component 4, else 5, 2 or 1, with the panel in 2 before it (a number in 2 comes behind the name in 1).
    An analyte (7) counts where there is no name (5) beside it, a measured part (8) and a kind of result (9) always do;
    6 is a run, version or lot and never does.
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
    parts = id_parts(run, raw)
    return "/".join(part for place in code_places(parts, run.setting(SETTING)) if (part := parts[place - 1])) or None


def code_places(parts: list[str | None], listed: str | None) -> list[int]:
    """Numbers of the components that make a code, the test (behind its panel) first; some may be empty.

    Args:
        listed: as the setting lists them (``4/5``).
    """
    if listed is not None:
        places = _ISOLATE.sub(str(COMPONENTS + 1), listed).split("/")
        return [int(place) for place in places if place.isdecimal() and 1 <= int(place) <= COMPONENTS + 1]
    first, panel, third, fourth, fifth, *_, told, _ = parts
    if first and fifth is None and _LETTER(first) and all(IS_COUNT(part or "") for part in (panel, third, fourth)):
        head = [1]  # a name, and counts behind it
    elif fourth or fifth:
        head = [2, 4 if fourth else 5]
    else:
        head = [1, 2] if first and _LETTER(first) and _UNIT(panel or "") else [2 if panel else 1]
    analyte = [] if fourth and fifth else [7]
    if told in KINDS:
        return head + analyte + ([] if told == FINAL else [11])
    return [*head, *analyte, 8, 9]


@function("astm_table_code(id: field) -> text", steady=True, settings=(TABLE_SETTING,))
def astm_table_code(run: MessageContext, raw: str) -> str | None:
    """The code by which the code table is asked; without the channel's setting the test code.

    Where test codes are chosen at each site (GeneXpert: host codes), the same one means different analytes, and the
    maker's own name of the assay says which. `table_code: 5/7/8` joins these components, if the first of them is there:
    the parts of a result (cycle thresholds) have no name of an assay and keep the test code.
    """
    wanted = run.setting(TABLE_SETTING)
    if wanted is not None:
        parts = id_parts(run, raw)
        chosen = [parts[place - 1] for place in code_places(parts, wanted)]
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
                said = id_parts(run, id)
                run.test_names.setdefault(said[4], set()).add(said[3])
    return behind if len(run.test_names.get(alone, ())) > 1 else alone


def _test_names(run: MessageContext, raw: str) -> tuple[str | None, str | None]:
    """The name of a test, and its name where other tests of the message have that too."""
    code = astm_test_code(run, raw)
    by_name = astm_table_code(run, raw)
    if by_name != code or code is None:
        return by_name, by_name
    _, _, _, test, name, *_ = id_parts(run, raw)
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
    parts = id_parts(run, raw)
    if where != BEHIND_CODE:
        return factor_of(parts[int(where) - 1]) if IS_COUNT(where) and 0 < int(where) <= COMPONENTS else None
    _, _, said = (parts[3] or "").partition("/")
    factor, _, before = said.partition("/")
    return factor_of(f"1:{factor}") if factor and before in ("", "not") else None


def id_parts(run: MessageContext, raw: str) -> list[str | None]:
    """The components of a test id, None where one is empty; behind them the isolate (`ISOLATE`)."""
    parts = [run.text(part) if part else None for part in raw.split(run.C)[: COMPONENTS + 1]]
    return parts + [None] * (COMPONENTS + 1 - len(parts))
