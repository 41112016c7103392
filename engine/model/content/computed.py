"""Results that are computed from others: what is doubtful of these is doubtful of them, too. Pure.

    SHIPPED                       by LOINC codes, where the field knows it
    a pack, a channel             `computed: {EGFR: [CRE]}` of its settings, by any code; `{MCHC: []}` takes one out

Each test has all that it is made of: where MCV is made of HCT, MCHC is made of what HCT is, too. A list says nothing of
what makers do differently: whether HCT or MCV is measured, whether LDL is.

Sources: names of LOINC ("by calculation", "creatinine-based formula"); Beckman Coulter AcT 5diff, PN 177196BB, 7-25
(MCH, MCHC); Mindray BC-3000 Plus, 3.4.4 (counts of a differential); Friedewald, Clin Chem 1972;18:499; ICSH/ISTH (INR);
KDIGO 2012 (eGFR, albumin to creatinine); Tietz (gaps, ratios).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import orjson

COMPUTED = "computed"  # the setting
Listed = Mapping[str, Sequence[str]]

_CREATININE = ("2160-0", "14682-9")
_LIPIDS = ("2093-3", "2085-9", "2571-8")  # cholesterol, HDL, triglycerides
_WBC = "6690-2"
SHIPPED: Listed = {
    "785-6": ("718-7", "789-8"),  # MCH: HGB, RBC
    "786-4": ("718-7", "4544-3"),  # MCHC: HGB, HCT
    "751-8": (_WBC, "770-8"),  # counts of a differential: WBC, percentage
    "731-0": (_WBC, "736-9"),
    "742-7": (_WBC, "5905-5"),
    "711-2": (_WBC, "713-8"),
    "704-7": (_WBC, "706-2"),
    "53115-2": (_WBC, "71695-1"),
    "32154-7": (_WBC, "32155-4"),
    "60474-4": ("789-8", "17849-1"),  # reticulocytes: RBC, percentage
    "6301-6": ("5902-2",),  # INR: PT
    "13457-7": _LIPIDS,  # LDL by calculation
    "13458-5": ("2571-8",),  # VLDL by calculation
    "43396-1": ("2093-3", "2085-9"),  # non-HDL
    "9830-1": ("2093-3", "2085-9"),
    "33037-3": ("2951-2", "2075-0", "1963-8", "2028-9"),  # anion gap: NA, CL, HCO3 or CO2
    "1759-0": ("1751-7", "2885-2"),  # albumin to globulin: albumin, protein
    "10834-0": ("1751-7", "2885-2"),  # globulin by calculation
    "29265-6": ("17861-6", "2000-8", "1751-7"),  # calcium corrected for albumin
    "1971-1": ("1975-2", "1968-7"),  # indirect bilirubin: total, direct
    "33914-3": _CREATININE,  # eGFR
    "62238-1": _CREATININE,
    "98979-8": _CREATININE,
    "2502-3": ("2498-4", "2500-7", "3034-6"),  # transferrin saturation: iron, TIBC or transferrin
    "9318-7": ("14957-5", "2161-8"),  # albumin to creatinine, urine
    "14959-1": ("14957-5", "2161-8"),
    "32294-1": ("14957-5", "2161-8"),
}


def sources_by_test(listed: Listed | None) -> Mapping[str, frozenset[str]]:
    """The codes of all that each test is made of.

    Args:
        listed: the setting of a channel.
    """
    return _closed(orjson.dumps(listed or {}))


def sources_of(codes: Iterable[str], by_test: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The codes of all that a result is made of; none, where one of its codes says that it is measured.

    Args:
        codes: of the result, without their systems.
    """
    sources = [by_test[code] for code in codes if code in by_test]
    return frozenset().union(*sources) if all(sources) else frozenset()


@lru_cache(maxsize=256)
def _closed(listed: bytes) -> Mapping[str, frozenset[str]]:
    direct: Listed = {**SHIPPED, **orjson.loads(listed)}
    return {code: frozenset(_walked(code, direct, set())) for code in direct}


def _walked(code: str, direct: Listed, seen: set[str]) -> set[str]:
    for source in direct.get(code, ()):
        if source not in seen:
            seen.add(source)
            _walked(source, direct, seen)
    return seen
