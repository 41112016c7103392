"""The routes of all pages."""

from collections.abc import Callable, Sequence

from engine.feature import Hook
from engine.web.pages import (
    acts,
    analyzer,
    contents,
    destination,
    doing,
    help,
    message,
    messages,
    switching,
    system,
    trying,
    waiting,
)
from engine.web.pages.frame import Frame, routes_of
from engine.web.routes import Route

OWN = routes_of(
    analyzer, destination, messages, message, contents, waiting, acts, doing, switching, system, trying, help
)
OF_FEATURES: Hook[Callable[[Frame], Sequence[Route]]] = Hook("pages")


def pages_of(frame: Frame) -> Sequence[Route]:
    return [route for routes in (OWN, *OF_FEATURES.each()) for route in routes(frame)]
