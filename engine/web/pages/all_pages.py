"""The routes of all pages."""

from collections.abc import Sequence

from engine.web.pages import (
    acts,
    codes,
    contents,
    dead_letters,
    doing,
    edit,
    held,
    message,
    messages,
    shift,
    system,
    waiting,
)
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (messages, message, dead_letters, held, codes, acts, system, doing, contents, edit, shift, waiting)


def pages_of(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
