"""The routes of the pages about orders and questions."""

from engine.features.orders.pages import acts, order, orders, questions, worklists
from engine.web.menu import LOOKS, ORDERS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(acts, order, orders, questions, worklists)
MENU = (
    Entry("/orders", "Orders", LOOKS, 10, ORDERS),
    Entry("/questions", "Questions of analyzers", LOOKS, 20, ORDERS),
)
