"""The chart of one test on one analyzer, its points as a table and as CSV; and its month, one sheet to print.

A person leaves a point out here, with a cause and a reason, and takes that back. What is shown is what the file has.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from engine.features.quality_control.lists import POINT
from engine.features.quality_control.pages import levey
from engine.features.quality_control.pages.chart_head import head
from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rows.reading import PointView
from engine.features.quality_control.rules.figures import (
    QUOTIENT,
    Figures,
    bridged_sd,
    cumulative,
    figures_of,
    outliers,
)
from engine.features.quality_control.rules.westgard import number_in
from engine.model.site.permissions import ACTING, LOOKING
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.reader import Reader
from engine.views.view import cell, csv_line
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.words import Words, iso, shown
from engine.web.routes import Route

PATH, CSV, MONTH = "/quality/chart", "/quality/chart.csv", "/quality/month"
LAST = 30  # runs
LONG_TERM = timedelta(days=365)
LEAST = 20  # points of an uncertainty
LINES = (40, 24, 8, 1)  # of a sheet with one level, two, three and more
DAY_US = 86_400_000_000
_YEARS = 1970, 2999
CAUSES: dict[str, PageText] = {
    "wrong control": "wrong control",
    "short sample": "short sample",
    "clot": "clot",
    "air": "air",
    "operator": "operator",
    "other": "other",
}
NO_POINTS = N_("No control of this test was measured in this time.")
EXCLUDE, INCLUDE = "quality_exclude", "quality_include"


class Asked(NamedTuple):
    """``month``: as ``2026-03``; empty: the last runs."""

    channel: str
    test: str
    module: str
    month: str

    @property
    def named(self) -> dict[str, str]:
        return {"channel": self.channel, "test": self.test, "module": self.module}

    @property
    def title(self) -> str:
        return shown(f"{self.test} ({self.module})" if self.module else self.test)


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING),
        Route(CSV, partial(_file, frame), LOOKING),
        Route(MONTH, partial(frame.show, page=_month_page, found=_month_found), LOOKING),
        *frame.forms(PATH, EXCLUDE, _take),
    )


def _asked(asking: Asking, month: str = "") -> Asked:
    """
    Raises:
        ValueError: the address has no such month.
    """
    query = asking.query
    month = query.get("month", "") or month
    if month and not _YEARS[0] <= date.fromisoformat(f"{month}-01").year <= _YEARS[1]:
        raise ValueError(month)
    return Asked(query.get("channel", ""), query.get("test", ""), query.get("module", ""), month)


def _this_month(words: Words) -> str:
    return words.now.astimezone(words.zone).strftime("%Y-%m")


def _page(asking: Asking) -> Page:
    words, wrong = asking.words, ""
    try:
        asked = _asked(asking)
    except ValueError:
        asked, wrong = Asked("", "", "", ""), words.say("It is no month: write it as 2026-03.")
    values = {
        "asked": asked,
        "action": words.href(PATH, **asked._asdict()),
        "file": words.href(CSV, **asked._asdict()),
        "last": words.href(PATH, **asked.named),
        "month": words.href(MONTH, **asked.named, month=asked.month or _this_month(words)),
        "months": _months(asked, words, PATH),
        "may_act": asking.principal.permissions >= ACTING and EXCLUDE in asking.may,
        "causes": [(code, words.say(text)) for code, text in CAUSES.items()],
    }
    return Page("quality_chart", values, wrong)


def _months(asked: Asked, words: Words, path: str) -> list[tuple[str, str, str]]:
    """Those beside the one that is shown; before the last runs is this one."""
    this, near = _this_month(words), []
    if not asked.month:
        near = [(this, "prev")]
    else:
        first = date.fromisoformat(f"{asked.month}-01")
        near = [((first - timedelta(days=1)).strftime("%Y-%m"), "prev")]
        if asked.month < this:
            near.append(((first + timedelta(days=32)).strftime("%Y-%m"), "next"))
    return [(month, words.href(path, **asked.named, month=month), rel) for month, rel in near]


def _between(asked: Asked, words: Words) -> tuple[int | None, int | None]:
    """The first instant of a month, and the one after its last; None: no month is asked for."""
    if not asked.month:
        return None, None
    first = datetime.fromisoformat(f"{asked.month}-01").replace(tzinfo=words.zone)
    after = (first + timedelta(days=32)).replace(day=1)
    return round(first.timestamp() * 1e6), round(after.timestamp() * 1e6)


def _points(reader: Reader, asked: Asked, words: Words) -> list[PointView]:
    """Oldest first: those of the month, or of the last runs."""
    since_us, until_us = _between(asked, words)
    found = reading.list_points(
        reader, channel=asked.channel, test=asked.test, module=asked.module, since_us=since_us, until_us=until_us,
        by_time=True, limit=reading.MOST_POINTS if asked.month else LAST * 10,
    )[::-1]  # fmt: skip
    if asked.month:
        return found
    runs = list(dict.fromkeys(one.run for one in found))[-LAST:]
    return [one for one in found if one.run in runs]


def _found(reader: Reader, asking: Asking, *, sheet: bool = False) -> Values | Gone:
    """``sheet``: its charts have room on one sheet of paper."""
    words = asking.words
    asked = _asked(asking, _this_month(words) if sheet else "")
    points = _points(reader, asked, words)
    if not points:
        return Gone(words.say(NO_POINTS))
    events = reading.list_events(
        reader, asked.channel, asked.test, points[0].measured_us, max(points[-1].measured_us, asking_us(words))
    )
    levels, far = dict.fromkeys(one.level for one in points), _far(points)
    height = levey.HEIGHT if not sheet else (150, 150, 100, 66)[min(len(levels), 4) - 1]
    long_term = reading.list_points(
        reader, channel=asked.channel, test=asked.test, module=asked.module, by_time=True, limit=reading.MOST_POINTS,
        since_us=points[-1].measured_us - round(LONG_TERM.total_seconds() * 1e6), until_us=points[-1].measured_us + 1,
    )  # fmt: skip
    rows = [_row(one, words, is_far=one.id in far) for one in reversed(points)]
    targets = {one.id: one for one in reading.list_targets(reader, asked.channel, closed=True)}
    lots = {(one.level, one.lot): one.expires for one in reading.list_lots(reader, asked.channel)}
    return {
        "head": head(reader, PATH, (asked.channel, asked.module, asked.test), points, words),
        "looks": [one for one in rows if one["kind"] != "dot" or one["far"]],
        "all": words.say("All {n} points as a table", n=len(rows)),
        "levels": [
            _level(level, mine, events, long_term, words, height)
            | {"target": _target(mine[-1], targets.get(mine[-1].target), lots, words)}
            for level in levels
            if (mine := [one for one in points if one.level == level])
        ],
        "events": [
            (levey.LETTERS[one.kind], words.say(levey.KINDS[one.kind]), words.time(one.at_us)) for one in events
        ],
        "rows": rows,
        "legend": [(kind, words.say(text)) for kind, text in levey.WORDS.items()],
    }


def asking_us(words: Words) -> int:
    return round(words.now.timestamp() * 1e6)


def _level(
    level: str,
    points: Sequence[PointView],
    events: Sequence[reading.EventView],
    long_term: Sequence[PointView],
    words: Words,
    height: int,
) -> dict[str, Any]:
    said = words.say("Level {level}: {n} points; each is a row of the table below.", level=level, n=len(points))
    return {
        "level": shown(level),
        "chart": levey.levey(said, points, events, words.time, words.say, height=height),
        "figures": _of_lots(points, words),
        "uncertainty": _uncertainty(level, points[-1].lot, long_term, words),
    }


def _target(
    newest: PointView, target: reading.TargetView | None, lots: Mapping[tuple[str, str], str], words: Words
) -> str:
    """Of the newest point: its lot with its end, and its target with its source and since when it is in force."""
    if not newest.mean or target is None:
        return ""
    if newest.sd:
        said = words.say(
            "lot {lot}, mean {mean}, SD {sd} {unit}", lot=newest.lot, mean=newest.mean, sd=newest.sd, unit=target.unit
        )
    else:
        said = words.say("lot {lot}, expected: {value}", lot=newest.lot, value=newest.mean)
    ends = lots.get((newest.level, newest.lot), "")
    expires = [f"{words.say('Expires')}: {ends}"] if ends else []
    source = f"{words.say('Source')}: {target.source}, {words.time(target.from_us)[:10]}"
    return " · ".join([said, *expires, source])


def _of_lots(points: Sequence[PointView], words: Words) -> list[list[tuple[str, str]]]:
    """The figures of each lot, the newest first: two lots have no mean together, and two units have none."""
    of: dict[tuple[str, str], list[PointView]] = {}
    for one in reversed(points):
        of.setdefault((one.lot, one.unit), []).append(one)
    found = []
    for (lot, unit), mine in of.items():
        name = [(words.say("Lot"), shown(f"{lot} {unit}".strip()))] if len(of) > 1 else []
        found.append([*name, *_figures(mine, mine[0], words)])
    return found


def _values(points: Sequence[PointView]) -> list[tuple[PointView, Decimal]]:
    """Of all points that count: those that a rule rejected are among them, else the SD shrinks step by step."""
    return [
        (one, value) for one in points if one.z and not one.excluded and (value := number_in(one.value)) is not None
    ]


def _numbers(points: Sequence[PointView]) -> Figures | None:
    return figures_of([value for _, value in _values(points)])


def _far(points: Sequence[PointView]) -> set[int]:
    """The points that are far from the others of their level and lot: a person looks whether one is left out."""
    of: dict[tuple[str, str], list[tuple[PointView, Decimal]]] = {}
    for one, value in _values(points):
        of.setdefault((one.level, one.lot), []).append((one, value))
    return {found[place][0].id for found in of.values() for place in outliers([value for _, value in found])}


def _long_term(points: Sequence[PointView], words: Words) -> Figures | None:
    """Of the months together."""
    months: dict[str, list[Decimal]] = {}
    for one, value in _values(points):
        months.setdefault(words.time(one.measured_us)[:7], []).append(value)
    return cumulative([found for values in months.values() if (found := figures_of(values)) is not None])


def _figures(points: Sequence[PointView], newest: PointView, words: Words) -> list[tuple[str, str]]:
    counts = [
        (words.say("rejected"), str(sum(levey.kind_of(one) == "out" for one in points))),
        (words.say("left out"), str(sum(bool(one.excluded) for one in points))),
        (words.say("not evaluated"), str(sum(bool(one.why) for one in points))),
    ]
    if newest.mean and not newest.sd:
        return [("n", str(len(points))), *counts]
    found = _numbers(points)
    mean = number_in(newest.mean)
    bias = None
    if found is not None and mean:
        bias = QUOTIENT.divide(QUOTIENT.multiply(QUOTIENT.subtract(found.mean, mean), 100), abs(mean))
    return [
        ("n", str(found.n if found else 0)),
        (words.say("Mean"), _rounded(found and found.mean)),
        ("SD", _rounded(found and found.sd)),
        ("CV %", _rounded(found and found.cv_percent)),
        (words.say("Bias %"), _rounded(bias)),
        *counts,
    ]


def _uncertainty(level: str, lot: str, long_term: Sequence[PointView], words: Words) -> str:
    """From the long-term CV of this lot (ISO 15189:2022 7.3.4): twice that, with its number of points and its dates.

    Of one with few points the SD that the CV of the lot before gives: that of few points is too small.
    """
    of_level = [one for one in long_term if one.level == level]  # the newest first
    points = [one for one in of_level if one.lot == lot]
    if points and points[0].mean and not points[0].sd:
        return ""  # qualitative
    found = _long_term(points, words)
    if found is None or found.n < LEAST or found.cv_percent is None:
        other = next((one.lot for one in of_level if one.lot != lot), "")
        before = _long_term([one for one in of_level if one.lot == other], words)
        here = _numbers(points)
        if here is not None and before is not None and before.n >= LEAST and before.cv_percent is not None:
            sd = _rounded(bridged_sd(here.mean, before.cv_percent))
            return words.say("Interim SD by the CV of lot {lot}: {sd}", lot=other, sd=sd)
        return words.say("Uncertainty: at least {n} points of this lot are needed.", n=LEAST)
    counted = [one.measured_us for one, _ in _values(points)]
    return words.say(
        "Uncertainty (k = 2): {u} %, from a CV of {cv} %, n = {n}, {since} to {until}",
        u=_rounded(QUOTIENT.multiply(found.cv_percent, 2)),
        cv=_rounded(found.cv_percent),
        n=found.n,
        since=words.time(min(counted))[:10],
        until=words.time(max(counted))[:10],
    )


def _rounded(value: Any) -> str:
    """For people: four digits."""
    return "-" if value is None else f"{value:.4g}"


def _row(one: PointView, words: Words, *, is_far: bool) -> dict[str, Any]:
    kind = levey.kind_of(one)
    return {
        "point": one.id,
        "kind": kind,
        "measured": words.time(one.measured_us),
        "iso": iso(one.measured_us),
        "level": shown(one.level),
        "lot": shown(one.lot),
        "value": f"{shown(one.value)} {shown(one.unit)}".strip(),
        "z": levey.short(one.z),
        "state": words.say(levey.WORDS[kind]),
        "why": (one.why and words.say(one.why)) or one.rules,
        "cause": words.say(CAUSES[one.excluded]) if one.excluded in CAUSES else one.excluded,
        "far": words.say("far from the others") if is_far else "",
        "excluded": bool(one.excluded),
        "run": one.run,
        "href": words.href(f"/messages/{one.message}") if one.message else "",
    }


# -- the file, the month, the forms --------------------------------------------------------------------------------


async def _file(frame: Frame, request: web.Request) -> web.Response:
    """The points that the page shows, as CSV: the columns of `labrelay quality points -o csv`."""
    asking = frame.asking(request)
    try:
        asked = _asked(asking)
    except ValueError:
        raise web.HTTPBadRequest from None
    rows = (await frame.read(_points, asked, asking.words))[::-1]
    lines = [",".join(field.name for field in POINT.columns)]
    lines += [csv_line(cell(field.cell(one)) for field in POINT.columns) for one in rows]
    headers = {hdrs.CONTENT_DISPOSITION: 'attachment; filename="controls.csv"'}
    return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/csv", headers=headers)


def _month_page(asking: Asking) -> Page:
    words = asking.words
    page = _page(asking)
    month = asking.query.get("month", "") or _this_month(words)
    made = f"LabRelay {asking.site.version} · {asking.site.timezone} · {words.time(asking_us(words))}"
    chart = words.href(PATH, **page.values["asked"].named, month=month)
    months = [] if page.wrong else _months(page.values["asked"]._replace(month=month), words, MONTH)
    more = {"month": month, "made": made, "chart": chart, "months": months}
    return Page("quality_month", {**page.values, **more}, page.wrong)


def _month_found(reader: Reader, asking: Asking) -> Values | Gone:
    """With as many lines as a sheet has room for: those of rejected points and those left out before all others."""
    found = _found(reader, asking, sheet=True)
    if isinstance(found, Gone):
        return found
    of: dict[str, list[str]] = {"out": [], "gone": [], "event": [], "warn": []}
    for one in found["rows"]:
        said = (one["measured"][5:16], one["level"], one["value"], f"{one['state']} {one['why']}", one["cause"])
        of.get(one["kind"], []).append(" · ".join(filter(None, said)))
    of["event"] = [f"{letter} {words}, {at[5:16]}" for letter, words, at in found["events"]]
    lines = [line for kind in of.values() for line in kind]
    room = LINES[min(len(found["levels"]), len(LINES)) - 1]
    return {**found, "listed": lines[:room], "more": len(lines[room:])}


async def _take(frame: Frame, request: web.Request) -> web.Response:
    query = {name: value for name, value in _asked(frame.asking(request))._asdict().items() if value}
    redraw = frame.again(_page, _found)
    return await frame.take(request, _act, redraw, lambda form, done: frame.desk.go(request, PATH, **query))


def _act(form: Form) -> tuple[str, dict[str, Any]]:
    name, _, of = form["act"].partition(" ")
    point = number(of)
    if name not in ("exclude", "include") or not point:
        raise web.HTTPBadRequest
    asked = {"point": point, "reason": form["reason"]}
    return (INCLUDE, asked) if name == "include" else (EXCLUDE, {**asked, "cause": form["cause"]})


assert set(CAUSES) == set(deciding.CAUSES)
