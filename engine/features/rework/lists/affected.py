"""The affected results of a mapping change, a row each, and as lines of a CSV file.

A text that a spreadsheet would take for a formula has an apostrophe before it there; a number has none.
"""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from engine.model.content.tested_results import TestedResult
from engine.views.view import Field, Row, View, harmless, picked

MASKED = "***"
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
RESULTS = View[Row](
    "results",
    Field("message", "MESSAGE", right=True),
    Field("outcome", "OUTCOME"),
    Field("reason"),
    Field("destinations"),
    Field("change", "CHANGE"),
    Field("differs"),
    Field("specimen", "SPECIMEN"),
    Field("patient", "PATIENT"),
    Field("code", "TEST"),
    Field("loinc", "LOINC"),
    Field("old_loinc", "LOINC BEFORE"),
    Field("old_value", "OLD", right=True),
    Field("old_unit", "UNIT"),
    Field("old_status", "STATUS"),
    Field("new_value", "NEW", right=True),
    Field("new_unit", "UNIT"),
    Field("new_status", "STATUS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One result that differs.

    Attributes:
        outcome: the outcome of the new one (`engine.processing.reprocessing`).
        reason: the reason code where its message would be dead.
        destinations: those that got the old one, or will get the new one.
        change: empty where there is no result to report.
        differs: which of `TOLD`; ``other`` where all of these are equal.
        old, new: None without a result on that side.
    """

    message_id: int
    outcome: str
    reason: str = ""
    destinations: tuple[str, ...] = ()
    change: Literal["changed", "added", "removed", ""] = ""
    differs: tuple[str, ...] = ()
    old: TestedResult | None = None
    new: TestedResult | None = None


def row_of(one: Affected, *, unmask: bool) -> dict[str, Any]:
    """A row, with the names of `RESULTS` in order. A field that a side lacks is null. Codes, units and status are no
    patient data.
    """

    def shown(text: str) -> str:
        return text if unmask or not text else MASKED

    def side(name: str, told: TestedResult | None) -> dict[str, Any]:
        return {
            f"{name}_value": shown(told.value) if told is not None else None,
            f"{name}_unit": told.unit if told is not None else None,
            f"{name}_status": told.status if told is not None else None,
        }

    told = one.new or one.old
    whose = {name: getattr(told, name, "") for name in ("specimen", "patient", "code", "loinc")}
    return {
        "message": one.message_id,
        **picked(one, "outcome reason destinations change differs"),
        **whose,
        "specimen": shown(whose["specimen"]),
        "old_loinc": one.old.loinc if one.old is not None else None,
        **side("old", one.old),
        **side("new", one.new),
    }


def csv_line(cells: Iterable[Any]) -> str:
    """A line of the file, with its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_in_csv(one) for one in cells])
    return line.getvalue()


def _in_csv(value: Any) -> Any:
    """A cell of the file: a number stays unchanged, including its sign, for none is a formula."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(value)
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else harmless(value)


HEADING = csv_line([field.name for field in RESULTS.fields])
