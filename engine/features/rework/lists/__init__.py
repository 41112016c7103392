"""The lists of this feature: their fields, as tables and JSON have them.

Dead letters, each by itself and in groups.

Operations of people on many letters.

The affected results of a mapping change, a row each, and as lines of a CSV file.

A text that a spreadsheet would take for a formula has an apostrophe before it there; a number has none.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.actions.operations import sums
from engine.features.rework.acts.affected_look import Affected
from engine.model.journal_views import DeadLetter
from engine.model.tested_results import TestedResult
from engine.store.operations.bulk import Operation
from engine.views.text import harmless
from engine.views.trail import instant
from engine.views.view import Field, Row, View, at, or_none, picked

if TYPE_CHECKING:
    from engine.store.operations.dead_letters import Group


NAMES_SHOWN = 3  # of the channels of a group; JSON has all

LETTER = View[DeadLetter](
    "dead_letters",
    Field("message", "MESSAGE", of="message_id", right=True),
    Field("delivery", of=or_none("delivery_id")),
    Field("channel", "CHANNEL"),
    Field("destination", "DESTINATION"),
    Field("state", "STATE"),
    Field("code", "CODE", of="reason"),
    Field("since", "SINCE", of=at("at_us")),
    Field("type", "TYPE", of="message_type"),
)
LETTER_GROUP: "View[Group]" = View(
    "groups",
    Field("count", "COUNT", right=True),
    Field("code", "CODE", of="reason"),
    Field("cause", "CAUSE"),
    Field("channels", "CHANNELS", of=lambda one: sorted(one.channels), shown=lambda one: _some(one.channels)),
    Field("destination", "DESTINATION"),
    Field("retrying", "RETRYING", right=True),
    Field("back", "BACK", right=True),
    Field("retries"),
    Field("new"),
    Field("last_retry", of=at("last_retry_us")),
    Field("oldest", "OLDEST", of=at("oldest_us")),
    Field("newest", "NEWEST", of=at("newest_us")),
    Field("example", "EXAMPLE", right=True),
    Field("fix"),
)


def _some(found: Iterable[str]) -> list[str]:
    """The first few of many names."""
    names = sorted(found)
    more = len(names) - NAMES_SHOWN
    return names if more <= 1 else [*names[: NAMES_SHOWN - 1], f"{names[NAMES_SHOWN - 1]} and {more} more"]


OPERATION = View[Operation](
    "operations",
    Field("number", "NUMBER", right=True),
    Field("since", "SINCE", of=at("at_us")),
    Field("actor", "ACTOR"),
    Field("verb", "ACT"),
    Field("stage", "STAGE", of="shown"),
    Field("total", "TOTAL", right=True),
    Field("done", "DONE", of=lambda one: sums(one)["done"], right=True),
    Field("failed", "FAILED", of=lambda one: sums(one)["failed"], right=True),
    Field("skipped", "SKIPPED", of=lambda one: sums(one)["skipped"], right=True),
    Field("left", "LEFT", of=lambda one: one.total - one.position, right=True),
    Field("outcomes", of=lambda one: dict(one.outcomes)),
    Field("last"),
    Field("counted", of=at("counted_us")),
    Field("fault"),
    Field("ended", of=lambda one: instant(one.ended_us) if one.ended_us else None),
    Field("selection", of=lambda one: one.what.get("selection")),
)


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
