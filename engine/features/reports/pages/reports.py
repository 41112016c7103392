"""The reports on a period, to read, to print and as files; they name no patient (docs/reports.md)."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.reports import lists
from engine.features.reports.rows.reading import counted_to
from engine.features.reports.rules import ResultCounts, Stage
from engine.model.process.clock import from_us
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText, Span
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import hours_between
from engine.views.charts import bars, curves, heat
from engine.views.text import cell, csv_line
from engine.web.asked import Asked as Address
from engine.web.cells import Fact
from engine.web.pages.filters import known
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped
from engine.web.routes import Route

PATH, CSV = "/reports", "/reports.csv"
NAMES = ("from", "until", "by", "channel")
ROWS_BY: dict[str, PageText] = {lists.CHANNEL: "Analyzer", lists.TEST: "Test", lists.DAY: "Day"}
STAGE_WORDS: dict[str, PageText] = {
    "collected-resulted": "collected to result",
    "resulted-received": "result to receipt",
    "received-delivered": "receipt to delivery",
    "collected-delivered": "collected to delivery",
}
COUNTING = N_("Messages whose results are not counted yet: {n}; not delivered yet: {m}.")
WEEKDAYS = N_(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
MONTHS = N_(("This month", "The month before"))
DID_NOT_RUN = N_("LabRelay did not run")
STATE_WORDS = {
    **{("channel", one.value): one.words for one in ChannelState},
    **{("destination", one.value): one.words for one in DestinationState},
    ("labrelay", "not_running"): DID_NOT_RUN,
}
TITLES: dict[str, PageText] = {
    "volume": "Volume",
    "turnaround": "Turnaround",
    "utilisation": "Use of analyzers",
    "downtime": "Downtime",
    "unmapped": "Unmapped codes",
}
MOST = 400  # rows of a table; the file has all


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING),
        Route(CSV, partial(_file, frame), LOOKING),
    )


async def _file(frame: Frame, request: web.Request) -> web.Response:
    """One report as CSV: the columns of `labrelay report -o csv`."""
    asking = frame.asking(request)
    name = request.query.get("report", "")
    try:
        asked = _asked(asking)
        report = lists.REPORTS[name]
    except (ValueError, KeyError):
        raise web.HTTPBadRequest from None
    by = asked.by if asked.by in report.by else next(iter(report.by), "")
    rows = await frame.read(report.read, asked._replace(by=by))
    lines = [",".join(field.name for field in report.view.columns)]
    lines += [csv_line(cell(field.cell(one)) for field in report.view.columns) for one in rows]
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.csv"'}
    return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/csv", headers=headers)


def _asked(asking: Asking) -> lists.Asked:
    """
    Raises:
        ValueError: the address has no such period; with the sentence for people.
    """
    words = asking.words
    address = _address(asking)
    today = lists.today_in(words.zone, int(words.now.timestamp() * 1e6))
    period = lists.period_of(address.get("from"), address.get("until"), today)
    by = address.get("by") or lists.CHANNEL
    return lists.Asked(period, by if by in lists.BY else lists.CHANNEL, address.get("channel"), words.zone)


def _address(asking: Asking) -> Address:
    return Address.of(PATH, asking.words.language, asking.query, NAMES)


def _page(asking: Asking) -> Page:
    words, site, address = asking.words, asking.site, _address(asking)
    wrong, period, heading = "", "", ""
    try:
        asked = _asked(asking)
        period, heading = " - ".join(asked.period.days), words.say(ROWS_BY[asked.by])
    except ValueError as error:
        wrong = words.say(str(error))
    values = {
        "asked": address,
        "period": period,
        "heading": heading,
        "made": f"LabRelay {site.version} · {site.timezone} · {words.time(int(site.now.timestamp() * 1e6))}",
        "by": [(name, words.say(label)) for name, label in ROWS_BY.items() if name != lists.CHANNEL],
        "channels": known([one.name for one in site.channels], address.get("channel")),
        "months": _months(words),
        "files": [
            (f"{words.say(title)} (CSV)", words.href(CSV, report=name, **address.values))
            for name, title in TITLES.items()
        ],
        "rows": {},
    }
    return Page("reports", values, wrong)


def _months(words: Words) -> list[tuple[str, str]]:
    """This month and the one before: words and address."""
    today = lists.today_in(words.zone, int(words.now.timestamp() * 1e6))
    this = lists.Period(today.replace(day=1), today)
    before = lists.period_of(None, (this.first - timedelta(days=1)).isoformat(), today)
    return [
        (words.say(text), words.href(PATH, **{"from": str(one.first), "until": str(one.last)}))
        for text, one in zip(MONTHS, (this, before), strict=True)
    ]


def _found(reader: Reader, asking: Asking) -> Values:
    asked, words = _asked(asking), asking.words
    results = lists.Results(reader, asked)
    rows: dict[str, list[dict[str, Any]]] = {
        "volume": [
            {
                "place": _place(one, asked.by),
                **{
                    name: "-" if one.place.code else grouped(one.counters.get(name, 0))
                    for name in ("received", "delivered", "dead", "held", "ordered")
                },
                "results": grouped(one.results.results),
                "final": grouped(one.results.final),
            }
            for one in lists.volume(reader, asked, results)
        ],
        "turnaround": [
            {
                "place": _place(one, asked.by),
                "stage": words.say(STAGE_WORDS[one.stage]),
                "count": grouped(one.times.count),
                "times": [_time(one.times, percent, words) for percent in (50, 90, 95)],
                "missing": grouped(one.times.missing),
                "impossible": grouped(one.times.impossible),
            }
            for one in lists.turnaround(reader, asked, results)
        ],
        "utilisation": [
            {
                "place": " ".join(filter(None, one.place)),
                "seen": one.seen / 12,
                "busy": one.busy / 12,
                "percent": "-" if one.percent is None else f"{one.percent} %",
            }
            for one in lists.utilisation(reader, asked)
        ],
        "downtime": [
            {
                "place": name or "LabRelay",
                "state": words.say(STATE_WORDS.get((kind, state), state)),
                "times": grouped(times),
                "lasted": Span(seconds).say(words.catalogue),
            }
            for (kind, name, state), (times, seconds) in lists.hours_down(lists.downtime(reader, asked)).items()
        ],
        "unmapped": [
            {"place": " ".join(filter(None, one.place)), "results": grouped(one.results)}
            for one in lists.unmapped(reader, asked, results)
        ],
    }
    left, open_ = counted_to(reader)
    return {
        **_charts(reader, asked, words),
        "rows": {name: found[:MOST] for name, found in rows.items()},
        "more": any(len(found) > MOST for found in rows.values()),
        "counting": words.say(COUNTING, n=grouped(left), m=grouped(open_)),
    }


def _charts(reader: Reader, asked: lists.Asked, words: Words) -> Values:
    """Turnaround and results by day, when the messages come, and figures of the whole period."""
    by_day = lists.Results(reader, asked._replace(by=lists.DAY)).places
    first, last = asked.period
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    found = [by_day.get(lists.Place(day=day), ResultCounts()) for day in days]
    whole = ResultCounts()
    for one in found:
        whole.add(one)
    names, every = [day[5:] for day in days], max(1, len(days) // 8)
    stages = [one.stages["collected-delivered"] for one in found]
    minutes = [[None if (s := one.percentile_s(p)) is None else s // 60 for one in stages] for p in (50, 90)]
    heads = (words.say("Day"), words.say("Median"), "90 %")
    results = [one.results for one in found]
    grid = [[0] * 24 for _ in WEEKDAYS]
    for hour in hours_between(reader, *asked.period.ends_us(words.zone)):
        if asked.channel in (None, hour.channel):
            begins = from_us(hour.begins_us).astimezone(words.zone)
            grid[begins.weekday()][begins.hour] += hour.received
    of_all = whole.stages["collected-delivered"]
    said = words.say("Turnaround by day")
    hours = [f"{hour:02}" for hour in range(24)]
    return {
        "figures": [
            Fact(f"{words.say('Turnaround')}: {words.say('Median')}", _time(of_all, 50, words)),
            Fact(f"{words.say('Turnaround')}: 90 %", _time(of_all, 90, words)),
            Fact(words.say("Results"), grouped(whole.results)),
            Fact(words.say("Final results"), grouped(whole.final)),
        ],
        "turnaround": curves(said, heads, names, minutes, every=every) if of_all.count else None,
        "by_day": bars(words.say("Results by day"), (heads[0], words.say("Results")), names, results, every=every)
        if whole.results
        else None,
        "by_hour": heat(
            words.say("When the work comes"),
            (words.say("Hour"), *hours),
            [words.say(day) for day in WEEKDAYS],
            grid,
        )
        if any(map(any, grid))
        else None,
    }


def _place(one: Any, by: str) -> str:
    day, channel, code = one.place
    return str(
        {lists.CHANNEL: channel or "-", lists.DAY: day, lists.TEST: f"{channel} {code}"}[by]
    )  # -: orders of no channel


def _time(stage: Stage, percent: int, words: Words) -> str:
    seconds = stage.percentile_s(percent)
    return "-" if seconds is None else Span(seconds).say(words.catalogue)
