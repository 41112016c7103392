"""The routes of the pages about codes."""

from collections.abc import Sequence

from engine.features.codes.pages import codes, correct
from engine.web.menu import CODES, LOOKS, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (codes, correct)
MENU = (Entry("/codes", "Unmapped codes", LOOKS, 10, CODES),)


def routes(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
