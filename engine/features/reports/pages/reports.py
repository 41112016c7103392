"""The reports on a period, to read, to print and as files; they name no patient (docs/reports.md)."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.features.reports import lists
from engine.features.reports.rows.reading import counted_to
from engine.features.reports.rules import ResultCounts, Stage
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText, Span
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.store.queries.reader import Reader
from engine.views.charts import bars, curves, heat
from engine.views.view import cell, csv_line
from engine.web.asked import Asked as Address
from engine.web.cells import Fact
from engine.web.pages.filters import known
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, grouped
from engine.web.routes import Route

PATH, CSV = "/reports", "/reports.csv"
NAMES = ("from", "until", "by", "channel")
ROWS_BY: dict[str, PageText] = {lists.CHANNEL: "Analyzer", lists.TEST: "Test", lists.DAY: "Day"}
ROWS_BY |= {lists.SHIFT: "Shift", lists.MONTH: "Month"}
COUNTED_BY = (lists.CHANNEL, lists.DAY, lists.TEST)  # rows that counts have
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
    "callback": "Callback of critical values",
    "calls": "Critical values",
}
NOTES = {
    "volume": N_("Final results: the first of each specimen and test. Controls are not counted."),
    "turnaround": N_(
        "Of final results alone. One that lacks one of the two times, or has impossible ones, is in no median. Rounded"
        " down: seconds, minutes, from a day on hours."
    ),
    "utilisation": N_(
        "Parts of five minutes with a message, of those in which LabRelay ran and the channel was not paused."
    ),
    "callback": N_("From a critical value to the person who took it. One that no person took counts as the longest."),
    "calls": N_("First those that no person took, then the newest. The audit trail has the act."),
    "downtime": N_("LabRelay looks every half minute. Pauses by a person and expected downtime are here, too."),
}
COUNTS = ("received", "delivered", "dead", "held", "ordered")
HEADS: dict[str, Sequence[PageText]] = {
    "volume": N_(("Analyzer", "Received", "Delivered", "Dead", "Held back", "Orders", "Results", "Final results")),
    "turnaround": (*N_(("Analyzer", "Stage", "Count", "Median")), "90 %", "95 %", *N_(("No time", "Impossible times"))),
    "utilisation": (*N_(("Analyzer", "Hours seen", "Hours with messages")), "%"),
    "downtime": N_(("Name", "State", "How often", "How long")),
    "unmapped": N_(("Analyzer", "Results")),
    "callback": (
        *N_(("Shift", "Critical values", "Taken", "Not taken", "Within 30 min")),
        *("%", *N_(("Median",)), "90 %"),
    ),
    "calls": N_(("Message", "Analyzer", "Since", "How long", "Critical no more", "Act")),
}
OF_WORDS = N_(
    ("Stage", "State", "Analyzer", "Since", "Critical no more")
)  # the other columns behind the first: numbers
DELIVERED = "collected-delivered"
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
    by = by if by in lists.BY else lists.CHANNEL
    return lists.Asked(period, by, address.get("channel"), words.zone, asking.shifts)


def _address(asking: Asking) -> Address:
    return Address.of(PATH, asking.words.language, asking.query, NAMES)


def _page(asking: Asking) -> Page:
    words, site, address = asking.words, asking.site, _address(asking)
    wrong, period = "", ""
    try:
        asked = _asked(asking)
        period = " - ".join(asked.period.days)
    except ValueError as error:
        wrong = words.say(str(error))
    values = {
        "asked": address,
        "period": period,
        "made": f"LabRelay {site.version} · {site.timezone} · {words.time(int(site.now.timestamp() * 1e6))}",
        "by": [(name, words.say(label)) for name, label in ROWS_BY.items() if name != lists.CHANNEL],
        "channels": known([one.name for one in site.channels], address.get("channel")),
        "months": _months(words),
        "files": [
            (f"{words.say(title)} (CSV)", words.href(CSV, report=name, **address.values))
            for name, title in TITLES.items()
        ],
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
    whole, words = _asked(asking), asking.words
    asked = whole if whole.by in COUNTED_BY else whole._replace(by=lists.CHANNEL)
    if whole.by not in lists.REPORTS["callback"].by:
        whole = whole._replace(by=lists.SHIFT)
    results = lists.Results(reader, asked)
    say, heading = words.say, {"callback": words.say(ROWS_BY[whole.by])}
    heading |= dict.fromkeys(("volume", "turnaround"), words.say(ROWS_BY[asked.by]))
    rows: dict[str, list[Sequence[str]]] = {
        "volume": [
            (
                _place(one, asked.by),
                *("-" if one.place.code else grouped(one.counters.get(name, 0)) for name in COUNTS),
                grouped(one.results.results),
                grouped(one.results.final),
            )
            for one in lists.volume(reader, asked, results)
        ],
        "turnaround": [
            (
                _place(one, asked.by),
                say(STAGE_WORDS[one.stage]),
                grouped(one.times.count),
                *(_time(one.times, percent, words) for percent in (50, 90, 95)),
                grouped(one.times.missing),
                grouped(one.times.impossible),
            )
            for one in lists.turnaround(reader, asked, results)
        ],
        "utilisation": [
            (
                " ".join(filter(None, one.place)),
                f"{one.seen / 12:.1f}",
                f"{one.busy / 12:.1f}",
                "-" if one.percent is None else f"{one.percent} %",
            )
            for one in lists.utilisation(reader, asked)
        ],
        "downtime": [
            (name or "LabRelay", say(STATE_WORDS.get((kind, state), state)), grouped(n), Span(s).say(words.catalogue))
            for (kind, name, state), (n, s) in lists.hours_down(lists.downtime(reader, asked)).items()
        ],
        "unmapped": [
            (" ".join(filter(None, one.place)), grouped(one.results)) for one in lists.unmapped(reader, asked, results)
        ],
    }
    rows |= _calls(reader, whole, words)
    left, open_ = counted_to(reader)
    return {
        **_charts(reader, asked, words),
        "tables": [
            (
                say(TITLES[name]),
                say(NOTES[name]) if name in NOTES else "",
                [heading.get(name) or say(HEADS[name][0])]
                + [(say(head), "" if head in OF_WORDS else "number") for head in HEADS[name][1:]],
                found[:MOST],
            )
            for name, found in rows.items()
        ],
        "more": any(len(found) > MOST for found in rows.values()),
        "counting": say(COUNTING, n=grouped(left), m=grouped(open_)),
    }


def _calls(reader: Reader, asked: lists.Asked, words: Words) -> dict[str, list[Sequence[str]]]:
    """The two tables of critical values."""
    return {
        "callback": [
            (
                lists.about(one.place),
                *map(grouped, (one.times.count, one.times.taken, one.times.never, one.times.within)),
                "-" if one.times.percent_within is None else f"{one.times.percent_within} %",
                *(_span(one.times.percentile_s(percent), words) for percent in (50, 90)),
            )
            for one in lists.callback(reader, asked)
        ],
        "calls": [
            (
                str(one.message),
                one.channel,
                words.time(one.seen_us),
                _span(one.seconds, words),
                words.time(one.over_us) if one.over_us else "-",
                str(one.act or "-"),
            )
            for one in lists.calls(reader, asked)
        ],
    }


def _charts(reader: Reader, asked: lists.Asked, words: Words) -> Values:
    """Turnaround and results by day, when the messages come, and figures of the whole period."""
    found, say = lists.by_day(reader, asked), words.say
    names, every, whole = [day[5:] for day in found], max(1, len(found) // 8), ResultCounts()
    for one in found.values():
        whole.add(one)
    stages, of_all = [one.stages[DELIVERED] for one in found.values()], whole.stages[DELIVERED]
    minutes = [[None if (s := one.percentile_s(p)) is None else s // 60 for one in stages] for p in (50, 90)]
    results, grid = [one.results for one in found.values()], lists.by_hour(reader, asked)
    day, count, came = say("Day"), say("Results"), say("When the work comes")
    hours, days = [f"{hour:02}" for hour in range(24)], [say(day) for day in WEEKDAYS]
    lines = curves(say("Turnaround by day"), (day, say("Median"), "90 %"), names, minutes, every=every)
    return {
        "figures": [
            Fact(f"{say('Turnaround')}: {say('Median')}", _time(of_all, 50, words)),
            Fact(f"{say('Turnaround')}: 90 %", _time(of_all, 90, words)),
            Fact(count, grouped(whole.results)),
            Fact(say("Final results"), grouped(whole.final)),
        ],
        "turnaround": lines if of_all.count else None,
        "by_day": bars(say("Results by day"), (day, count), names, results, every=every) if whole.results else None,
        "by_hour": heat(came, (say("Hour"), *hours), days, grid) if any(map(any, grid)) else None,
    }


def _place(one: Any, by: str) -> str:
    day, channel, code, _ = one.place
    return str(
        {lists.CHANNEL: channel or "-", lists.DAY: day, lists.TEST: f"{channel} {code}"}[by]
    )  # -: orders of no channel


def _time(stage: Stage, percent: int, words: Words) -> str:
    return _span(stage.percentile_s(percent), words)


def _span(seconds: int | None, words: Words) -> str:
    return "-" if seconds is None else Span(seconds).say(words.catalogue)
