"""A stored message mapped by the routes in force now, with the source of each value.

It is what `labrelay explain` shows of a message of the journal: the traced variant of the mapping, with the decisions
about the message's orders.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.mapping.explanations.trace import Trace
from engine.mapping.program import Program
from engine.model.journal.document_facts import DocumentFacts
from engine.model.message import Document, Parsed, Stored
from engine.model.routes import ChannelRoutes, context_of
from engine.views.as_sent import traced_as_sent


class Explained(NamedTuple):
    """What one route makes of a message.

    Attributes:
        place: of its document among those of the message, from 1, as `DocumentView.ordinal`.
        mapping: its name and hash, as `engine.model.journal.journal_views.Trace.mapping` has them.
        trace: with the (first) document as it is sent.
    """

    place: int
    mapping: str
    trace: Trace

    @property
    def document(self) -> Document | None:
        mapped = self.trace.mapped
        return mapped.documents[0] if mapped is not None and mapped.documents else None


def mappings_of(routes: ChannelRoutes) -> list[str]:
    """The mappings of a channel in force now, ``name@hash``."""
    return [_named(route.program) for route in routes.routes if isinstance(route.program, Program)]


def explained(
    stored: Stored, parsed: Parsed, routes: ChannelRoutes, facts: Mapping[int, DocumentFacts]
) -> Iterator[Explained]:
    """For each route with a mapping that takes the message.

    Args:
        facts: the decisions about its documents, by place.

    Raises:
        ContentError: a condition of a route cannot be decided.
    """
    place = 1
    for route in routes.routes:
        if route.when is not None and not route.when(parsed):
            continue
        if route.filter:
            return
        if not isinstance(route.program, Program):
            place += 1
            continue
        trace = route.program.aside().explain(parsed, context_of(stored, routes.context))
        documents = trace.mapped.documents if trace.mapped is not None else ()
        if documents and place in facts:
            trace = traced_as_sent(trace, route.form, facts[place])
        yield Explained(place, _named(route.program), trace)
        place += len(documents)


def _named(program: Program) -> str:
    return f"{program.name}@{program.content_hash[:12]}"
