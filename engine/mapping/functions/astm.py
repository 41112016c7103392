"""What makers put into the universal test id of ASTM E1394 (O-5, R-3): one code out of up to nine components.

    ^^^WBC                                    most makers: component 4
    ^^^^WBC^1                                 Sysmex: component 5, then the run or dilution
    Na                                        adapters: component 1
    ^^^HIVVL^Xpert HIV-1 Viral Load^3^^LOG    GeneXpert: test, assay name, version, analyte, what of it was measured
    ^MTB-RIF^^RIF^^^SPC^Ct                    GeneXpert: panel in 2, test in 4, analyte in 7, cycle threshold in 8
    ^^^HIV1mlDBS^...^lot^lot^^F               Abbott m2000: F final, I interpretation, P raw signal in 9

A channel's setting says otherwise where its maker does.
"""

from engine.mapping.functions.registry import function
from engine.mapping.run import Run

SETTING = "test_code"


@function("astm_test_code(id: field) -> text")
def astm_test_code(run: Run, raw: str) -> str | None:
    """The code of a test id, its parts joined with `/`, so that a cycle threshold never has the code of the result.

    The test is component 4, else 5, 2 or 1, with the panel in 2 before it. An analyte (7) counts where there is no name
    (5) beside it, a measured part (8) and a kind of result (9) always do; 6 is a run, version or lot and never does.
    A channel says which components count where its maker does otherwise (Hologic Panther): `test_code: 4/5`.
    """
    parts = [run.text(part) if part else None for part in raw.split(run.C)[:9]]
    parts += [None] * (9 - len(parts))
    wanted = run.setting(SETTING)
    if wanted is not None:
        numbers = [int(number) for number in wanted.split("/") if number.isdecimal()]
        chosen = [parts[number - 1] for number in numbers if 1 <= number <= len(parts)]
    else:
        first, panel, _, fourth, fifth, _, analyte, measured, kind = parts
        test = fourth or fifth
        if test is None:
            test, panel = panel or first, None
        named = fourth is not None and fifth is not None
        chosen = [panel, test, None if named else analyte, measured, kind]
    return "/".join(part for part in chosen if part) or None
