"""The routes of the pages about orders and questions."""

from collections.abc import Sequence

from engine.features.orders.pages import acts, order, orders, questions, worklists
from engine.web.menu import LOOKS, ORDERS, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (acts, order, orders, questions, worklists)
MENU = (
    Entry("/orders", "Orders", LOOKS, 10, ORDERS),
    Entry("/questions", "Questions of analyzers", LOOKS, 20, ORDERS),
)


def routes(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
