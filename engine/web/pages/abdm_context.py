"""One care context of ABDM: its state and why, the versions of its report, the steps of its link, what was sent."""

from functools import partial
from typing import Any

from engine.model.abdm import CallState, ContextState, PageState
from engine.model.phrases import N_
from engine.store.queries import abdm_details
from engine.store.queries.abdm_details import ContextInFull, PageLine, StepLine
from engine.web.pages import abdm_acts
from engine.web.pages.abdm import when
from engine.web.pages.abdm_listed import CONSENT, CONTEXT, context_row
from engine.web.pages.abdm_one import One, detail
from engine.web.pages.abdm_words import CALLS, PAGES, STEPS, reason_of
from engine.web.pages.frame import Asking, Values
from engine.web.pages.states import badge
from engine.web.pages.words import Words

GONE = N_("There is no care context {n}.")
TITLE = N_("Care context {n}")
BACK = N_("To the care contexts")


def _values(one: ContextInFull, asking: Asking) -> Values:
    words, line = asking.words, one.line
    return {
        "row": context_row(line, words),
        "offers": abdm_acts.offers_of_context(
            asking, line.number, ContextState(line.state), line.reason, is_told=line.is_told
        ),
        "versions": [
            {
                "version": each.version,
                "message": each.message_id,
                "href": words.href(f"/messages/{each.message_id}") if each.message_id else "",
                "is_told": each.is_told,
                **when(each.at_us, words),
            }
            for each in one.versions
        ],
        "steps": [_step(each, words) for each in one.steps],
        "sent": [
            page_row(each, words)
            | {
                "consent": each.consent,
                "consent_href": words.href(CONSENT, number=each.consent) if each.consent else "",
            }
            for each in one.sent
        ],
    }


def _facts(one: ContextInFull, words: Words) -> list[tuple[str, str]]:
    line = one.line
    return [
        (words.say("Issued"), words.time(line.issued_us)),
        (words.say("Since"), words.time(line.made_us)),
        (words.say("Changed"), words.time(line.changed_us)),
    ]


def _step(one: StepLine, words: Words) -> dict[str, Any]:
    return {
        "number": one.number,
        "what": words.say(STEPS[one.name]) if one.name in STEPS else one.name,
        "state": badge(CALLS[CallState(one.state)], words),
        "status": one.status or "",
        "why": reason_of(one.code, words),
        "attempt": one.attempt,
        **when(one.changed_us, words),
    }


def page_row(one: PageLine, words: Words) -> dict[str, Any]:
    """A page that went to a reader, or is to go."""
    return {
        "transfer": one.transfer,
        "n": one.n,
        "context": one.context,
        "context_href": words.href(CONTEXT, number=one.context),
        "message": one.message_id,
        "message_href": words.href(f"/messages/{one.message_id}") if one.message_id else "",
        "state": badge(PAGES[PageState(one.state)], words),
        "why": reason_of(one.reason, words),
        "status": one.status or "",
        **when(one.changed_us, words),
    }


_ONE = One(CONTEXT, "abdm_context", "contexts", BACK, TITLE, GONE, abdm_details.context, _values, _facts)
routes = partial(detail, of=_ONE)
