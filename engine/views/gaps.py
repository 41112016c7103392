"""Codes and units that are missing in the code tables."""

from datetime import datetime

from engine.mapping.gaps import MissingCode
from engine.model.clock import from_us
from engine.store.queries.tallies import Gap
from engine.views.view import Field, View

GAP = View[MissingCode](
    "gaps",
    Field("where", "WHERE"),
    Field("table", "TABLE"),
    Field("code", "CODE"),
    Field("unit", "UNIT"),
    Field("display", "DISPLAY"),
    Field("count", "COUNT", right=True),
    Field("first", of=lambda one: _instant(one.first)),
    Field("last", "LAST SEEN", of=lambda one: _instant(one.last)),
)


def counted(gap: Gap) -> MissingCode:
    """A gap as the daemon has counted it."""
    first, last = (from_us(at_us).isoformat(timespec="seconds") for at_us in (gap.first_us, gap.last_us))
    return MissingCode(gap.channel, gap.table, gap.code, gap.unit, gap.display, gap.n, first, last)


def _instant(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
