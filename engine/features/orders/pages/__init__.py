"""The pages of this feature.

The routes of the pages about orders and questions.

Parts of pages of the core: the order that a number names, the tube of a number, the orders of an analyzer.
"""

from collections.abc import Sequence

from engine.features.orders.pages import acts, order, orders, questions, reflexes, worklists
from engine.features.orders.pages.orders import ONE, of_analyzer, worklist_of
from engine.features.orders.rows import reading
from engine.model.orders import item_id, item_number
from engine.store.queries.reader import Reader
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import Asking, routes_of
from engine.web.pages.panels import Panels, Section
from engine.web.pages.words import Words

routes = routes_of(acts, order, orders, questions, reflexes, worklists)
MENU = (
    Entry("/orders", "Orders", LOOKS, 40, icon="orders"),
    Entry("/questions", "Questions of analyzers", LOOKS, 60, LABORATORY, "find"),
)


class _Panels(Panels):
    def page_of(self, reader: Reader, number: str, words: Words) -> str:
        order = item_number(number.upper())
        return words.href(ONE, item=item_id(order)) if order and reading.item(reader, order) is not None else ""

    def beside(self, reader: Reader, number: str, words: Words) -> str:
        found = reading.tube(reader, number, limit=1)
        if found.items:
            return words.href(ONE, item=found.items[-1].item.item_id)
        if not found.questions:
            return ""
        query = found.questions[-1].query
        return words.href(ONE, question=query, tube=reading.place_in_query(reader, query, number))

    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        orders = of_analyzer(reader, channel, asking.words, asking.site)
        return [Section("orders_of_analyzer.html", {"rows": orders, "sheet": worklist_of(asking, channel)})]


PANELS = _Panels()
