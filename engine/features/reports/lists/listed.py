"""The reports on a period, as the API reads them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.features.reports import lists
from engine.features.reports.lists import BY, REPORTS, period_of, today_in
from engine.model.errors import ProblemError
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Nothing, Word, one_of

Day = Annotated[str, Field(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$", examples=["2026-03-01"])]


class Report(Nothing):
    first: Day | None = Field(None, description="The first day, in the site's zone; else that of the month of `last`.")
    last: Day | None = Field(None, description="The last day, included; else today.")
    by: Annotated[str, one_of(BY), Field(json_schema_extra={"enum": [*BY]})] | None = Field(
        None, description="A row for each of these, of an analyzer where it is a test; not every report has each."
    )
    channel: Word | None = None


def _report(name: str) -> Callable[[Asked[Report]], Sequence[Any]]:
    report = REPORTS[name]

    def rows(asked: Asked[Report]) -> Sequence[Any]:
        given, zone = asked.arguments, asked.sources.zone
        wrong = "by" if given.by is not None and given.by not in report.by else ""
        try:
            period = period_of(given.first, given.last, today_in(zone, asked.now_us))
            if wrong:
                raise ValueError(f"this report is by {', '.join(report.by)}" if report.by else "this report is a list")
        except ValueError as error:
            errors = [{"parameter": wrong or "last", "detail": str(error)}]
            raise ProblemError("arguments", f"wrong: {wrong or 'first, last'}", errors=errors) from None
        wanted = lists.Asked(period, given.by or next(iter(report.by), ""), given.channel, zone, asked.sources.shifts())
        return report.read(asked.journal, wanted)

    rows.__name__ = f"{name}_report"
    return rows


LISTS = tuple(
    Resource(
        f"/reports/{name}",
        f"the report on {what} of some days (docs/reports.md)",
        _report(name),
        REPORTS[name].view,
        place=80,
    )
    for name, what in {
        "volume": "messages and results",
        "turnaround": "turnaround times",
        "utilisation": "the use of analyzers",
        "downtime": "downtime",
        "unmapped": "results whose code no table had",
        "callback": "the time from critical values to those who took them",
        "calls": "critical values, first those that no person took",
    }.items()
)
