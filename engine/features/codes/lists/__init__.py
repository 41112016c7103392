"""The lists of this feature: their fields, as tables and JSON have them.

Corrections of code tables.

Codes and units that are missing in the code tables.

Suggestions of analyzer packs for codes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from engine.diagnostics.packs import LoincGaps
from engine.mapping.code_tables.gaps import MissingCode, still_missing
from engine.mapping.code_tables.suggestions import Suggestion
from engine.mapping.code_tables.tables import Table
from engine.mapping.program import Program
from engine.model.process.clock import from_us
from engine.model.routes import ChannelRoutes
from engine.model.site.corrections import ORDER, Correction
from engine.store.queries.tallies import Gap
from engine.views.view import Field, View, at, plural

CORRECTION = View[Correction](
    "corrections",
    Field("version", "VERSION", right=True),
    Field("at", "AT", of=at("at_us")),
    Field("by", "WHO"),
    Field("channel", "CHANNEL"),
    Field("table", "TABLE"),
    Field("key", "KEY", of=lambda one: dict(one.key), shown=lambda one: in_words(one.key)),
    Field("cells", "SAYS", of=lambda one: dict(one.cells), shown=lambda one: in_words(one.cells) or "as the files"),
    Field("covers", "FILES SAID", of=lambda one: dict(one.covers), shown=lambda one: in_words(one.covers) or "-"),
    Field("undoes", of=lambda one: one.undoes or None),
    Field("act"),
    Field("reason", "REASON"),
)


def in_words(cells: Mapping[str, str]) -> str:
    """Cells in one line, in the usual order of columns: ``loinc=718-7 unit=g/L``."""
    usual = {name: at for at, name in enumerate(ORDER)}
    names = sorted(cells, key=lambda name: (usual.get(name, len(usual)), name))
    return " ".join(f"{name}={cells[name]}" for name in names)


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


SUGGESTION = View[Suggestion](
    "suggestions",
    Field("analyzer"),
    Field("code", "CODE"),
    Field("unit_in", "UNIT"),
    Field("analyte", "ANALYTE"),
    Field("loinc", "LOINC", of=lambda one: one.loinc or None, shown=lambda one: one.loinc or "-"),
    Field("display", "MEANS"),
    Field("type"),
    Field("scale"),
    Field("ucum"),
    Field("property"),
    Field("specimen", "SPECIMEN"),
    Field("assumes", "TRUE ONLY IF"),
    Field("by", "BY"),
    Field("source", "SOURCE"),
    Field("link"),
    Field("status", "STATUS"),
)


def gap_words(gaps: LoincGaps) -> Iterator[str]:
    """What is known of the codes of a pack that have no LOINC code, one sentence a line; nothing where each has one."""
    if gaps.suggested:
        count = plural(len(gaps.suggested), "code")
        yield f"{count} without a LOINC code, with suggestions (unconfirmed): {', '.join(gaps.suggested)}"
    if gaps.unknown:
        count = plural(len(gaps.unknown), "code")
        yield f"{count} without a LOINC code, and no published source was found: {', '.join(gaps.unknown)}"
