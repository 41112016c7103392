"""Which material, level and target a control result is of, and why it cannot be evaluated. Pure.

A lot of the site's list says material, level and lot of a number; else the message does; else the number is the level,
and the control is unknown. Where the message says another lot than the list, it is of that one.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from engine.config.site import search_path
from engine.features.quality_control.rules.westgard import Target, number_in
from engine.mapping.code_tables.table_files import first_file, rows_in
from engine.model.content.quality_controls import ControlResult, matches
from engine.model.texts.phrases import N_

SOURCES = ("maker", "interim", "lab", "peer")
PROPOSED, INTERIM, IN_FORCE, CLOSED = "proposed", "interim", "in force", "closed"
STATES = (PROPOSED, INTERIM, IN_FORCE, CLOSED)

# Why a point cannot be evaluated.
NO_NUMBER, NO_TARGET, OTHER_UNIT, NO_SD = N_("no number"), N_("no target"), N_("other unit"), N_("no SD")
INVALID = N_("invalid, says the analyzer")
EXPIRED, UNKNOWN = N_("lot expired"), N_("unknown control")
ERASED = N_("erased")  # its message was, and what the point had of it


class Lot(NamedTuple):
    """A row of the list of controls. ``number``: a pattern, ``*`` for any text. ``expires``: a date, or empty."""

    channel: str
    number: str
    material: str
    level: str
    lot: str
    expires: str = ""


class Known(NamedTuple):
    """What a point is of."""

    level: str
    lot: str
    expires: str = ""
    listed: bool = False


class TargetOf(NamedTuple):
    """A target in force. ``id``: of its row. Without an SD it is qualitative: ``mean`` is what is expected."""

    id: int
    unit: str
    mean: str
    sd: str

    @property
    def figures(self) -> Target | None:
        mean, sd = number_in(self.mean), number_in(self.sd)
        return None if mean is None or sd is None else Target(mean, sd)

    @property
    def expected(self) -> frozenset[str]:
        """What a qualitative control may show, in small letters; empty: it has numbers."""
        return frozenset() if self.sd else frozenset(folded(one) for one in self.mean.split("|"))


def folded(value: str) -> str:
    return " ".join(value.casefold().split())


def known_as(control: ControlResult, lots: Iterable[Lot]) -> Known:
    """The exact number before a pattern; of patterns the longest; of equals the one of its analyzer."""
    fitting = [one for one in lots if control.number and matches(control.number, (one.number,))]
    if fitting:
        one = max(fitting, key=lambda lot: ("*" not in lot.number, len(lot.number), lot.channel))
        if control.lot and control.lot != one.lot:  # a new one, which the list does not have yet
            return Known(one.level, control.lot, expiry_of(control.expires), listed=True)
        return Known(one.level, one.lot, one.expires, listed=True)
    if control.level or control.lot:
        return Known(control.level or control.number, control.lot, expiry_of(control.expires), listed=True)
    return Known(control.number, "")


def why_not(control: ControlResult, known: Known, target: TargetOf | None, day: str) -> str:
    """Why a point that was measured on this day of the site cannot be evaluated; empty: it can."""
    if control.invalid:
        return INVALID
    if not known.listed:
        return UNKNOWN
    if known.expires and day > known.expires:
        return EXPIRED
    if target is None:
        return NO_TARGET
    if not control.value.strip():
        return NO_NUMBER
    if ucum_of(target.unit) != ucum_of(control.unit):
        return OTHER_UNIT
    if target.expected:
        return ""
    figures = target.figures
    if figures is None or figures.sd <= Decimal(0):
        return NO_SD
    return "" if number_in(control.value) is not None else NO_NUMBER


def ucum_of(unit: str) -> str:
    """The code of UCUM that a spelling of a unit has in the shipped table; any other text is itself."""
    return _spellings().get(unit.strip(), unit.strip())


@cache
def _spellings() -> dict[str, str]:
    path = first_file("tables/ucum.csv", search_path(None, "mappings"))
    lines = [] if path is None else rows_in(path.read_text(encoding="utf-8"), lambda number: None)
    return {spelling: ucum for _, (spelling, ucum, *_), _ in lines}


def expiry_of(text: str) -> str:
    """A date as ``2027-06-30``; of ``20270630...`` too; empty where it is none."""
    digits = text.replace("-", "")[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).isoformat() if len(digits) == 8 else ""
    except ValueError:
        return ""
