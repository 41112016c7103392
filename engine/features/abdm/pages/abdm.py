"""ABDM at a glance: the state of each laboratory, calls that failed, the day's tokens. Patients are masked; each look
reads the journal, so that a consent that was revoked is shown so at once.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from engine.features.abdm.pages import acts as abdm_acts
from engine.features.abdm.pages.words import CONSENTS, CONTEXTS, NOT_WELL, PATH, TROUBLES, WELL, reason_of
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows import shares as abdm_shares
from engine.features.abdm.rows import state as abdm_state
from engine.features.abdm.rows.lists import CallLine
from engine.features.abdm.rows.state import FacilityState
from engine.features.abdm.rules.account import account_of
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import PageText
from engine.store.queries.reader import Reader
from engine.web.asked import counted
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.states import badge
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

KIND = "abdm"
LISTS: dict[str, PageText] = {"contexts": "Care contexts", "consents": "Consents", "transfers": "Requests for records"}
MOST = 50  # rows of each table


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(frame.show, page=_page, found=_found), LOOKING),)


def _page(asking: Asking) -> Page:
    return Page("abdm", {"member": True, "facilities": [], "lists": lists_of(asking.words)})


def lists_of(words: Words, here: str = "") -> list[tuple[str, str, bool]]:
    """Words and address of each list; whether it is open."""
    return [(words.say(text), words.href(f"{PATH}/{name}"), name == here) for name, text in LISTS.items()]


def _found(reader: Reader, asking: Asking) -> Values:
    words, site = asking.words, asking.site
    if not any(one.kind == KIND for one in site.destinations) and not abdm_lists.has_any(reader):
        return {"member": False}
    now_us = int(words.now.timestamp() * 1_000_000)
    account = account_of(site)
    day = words.now.astimezone(words.zone).date().isoformat()
    return {
        "faults": [(one.level.value, one.words.say(words.catalogue)) for one in account.faults] if account else [],
        "facilities": [_facility(one, words) for one in abdm_state.facility_states(reader, site.facilities, now_us)],
        "calls": [_call(one, asking) for one in abdm_lists.failed_calls(reader, MOST)],
        "tokens": [
            {
                "facility": one.facility,
                "counter": shown(one.counter),
                "token": one.token,
                "name": shown(one.name),
                "until": words.time(one.until_us),
                **words.when(one.made_us),
            }
            for one in abdm_shares.tokens(reader, day, MOST)
        ],
    }


def _facility(one: FacilityState, words: Words) -> dict[str, Any]:
    troubles = []
    for name, count in one.troubles.items():
        text, path, query = TROUBLES[name]
        href = (
            words.href(path, facility=one.facility, **query) if query else f"{words.href(path)}#calls" if path else ""
        )
        troubles.append((words.say(text, n=counted(count)), href))
    return {
        "id": one.facility,
        "name": shown(one.name),
        "state": badge(WELL if one.is_well else NOT_WELL, words),
        "troubles": troubles,
        "contexts": [
            _state(CONTEXTS[state].words, one.contexts[state], words, "contexts", one.facility, state)
            for state in ContextState
            if one.contexts[state]
        ],
        "consents": [
            _state(CONSENTS[state].words, one.consents[state], words, "consents", one.facility, state)
            for state in ConsentState
            if one.consents[state]
        ],
        "calls": counted(one.calls_waiting),
        "transfers": counted(one.transfers_open),
        "last": words.when(one.last_callback_us) if one.last_callback_us else None,
    }


def _state(text: str, count: int, words: Words, path: str, facility: str, state: str) -> tuple[str, str, str]:
    return words.say(text), counted(count), words.href(f"{PATH}/{path}", facility=facility, state=state)


def _call(one: CallLine, asking: Asking) -> dict[str, Any]:
    words = asking.words
    return {
        "number": one.number,
        "facility": one.facility,
        "name": one.name,
        "attempt": one.attempt,
        "status": one.status or "",
        "why": reason_of(one.code, words),
        "offers": abdm_acts.offers_of_call(asking, one.number, one.name),
        **words.when(one.changed_us),
    }
