"""Held results, and persons to be confirmed, as the API reads them."""

from collections.abc import Sequence

from pydantic import Field

from engine.features.results.lists import HELD, PERSON
from engine.features.results.lists.held_results import held_of, results_held
from engine.features.results.lists.saying import with_says
from engine.features.results.lists.whose import whose
from engine.model.journal.journal_views import DeadLetter
from engine.model.journal.records import PossibleOtherPerson
from engine.model.site.permissions import ACTING, SEEING_PATIENTS
from engine.store.queries.letters import held_deliveries
from engine.store.queries.listing import NO_LIMIT
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import why_absent
from engine.store.queries.tallies import list_seeming
from engine.web.api.lists import Asked, Document, Resource
from engine.web.api.parameters import Cursor, Limit, Nothing, OfLetters, OneMessage, Reveal


class Held(OfLetters):
    limit: Limit = 50
    cursor: Cursor = ""
    rejected: bool = Field(default=False, description="Those that a person has rejected, instead.")


def held(asked: Asked[Held]) -> Sequence[DeadLetter]:
    """Newest first: unlike the first page of a person's list, critical results are not put before the others, so that
    pages have each once."""
    wanted = asked.filter(state="rejected" if asked.arguments.rejected else "held")
    before = NO_LIMIT if asked.before is None else asked.before
    found = held_deliveries(asked.journal, wanted, before_id=before, limit=asked.limit)
    return with_says(found, asked.sources.routes())


class HeldResults(Reveal, OneMessage):
    pass


def held_results(asked: Asked[HeldResults]) -> Document:
    """The results of each held delivery, by its number; the look is recorded before. None: they cannot be read.

    ``whose``: both persons, where it may be another one's, and the mark that an answer names; None for who may not see
    patients.
    """
    message = asked.arguments.message
    found = held_of(asked.journal, message)
    if not found and trace_of(asked.journal, message) is None:
        raise why_absent(asked.journal, "message", message)
    routes = asked.sources.routes()
    persons = whose(asked.journal, routes, message, found) if asked.principal.may(SEEING_PATIENTS) else None
    return {"message": message, "results": results_held(asked.journal, routes, found), "whose": persons}


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
        "/held-results",
        "results held of one message, with values; the audit trail keeps the purpose",
        held_results,
        needs=ACTING,
        of_post=True,
        verb="held show",
    ),
    Resource(
        "/held/persons",
        "who seems to be the person who bore a patient number before",
        persons,
        PERSON,
        verb="held persons",
    ),
)
