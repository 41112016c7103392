"""The pages of this feature.

The routes of the pages about ABDM.

Parts of pages of the core: the care contexts of a message.
"""

from collections.abc import Iterator

from engine.features.abdm.pages import abdm, acts, consent, context, listed
from engine.features.abdm.pages.context import TITLE
from engine.features.abdm.pages.listed import CONTEXT
from engine.features.abdm.rows.lists import of_message
from engine.store.queries.reader import Reader
from engine.web.menu import LABORATORY, LOOKS, Entry
from engine.web.pages.frame import routes_of
from engine.web.pages.panels import Link, Panels
from engine.web.pages.words import Words

routes = routes_of(abdm, acts, consent, context, listed)
MENU = (Entry("/abdm", "ABDM", LOOKS, 70, LABORATORY, "user"),)


class _Panels(Panels):
    def neighbours(self, reader: Reader, message: int, words: Words) -> Iterator[Link]:
        """The care contexts of which it is the newest version."""
        for one in of_message(reader, message):
            yield words.say(TITLE, n=one), words.href(CONTEXT, number=one)


PANELS = _Panels()
