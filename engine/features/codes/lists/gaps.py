"""Codes and units that are missing in the code tables."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from engine.mapping.gaps import MissingCode, still_missing
from engine.mapping.program import Program
from engine.mapping.tables import Table
from engine.model.clock import from_us
from engine.model.routes import ChannelRoutes
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


def tables_of(routes: Mapping[str, ChannelRoutes], channel: str) -> dict[str, Table]:
    """The code tables of a channel as they decide now, by name; empty where it is not in the configuration."""
    found: dict[str, Table] = {}
    for route in routes[channel].routes if channel in routes else ():
        if isinstance(route.program, Program):
            found = {**route.program.tables, **found}
    return found


def tables_now(gaps: Iterable[Gap], routes: Mapping[str, ChannelRoutes]) -> dict[tuple[str, str], Table]:
    """Those of the channels of these codes, by channel and name."""
    channels = {gap.channel for gap in gaps}
    return {(channel, name): table for channel in channels for name, table in tables_of(routes, channel).items()}


def missing_now(gaps: Sequence[Gap], routes: Mapping[str, ChannelRoutes]) -> list[Gap]:
    """Of the codes that the journal has counted, those that have no row in the tables in force, in the same order.

    A channel that is not in the configuration has no tables: nothing can be done about its codes.
    """
    gaps = [gap for gap in gaps if gap.channel in routes]
    rows = list(map(counted, gaps))
    missing = set(map(id, still_missing(rows, tables_now(gaps, routes))))
    return [gap for gap, row in zip(gaps, rows, strict=True) if id(row) in missing]


def _instant(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
