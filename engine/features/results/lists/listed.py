"""Held results, and persons to be confirmed, as the API reads them."""

from collections.abc import Sequence

from pydantic import Field

from engine.features.results.lists import HELD, PERSON
from engine.model.journal.journal_views import DeadLetter
from engine.model.journal.records import PossibleOtherPerson
from engine.store.queries.letters import held_deliveries
from engine.store.queries.listing import NO_LIMIT
from engine.store.queries.tallies import list_seeming
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Cursor, Limit, Nothing, OfLetters


class Held(OfLetters):
    limit: Limit = 50
    cursor: Cursor = ""
    rejected: bool = Field(default=False, description="Those that a person has rejected, instead.")


def held(asked: Asked[Held]) -> Sequence[DeadLetter]:
    """Newest first: unlike the first page of a person's list, critical results are not put before the others, so that
    pages have each once."""
    wanted = asked.filter(state="rejected" if asked.arguments.rejected else "held")
    before = NO_LIMIT if asked.before is None else asked.before
    return held_deliveries(asked.journal, wanted, before_id=before, limit=asked.limit)


def persons(asked: Asked[Nothing]) -> Sequence[PossibleOtherPerson]:
    return list_seeming(asked.journal)


LISTS = (
    Resource(
        "/held",
        "results that wait for a person's decision, newest first",
        held,
        HELD,
        key="message_id",
        together=True,
        verb="held list",
        place=40,
    ),
    Resource(
        "/held/persons",
        "who seems to be the person who bore a patient number before",
        persons,
        PERSON,
        verb="held persons",
    ),
)
