"""Dead letters and operations, as the API reads them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from engine.features.rework.lists.dead_letters import LETTER, LETTER_GROUP
from engine.features.rework.lists.operations import OPERATION
from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.errors import ProblemError
from engine.model.journal.journal_views import DeadLetter
from engine.model.journal.records import LETTER_STATES
from engine.store.operations.bulk import Operation
from engine.store.operations.dead_letters import Group
from engine.store.queries.bulk import operation_if, operations_page, undelivered
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import why_absent
from engine.views import letter_in_full
from engine.web.api.lists import Asked, Document, Resource
from engine.web.api.parameters import Cursor, Limit, OfLetters, OneMessage, OneRow, Paged, one_of


class Letters(OfLetters):
    limit: Limit = 50
    cursor: Cursor = ""
    state: Annotated[str, one_of(LETTER_STATES), Field(json_schema_extra={"enum": [*LETTER_STATES]})] | None = None


def letters(asked: Asked[Letters]) -> Sequence[DeadLetter]:
    wanted = asked.filter(state=asked.arguments.state)
    return dead_letters(asked.journal, wanted, before_id=asked.before, limit=asked.limit)


def groups(asked: Asked[OfLetters]) -> Sequence[Group]:
    return letter_groups(asked.journal, asked.filter())


def letter(asked: Asked[OneMessage]) -> Document:
    """The dead letters of one message, in full and masked."""
    journal, number = asked.journal, asked.arguments.message
    trace = trace_of(journal, number)
    if trace is None:
        raise why_absent(journal, "message", number)
    found = [one for one in dead_letters(journal, before_id=number + 1, limit=1) if one.message_id == number]
    if not found:
        raise ProblemError("not-found", f"message {number} has no dead letter")
    return letter_in_full.document_of(
        journal, trace, found, LETTER, codes=frozenset(), unmask=False, parsed=False, routes=None
    )


def operations(asked: Asked[Paged]) -> Sequence[Operation]:
    return operations_page(asked.journal, before=asked.before, limit=asked.limit)


def operation(asked: Asked[OneRow]) -> Document:
    """A person's reason may name a patient, so it is only for those who may see patients, or administer."""
    number = asked.arguments.number
    found = operation_if(asked.journal, number)
    if found is None:
        raise ProblemError("not-found", f"there is no operation {number}")
    return {
        **OPERATION.row(found),
        "undelivered": undelivered(asked.journal, number),
        "reason": found.what.get("reason", "") if asked.principal.reads_reasons else "",
    }


LISTS = (
    Resource(
        "/dead-letters",
        "dead letters, by message, newest first",
        letters,
        LETTER,
        key="message_id",
        together=True,
        place=30,
    ),
    Resource(
        "/dead-letters/groups",
        "dead letters in groups of one reason and cause, with what will likely help",
        groups,
        LETTER_GROUP,
    ),
    Resource(
        "/dead-letters/{message}",
        "the dead letters of one message: the failure, the server's answer, the likely fix; contents are masked",
        letter,
    ),
    Resource(
        "/operations", "operations on many messages, newest first", operations, OPERATION, key="number", place=130
    ),
    Resource("/operations/{number}", "one operation: how far it is, and what became of its letters", operation),
)
