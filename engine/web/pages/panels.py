"""A feature's parts of pages of the core: of those about messages, analyzers, and deliveries that wait."""

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from aiohttp import web

from engine.actions.selection import Selection
from engine.feature import Hook
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.store.queries.reader import Reader
from engine.web.pages.frame import Asking, Channels, Frame, Values
from engine.web.pages.words import Words

Link = tuple[str, str]  # words, and an address


class Section(NamedTuple):
    """A part of a page with a template of its own, which has the values as ``section``."""

    template: str
    values: Values


class Panels:
    """The parts of one feature; each is empty unless it has one."""

    # -- one message -------------------------------------------------------------------------------------------

    def offers(self, asking: Asking, trace: Trace) -> Iterable[Link]:
        """What can be done with a message now."""
        return ()

    def neighbours(self, reader: Reader, message: int, words: Words) -> Iterable[Link]:
        """Sentences about what belongs to a message, each with its address."""
        return ()

    def remarks(self, facts: DocumentFacts) -> Iterable[str]:
        """Small print about a document: what the mapping stated of it."""
        return ()

    def test_of(self, words: Words, message: int) -> str:
        """The address that makes a mapping test of a message; empty: another feature does."""
        return ""

    async def of_message(self, frame: Frame, request: web.Request, message: int) -> Section | None:
        """What a message says, above its way; what not all may see is noted first."""
        return None

    def said_of(
        self, reader: Reader, channels: Channels, message: int, specimen: str, codes: Set[str], words: Words
    ) -> Iterable[str]:
        """Results of a message with one of these codes, of this specimen, in words. The look is noted before."""
        return ()

    # -- lists -------------------------------------------------------------------------------------------------

    def offers_of_delivery(self, asking: Asking, one: DeliveryView) -> Iterable[Link]:
        """What can be done with a delivery that waits."""
        return ()

    def page_of(self, reader: Reader, number: str, words: Words) -> str:
        """The address of the one page that a number of ours names; empty: it names none."""
        return ""

    def beside(self, reader: Reader, number: str, words: Words) -> str:
        """The address of a page about the specimen with a number, beside its messages; empty: there is none."""
        return ""

    async def before(self, frame: Frame, request: web.Request, verb: str, selection: Selection) -> Section | None:
        """What a person sees before an act on many; with ``refused``, a sentence, it is not offered."""
        return None

    # -- one analyzer ------------------------------------------------------------------------------------------

    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        return ()


PANELS: Hook[Panels] = Hook("panels")
