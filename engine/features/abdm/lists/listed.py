"""The state of laboratories at ABDM, care contexts, consents and requests for records, as the API reads them.

Patients are masked for each person.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.features.abdm.lists import CONSENT, CONTEXT, TRANSFER, consent_in_full, context_in_full, state_in_full
from engine.features.abdm.rows import details, lists
from engine.features.abdm.rows.lists import ConsentLine, ContextLine, TransferLine, Wanted
from engine.features.abdm.rows.state import facility_states
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TransferState
from engine.model.errors import ProblemError
from engine.web.api.lists import Asked, Document, Resource
from engine.web.api.parameters import Cursor, Limit, Nothing, OneRow, RowNumber, Word, one_of


class OfNetwork(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    facility: Word | None = Field(None, description="Of this laboratory, by its id at the gateway.")
    reason: Word | None = Field(None, description="With exactly this reason.")


class CareContexts(OfNetwork):
    state: Annotated[str, one_of([*ContextState]), Field(json_schema_extra={"enum": [*ContextState]})] | None = None
    message: RowNumber | None = Field(None, description="Of this message, in its newest version.")
    report: Word | None = Field(None, description="Of reports with exactly this number of the laboratory.")


class Consents(OfNetwork):
    state: Annotated[str, one_of([*ConsentState]), Field(json_schema_extra={"enum": [*ConsentState]})] | None = None


class Transfers(OfNetwork):
    state: Annotated[str, one_of([*TransferState]), Field(json_schema_extra={"enum": [*TransferState]})] | None = None
    consent: RowNumber | None = Field(None, description="Under this consent, by its number here.")


def abdm_status(asked: Asked[Nothing]) -> Document:
    found = facility_states(asked.journal, asked.snapshot.facilities, asked.now_us)
    return state_in_full(found, asked.site.get("abdm"))


def _wanted(given: Any, **more: Any) -> Wanted:
    return Wanted(facility=given.facility or "", state=given.state or "", reason=given.reason or "", **more)


def care_contexts(asked: Asked[CareContexts]) -> Sequence[ContextLine]:
    given = asked.arguments
    wanted = _wanted(given, message=given.message, report=given.report or "")
    return lists.contexts(asked.journal, wanted, before=asked.before or 0, limit=asked.limit)


def consents(asked: Asked[Consents]) -> Sequence[ConsentLine]:
    return lists.consents(asked.journal, _wanted(asked.arguments), before=asked.before or 0, limit=asked.limit)


def transfers(asked: Asked[Transfers]) -> Sequence[TransferLine]:
    wanted = _wanted(asked.arguments, consent=asked.arguments.consent)
    return lists.transfers(asked.journal, wanted, before=asked.before or 0, limit=asked.limit)


def care_context(asked: Asked[OneRow]) -> Document:
    found = details.context(asked.journal, asked.arguments.number)
    if found is None:
        raise ProblemError("not-found", f"there is no care context {asked.arguments.number}")
    return context_in_full(found)


def consent(asked: Asked[OneRow]) -> Document:
    found = details.consent(asked.journal, asked.arguments.number)
    if found is None:
        raise ProblemError("not-found", f"there is no consent {asked.arguments.number}")
    return consent_in_full(found)


LISTS = (
    Resource("/abdm/status", "the state of each laboratory at ABDM, and whether all is well", abdm_status, place=120),
    Resource(
        "/abdm/contexts",
        "care contexts of ABDM, newest first; patients are masked",
        care_contexts,
        CONTEXT,
        key="number",
    ),
    Resource(
        "/abdm/contexts/{number}",
        "one care context with its versions, the steps of its link, and what went to readers",
        care_context,
    ),
    Resource(
        "/abdm/consents", "consents of patients, newest first; patients are masked", consents, CONSENT, key="number"
    ),
    Resource("/abdm/consents/{number}", "one consent: what it allows, until when, and what was sent under it", consent),
    Resource("/abdm/transfers", "requests for records, newest first", transfers, TRANSFER, key="number"),
)
