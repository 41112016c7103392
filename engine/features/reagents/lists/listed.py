"""Reagent lots, as the API reads them."""

from collections.abc import Sequence

from engine.features.reagents.lists import LOT
from engine.model.journal.journal_views import ReagentView
from engine.store.queries.tallies import list_reagents
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Channel, Limit, Word


class Reagents(Channel):
    lot: Word | None = None
    limit: Limit = 100


def reagents(asked: Asked[Reagents]) -> Sequence[ReagentView]:
    given = asked.arguments
    return list_reagents(asked.journal, given.channel, lot=given.lot, limit=given.limit)


LISTS = (Resource("/reagents", "reagent lots", reagents, LOT, verb="reagents", place=60),)
