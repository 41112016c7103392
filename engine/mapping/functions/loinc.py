"""LOINC codes that a sender states, compared with the unit beside them.

Analyzers send LOINC codes that do not exist, that belong to another method, or in each other's place: the count of
granulocytes under the code of their percentage (Dymind, Erba). Such a code is a hint. The table of terms says what kind
of quantity a term is (its property), the table of units what kind a unit measures; where both are known, they must
agree.
"""

from functools import lru_cache
from typing import Any

from engine.mapping.code_tables.tables import LOINC, Row, Table
from engine.mapping.code_tables.units import LOINC_SHAPE, loinc_check_digit_holds
from engine.mapping.functions.coding import without_system
from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext

Json = dict[str, Any]

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
