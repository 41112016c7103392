"""The routes of the reports."""

from collections.abc import Sequence

from engine.features.reports.pages import reports, shift
from engine.web.menu import LOOKS, RESULTS, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (reports, shift)
MENU = (
    Entry("/shift", "Shift report", LOOKS, 50),
    Entry("/reports", "Reports", LOOKS, 40, RESULTS),
)


def routes(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
