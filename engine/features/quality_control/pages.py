"""The page of controls: failed ones first, then each test with its verdict and its last points."""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from engine.features.quality_control.rows import reading
from engine.features.quality_control.rows.reading import FailureView, PointView, TestView
from engine.model.process.clock import from_us
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_
from engine.store.queries.reader import Reader
from engine.web.cells import Cells, Row, iso
from engine.web.menu import LOOKS, RESULTS, Entry
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.words import shown
from engine.web.routes import Route

PATH = "/quality"
MENU = (Entry(PATH, "Quality control", LOOKS, 20, RESULTS, "quality"),)
POINTS = 20  # of a test, as small marks
MOST_TESTS = 200
_SIGNS = {
    "accept": ("ok", "ok", "accepted"),
    "warn": ("attention", "attention", "warning"),
    "reject": ("problem", "problem", "rejected"),
}
_WORDS = N_(("accepted", "warning", "rejected", "not evaluated", "missing", "its results wait"))
_MIDDLE, _STEP, _WIDTH, _EDGE = 14.0, 4.5, 110, 2.0  # of the small chart: two SD are nine units


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(frame.show, page=_page, found=_rows), LOOKING),)


def _page(asking: Asking) -> Page:
    return Page("quality", {})


def _rows(reader: Reader, asking: Asking) -> Values:
    cells = Cells(asking.site, asking.words.catalogue, asking.words.language)
    failures = [_failure(cells, one) for one in reading.list_failures(reader)]
    tests = [_test(cells, reader, one) for one in reading.list_tests(reader)[:MOST_TESTS]]
    return {"failures": failures, "tests": tests}


def _failure(cells: Cells, one: FailureView) -> Row:
    begun = from_us(one.from_us)
    closes = f"labrelay quality close {one.id} --cause TEXT --action TEXT --reason TEXT"
    step = f"labrelay quality sent-before {one.id}" if one.until_us or not one.repeat else closes
    return {
        "channel": one.channel,
        "test": shown(one.test),
        "since": cells.clock_time(begun),
        "iso": iso(begun),
        "level": "ok" if one.repeat else "problem",
        "icon": "ok" if one.repeat else "problem",
        "repeat": cells.say("accepted") if one.repeat else cells.say("missing"),
        "looks": str(one.looks - one.looked),
        "step": step,
    }


def _test(cells: Cells, reader: Reader, one: TestView) -> Row:
    level, icon, word = _SIGNS.get(one.verdict, ("attention", "attention", "not evaluated"))
    points = reading.list_points(reader, channel=one.channel, test=one.test, limit=POINTS)
    measured, accepted = from_us(one.measured_us), from_us(one.accepted_us) if one.accepted_us else None
    return {
        "channel": one.channel,
        "test": shown(f"{one.test} ({one.module})" if one.module else one.test),
        "level": level,
        "icon": icon,
        "verdict": cells.say(word),
        "waits": cells.say("its results wait") if one.waits else "",
        "words": ", ".join(one.z or one.why for one in reversed(points)) or "-",
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
    return [(_kind(one), round(4 + place * apart, 1), _height(one)) for place, one in enumerate(points)]


def _kind(one: PointView) -> str:
    if one.excluded:
        return "gone"
    if one.why:
        return "none"
    return "dot" if not one.rules else "out" if one.verdict == "reject" else "warn"


def _height(one: PointView) -> float:
    if not one.z:
        return 2 * _MIDDLE - _EDGE
    return round(min(2 * _MIDDLE - _EDGE, max(_EDGE, _MIDDLE - float(Decimal(one.z)) * _STEP)), 1)
