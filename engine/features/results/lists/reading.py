"""What messages say of their results and of whom, read anew by the readers of their channels, each message once."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from engine.mapping.measured import Reading, told_in
from engine.model.content.facts import Order, Person
from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result
from engine.model.errors import ContentError, StoreError
from engine.model.message import Parsed
from engine.model.routes import ChannelRoutes, Program, context_of
from engine.store.queries.reader import Reader, stored_message

MOST_KEPT = 40  # messages

Told = tuple[Person, Order, Fact, Sequence[Result]]


class Readings:
    """For what is asked at once. Its programs have caches of their own, for another thread maps with the others."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._asides: dict[int, tuple[Program, Program]] = {}  # by the id of the first, which stays alive
        self._told: OrderedDict[int, list[Told] | None] = OrderedDict()

    def of(self, routes: ChannelRoutes, message: int) -> tuple[Parsed, Reading] | None:
        """None: it cannot be read."""
        stored = stored_message(self._reader, message)
        try:
            if routes.message_format.header(stored.payload).problem:
                return None
            parsed = routes.message_format.parse(stored.payload, routes.options)
        except ContentError:
            return None
        read = None if routes.reader is None else partial(self._aside, routes)
        return parsed, Reading(parsed, partial(context_of, stored, routes.context), read)

    def told(self, routes: ChannelRoutes, message: int) -> list[Told] | None:
        """The results of a message; None: no reader takes it, or it cannot be read."""
        if message not in self._told:
            read = self.of(routes, message)
            facts = None if read is None else read[1].facts
            told = None if read is None or facts is None else list(told_in(facts, read[0], read[1].context))
            self._told[message] = told
            if len(self._told) > MOST_KEPT:
                self._told.popitem(last=False)
        return self._told[message]

    def people(self, routes: ChannelRoutes | None, message: int) -> list[Person]:
        """Whom a message names, each once, without orders; none where it is erased or cannot be read."""
        with suppress(StoreError):
            read = None if routes is None else self.of(routes, message)
            if read is not None and (facts := read[1].facts) is not None:
                return list(dict.fromkeys(one._replace(orders=()) for one in facts.people))
        return []

    def _aside(self, routes: ChannelRoutes, parsed: Parsed) -> Program | None:
        found = None if routes.reader is None else routes.reader(parsed)
        if found is not None and id(found) not in self._asides:
            self._asides[id(found)] = found, found.aside()
        return None if found is None else self._asides[id(found)][1]
