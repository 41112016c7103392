"""Lists of ABDM's care contexts, consents and requests for records, filtered and in pages. Patients are masked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.abdm.pages.abdm import lists_of
from engine.features.abdm.pages.words import CONSENTS, CONTEXTS, PATH, TRANSFERS, consent_badge, reason_of
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows.lists import ConsentLine, ContextLine, Count, MaskedPatient, TransferLine, Wanted
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TransferState
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.reader import Reader
from engine.web.asked import PAGE, Asked, counted, number
from engine.web.pages.filters import known
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

CONTEXT, CONSENT = f"{PATH}/context", f"{PATH}/consent"
LABELS: dict[str, PageText] = {
    "facility": "Facility",
    "state": "State",
    "reason": "Reason",
    "message": "Message",
    "consent": "Consent",
}
WRONG_STATE = N_("There is no such state.")


@dataclass(frozen=True, slots=True)
class List:
    """One of the lists.

    Attributes:
        names: of its filter.
        row: a line of it as the template wants it.
    """

    name: str
    table: str
    states: type[StrEnum]
    looks: Mapping[Any, Look]
    read: Callable[..., Sequence[Any]]
    row: Callable[[Any, Words], dict[str, Any]]
    names: Sequence[str]

    @property
    def path(self) -> str:
        return f"{PATH}/{self.name}"


def routes(frame: Frame) -> Sequence[Route]:
    return [Route(one.path, partial(_show, frame, one), LOOKING) for one in ALL]


async def _show(frame: Frame, of: List, request: web.Request) -> web.Response:
    return await frame.show(request, partial(_page, of), partial(_found, of))


def _asked(of: List, asking: Asking) -> Asked:
    return Asked.of(of.path, asking.words.language, asking.query, of.names)


def _page(of: List, asking: Asking) -> Page:
    asked, words = _asked(of, asking), asking.words
    state, reason = asked.get("state"), asked.get("reason")
    is_state = state is not None and state in [*of.states]
    said = {"state": words.say(of.looks[of.states(state)].words)} if state is not None and is_state else {}
    values: Values = {
        "asked": asked,
        "columns": None,
        "chips_shown": asked.chips(
            {name: words.say(text) for name, text in LABELS.items()},
            said | ({"reason": reason_of(reason, words)} if reason else {}),
        ),
        "lists": lists_of(words, of.name),
        "home": words.href(PATH),
        "facilities": [],
        "states": [],
        "reasons": [],
        "rows": [],
        "older": "",
        "count": "",
    }
    wrong = "" if state is None or is_state else words.say(WRONG_STATE)
    return Page(f"abdm_{of.name}", values, wrong)


def _found(of: List, reader: Reader, asking: Asking) -> Values:
    asked, words = _asked(of, asking), asking.words
    facility, state, reason = (asked.get(name) or "" for name in ("facility", "state", "reason"))
    message, consent = (number(said) if (said := asked.get(name)) else None for name in ("message", "consent"))
    wanted = Wanted(facility=facility, state=state, reason=reason, message=message, consent=consent)
    found = of.read(reader, wanted, before=asked.before, limit=PAGE + 1)
    counts = abdm_lists.counts(reader, of.table)
    here = _sum(counts, facility=facility, state=state, reason=reason)
    return {
        "facilities": known([*{*asking.site.facilities, *(one.facility for one in counts if one.facility)}], facility),
        "reasons": sorted(
            ((one, reason_of(one, words)) for one in {reason, *(each.reason for each in counts)} - {""}),
            key=lambda pair: pair[1],
        ),
        "states": [
            (words.say(text), counted(_sum(counts, facility=facility, state=one, reason=reason)), href, one == state)
            for one, text, href in (
                ("", "all", asked.href(without="state")),
                *((str(each), of.looks[each].words, asked.href(state=each)) for each in of.states),
            )
        ],
        "rows": [of.row(one, words) for one in found[:PAGE]],
        "older": asked.href(before=found[PAGE - 1].number) if len(found) > PAGE else "",
        "count": counted(here) if message is None and consent is None else "",
    }


def _sum(counts: Iterable[Count], **asked: str) -> int:
    return sum(one.count for one in counts if all(getattr(one, name) == said for name, said in asked.items() if said))


def patient_row(one: MaskedPatient) -> dict[str, Any]:
    return {
        "name": shown(one.name),
        "numbers": [shown(text) for text in (one.abha_number, one.abha_address) if text],
        "is_known": one.is_known,
    }


def context_row(one: ContextLine, words: Words) -> dict[str, Any]:
    return {
        "number": one.number,
        "href": words.href(CONTEXT, number=one.number),
        "facility": one.facility,
        "patient": patient_row(one.patient),
        "state": badge(CONTEXTS[ContextState(one.state)], words),
        "why": reason_of(one.reason, words),
        "message": one.message_id,
        "message_href": words.href(f"/messages/{one.message_id}") if one.message_id else "",
        "version": one.version,
        "is_told": one.is_told,
        **words.when(one.changed_us),
    }


def consent_row(one: ConsentLine, words: Words) -> dict[str, Any]:
    return {
        "number": one.number,
        "href": words.href(CONSENT, number=one.number),
        "id": shown(one.consent_id),
        "facility": one.facility,
        "patient": patient_row(one.patient),
        "state": consent_badge(one.state, one.reason, words),
        "why": reason_of(one.reason, words),
        "ends": words.time(one.ends_us),
        "served": one.served,
        "delivered": one.delivered,
        "last": words.time(one.last_us),
        "transfers_href": words.href(f"{PATH}/transfers", consent=one.number),
        **words.when(one.changed_us),
    }


def transfer_row(one: TransferLine, words: Words) -> dict[str, Any]:
    return {
        "number": one.number,
        "facility": one.facility,
        "state": badge(TRANSFERS[TransferState(one.state)], words),
        "why": [reason_of(each, words) for each in dict.fromkeys((one.reason, *one.page_reasons)) if each],
        "pages": one.pages,
        "delivered": one.delivered,
        "consent": one.consent,
        "consent_href": words.href(CONSENT, number=one.consent) if one.consent else "",
        **words.when(one.made_us),
    }


_COMMON = ("facility", "state", "reason")
ALL = (
    List(
        "contexts", abdm_lists.CONTEXTS, ContextState, CONTEXTS, abdm_lists.contexts, context_row, (*_COMMON, "message")
    ),
    List("consents", abdm_lists.CONSENTS, ConsentState, CONSENTS, abdm_lists.consents, consent_row, _COMMON),
    List(
        "transfers", abdm_lists.TRANSFERS, TransferState, TRANSFERS, abdm_lists.transfers, transfer_row,
        (*_COMMON, "consent"),
    ),
)  # fmt: skip
