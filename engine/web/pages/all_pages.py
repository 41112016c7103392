"""The routes of all pages."""

from collections.abc import Sequence

from engine.web.pages import dead_letters, held, message, messages
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (messages, message, dead_letters, held)


def pages_of(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
