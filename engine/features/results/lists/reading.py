"""What messages say of their results and of whom, read anew by the readers of their channels, each message once."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from engine.mapping.language.structures import unescape_of
from engine.mapping.measured import Reading, told_in
from engine.model.content.facts import Order, Person
from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result
from engine.model.errors import ContentError, StoreError
from engine.model.message import Group, Parsed
from engine.model.routes import ChannelRoutes, Program, context_of
from engine.store.queries.reader import Reader, stored_message

MOST_KEPT = 40  # messages

Told = tuple[Person, Order, Fact, Sequence[Result]]


class Asked(NamedTuple):
    """What the orders of a person say, each text once."""

    orders: tuple[str, ...] = ()
    specimens: tuple[str, ...] = ()
    asked_by: tuple[str, ...] = ()


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

    def people(self, routes: ChannelRoutes | None, message: int) -> dict[Person, Asked]:
        """Whom a message names, each once and without orders, and what those say; none where it is erased or cannot be
        read.
        """
        found: dict[Person, Asked] = {}
        with suppress(StoreError):
            read = None if routes is None else self.of(routes, message)
            if read is None or (facts := read[1].facts) is None:
                return {}
            askers = _asked_by(read[0])
            for one in facts.people:
                person = one._replace(orders=())
                found[person] = _of_orders(one.orders, askers, found.get(person, Asked()))
        return found

    def asked_by(self, routes: ChannelRoutes, message: int) -> dict[int, str]:
        """Who asked for the tests of each order, by its place, where the order says it."""
        read = self.of(routes, message)
        return {} if read is None else _asked_by(read[0])

    def _aside(self, routes: ChannelRoutes, parsed: Parsed) -> Program | None:
        found = None if routes.reader is None else routes.reader(parsed)
        if found is not None and id(found) not in self._asides:
            self._asides[id(found)] = found, found.aside()
        return None if found is None else self._asides[id(found)][1]


def _of_orders(orders: Sequence[Order], askers: Mapping[int, str], before: Asked) -> Asked:
    said = (
        (number for one in orders for number in (one.placer, one.filler)),
        (number for one in orders for sample in one.samples for number in (sample.number, sample.container)),
        (askers.get(one.place) for one in orders),
    )
    return Asked(*(tuple(dict.fromkeys((*old, *filter(None, new)))) for old, new in zip(before, said, strict=True)))


def _asked_by(parsed: Parsed) -> dict[int, str]:
    return dict(_askers(parsed, parsed.root))


def _askers(parsed: Parsed, group: Group) -> Iterator[tuple[int, str]]:
    """HL7 says it in ORC-12, else in OBR-16; ASTM in O-17."""
    common = [one.get(12) for one in group.segments.get("ORC", ())]
    fields = [(one, [*common, one.get(16)]) for one in group.segments.get("OBR", ())]
    fields += [(one, [one.get(17)]) for one in group.segments.get("O", ())]
    found = ((one.ordinal, _named(parsed, next(filter(None, said), ""))) for one, said in fields)
    yield from ((place, name) for place, name in found if name)
    for inner in (one for groups in group.groups.values() for one in groups):
        yield from _askers(parsed, inner)


def _named(parsed: Parsed, raw: str) -> str:
    """A person's name in the order of speech; a number, or a name in one piece, as it is sent."""
    signs = parsed.delimiters
    raw = raw.split(signs.repetition)[0] if signs.repetition else raw
    unescape = unescape_of(parsed.format)
    parts = [unescape(one.split(signs.subcomponent)[0] if signs.subcomponent else one, signs).strip()
             for one in raw.split(signs.component)] + [""] * 6  # fmt: skip
    at = (5, 2, 3, 1, 4) if parsed.format == "hl7v2" else (4, 1, 2, 0, 3)  # prefix, given names, family name, suffix
    name = " ".join(filter(None, (parts[place] for place in at)))
    return name or parts[0]
