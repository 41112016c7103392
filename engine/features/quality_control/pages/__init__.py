"""The page of controls: failed ones first, then each test with its verdict and its last points."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.quality_control.pages import chart, levey, maintenance, targets
from engine.features.quality_control.pages.chart_head import SIGNS, UNJUDGED
from engine.features.quality_control.rows import reading
from engine.features.quality_control.rows.reading import FailureView, PointView, TestView
from engine.model.process.clock import from_us
from engine.model.site.permissions import ACTING, LOOKING
from engine.model.texts.phrases import N_
from engine.monitoring.todo import Todo
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.cells import Cells, Row, iso
from engine.web.forms import Form
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

PATH = "/quality"
CLOSE, LOOK = "quality_close", "quality_look"
ENTER, ENTERED = "quality_enter", ("channel", "test", "number", "value", "unit", "reason")
MENU = (Entry(PATH, "Quality control", LOOKS, 10, LABORATORY, "quality"),)
POINTS = 20  # of a test, as small marks
MOST_TESTS, MOST_LOOKS = 200, 100
TODO = ("control-due", "control-lot", "control-unknown")
_FIRST = {"reject": 0, "not evaluated": 1, "warn": 2}
_WORDS = N_(("missing", "its results wait"))
_MIDDLE, _STEP, _WIDTH, _EDGE = 14.0, 4.5, 110, 2.0  # of the small chart: two SD are nine units


def routes(frame: Frame) -> Sequence[Route]:
    return (
        Route(PATH, partial(_show, frame), LOOKING, todo=True),
        *chart.routes(frame),
        *maintenance.routes(frame),
        *targets.routes(frame),
        *frame.forms(PATH, ENTER, _take),
    )


async def _show(frame: Frame, request: web.Request) -> web.Response:
    return await frame.show(request, partial(_page, todo=await frame.running.todo()), _rows)


def _page(asking: Asking, *, todo: Sequence[Any] = ()) -> Page:
    """``todo``: of it those that are due, and lots."""
    may_enter = asking.principal.permissions >= ACTING and ENTER in asking.may
    channels = sorted(one.name for one in asking.site.channels)
    due = [
        one.entry.phrase.say(asking.words.catalogue)
        for one in todo
        if isinstance(one, Todo) and one.entry.kind in TODO and one.entry.subject in ("", *channels)
    ]
    return Page("quality", {"may_enter": may_enter, "channels": channels, "due": due})


async def _take(frame: Frame, request: web.Request) -> web.Response:
    """A control result that no message brings, which is judged as all others; or a failed run is closed."""
    redraw = frame.again(partial(_page, todo=await frame.running.todo()), _rows)

    def go(form: Form, done: Mapping[str, Any]) -> web.Response:
        if form["act"] != "enter":
            return frame.desk.go(request, PATH)
        return frame.desk.go(request, chart.PATH, channel=form["channel"], test=form["test"])

    return await frame.take(request, _act, redraw, go)


def _act(form: Form) -> tuple[str, dict[str, Any]]:
    what, _, failure = form["act"].partition(" ")
    if what == "enter":
        return ENTER, {name: form[name] for name in ENTERED}
    if what == "look" and number(failure):
        messages = [found for name in form.fields if name[:1] == "m" and (found := number(name[1:]))]
        return LOOK, {"failure": number(failure), "messages": messages, "reason": form["reason"]}
    if what == "close" and number(failure):
        return CLOSE, {"failure": number(failure), **{name: form[name] for name in ("cause", "action", "reason")}}
    raise web.HTTPBadRequest


def _rows(reader: Reader, asking: Asking) -> Values:
    cells = Cells(asking.site, asking.words.catalogue, asking.words.language)
    failures = [_failure(cells, asking.words, reader, one) for one in reading.list_failures(reader)]
    listed = sorted(reading.list_tests(reader), key=lambda one: (not one.waits, _FIRST.get(one.verdict, 3)))
    return {"failures": failures, "tests": [_test(cells, asking.words, reader, one) for one in listed[:MOST_TESTS]]}


def _failure(cells: Cells, words: Words, reader: Reader, one: FailureView) -> Row:
    begun = from_us(one.from_us)
    closes = f"labrelay quality close {one.id} --cause TEXT --action TEXT --reason TEXT"
    step = f"labrelay quality sent-before {one.id}" if one.until_us or not one.repeat else closes
    left = [look for look in reading.list_looks(reader, one.id) if not look.looked][:MOST_LOOKS]
    return {
        "failure": one.id,
        "channel": one.channel,
        "test": shown(one.test),
        "href": words.href(chart.PATH, channel=one.channel, test=one.test, module=one.module),
        "left": [(at.message, words.href(f"/messages/{at.message}"), words.time(at.received_us)) for at in left],
        "since": cells.clock_time(begun),
        "iso": iso(begun),
        "level": "ok" if one.repeat else "problem",
        "icon": "ok" if one.repeat else "problem",
        "repeat": cells.say("accepted") if one.repeat else cells.say("missing"),
        "looks": str(one.looks - one.looked),
        "step": step,
        "closes": bool(one.repeat and not one.until_us),
    }


def _test(cells: Cells, words: Words, reader: Reader, one: TestView) -> Row:
    level, icon, word = SIGNS.get(one.verdict, UNJUDGED)
    points = reading.list_points(
        reader, channel=one.channel, test=one.test, module=one.module, by_time=True, limit=POINTS
    )
    measured, accepted = from_us(one.measured_us), from_us(one.accepted_us) if one.accepted_us else None
    return {
        "channel": one.channel,
        "test": shown(f"{one.test} ({one.module})" if one.module else one.test),
        "href": words.href(chart.PATH, channel=one.channel, test=one.test, module=one.module),
        "level": level,
        "icon": icon,
        "verdict": cells.say(word),
        "waits": cells.say("its results wait") if one.waits else "",
        "words": ", ".join(one.z or (one.why and cells.say(one.why)) or one.value for one in reversed(points)) or "-",
        "marks": marks(points[::-1]),
        "measured": cells.clock_time(measured),
        "iso": iso(measured),
        "accepted": cells.clock_time(accepted) if accepted is not None else "-",
        "accepted_iso": iso(accepted),
        "patients": str(one.patients),
    }


def marks(points: Sequence[PointView]) -> list[tuple[str, float, float]]:
    """Of a small chart: each point's kind, its place from the left, and that from above; one far out is on the edge."""
    apart = (_WIDTH - 8) / max(1, len(points) - 1)
    return [(levey.kind_of(one), round(4 + place * apart, 1), _height(one)) for place, one in enumerate(points)]


def _height(one: PointView) -> float:
    if not one.z:
        return 2 * _MIDDLE - _EDGE if one.why else _EDGE if one.rules else _MIDDLE
    return round(min(2 * _MIDDLE - _EDGE, max(_EDGE, _MIDDLE - float(Decimal(one.z)) * _STEP)), 1)
