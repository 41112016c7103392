"""The routes of the pages about ABDM."""

from collections.abc import Sequence

from engine.features.abdm.pages import abdm, acts, consent, context, listed
from engine.web.menu import LOOKS, RESULTS, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (abdm, acts, consent, context, listed)
MENU = (Entry("/abdm", "ABDM", LOOKS, 70, RESULTS),)


def routes(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
