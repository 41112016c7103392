"""One care context of ABDM: its state and why, the versions of its report, the steps of its link, what was sent.

The page of one thing of ABDM, by its number: its state and why, what a person may do, its facts; then its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.abdm.pages import acts as abdm_acts
from engine.features.abdm.pages.listed import CONSENT, CONTEXT, context_row
from engine.features.abdm.pages.words import CALLS, PAGES, PATH, STEPS, help_of, reason_of
from engine.features.abdm.rows import details as abdm_details
from engine.features.abdm.rows.details import ContextInFull, PageLine, StepLine
from engine.features.abdm.rules.network import CallState, ContextState, PageState
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.states import badge
from engine.web.pages.words import Words, shown
from engine.web.routes import Route


@dataclass(frozen=True, slots=True)
class One:
    """Such a page.

    Attributes:
        members: name of the list that the thing is in; ``back``: words of the link to it.
        title, gone: of the thing, and of one that is not there; ``{n}`` becomes its number.
        read: the thing in full, whose ``line`` is that of its list; None: it is not there.
        values: what its template shows, beside `facts` and the help.
        more: facts behind those of facility and patient: label and text.
    """

    path: str
    template: str
    members: str
    back: str
    title: str
    gone: str
    read: Callable[[Reader, int], Any]
    values: Callable[[Any, Asking], Values]
    more: Callable[[Any, Words], Sequence[tuple[str, str]]]


def detail(frame: Frame, of: One) -> Sequence[Route]:
    return (Route(of.path, partial(_show, frame, of), LOOKING),)


async def _show(frame: Frame, of: One, request: web.Request) -> web.Response:
    return await frame.show(request, partial(_page, of), partial(_found, of))


def _asked(asking: Asking) -> int:
    return number(asking.query.get("number", ""))


def _page(of: One, asking: Asking) -> Page:
    words = asking.words
    return Page(
        of.template,
        {
            "title_words": words.say(of.title, n=_asked(asking)),
            "list": words.href(f"{PATH}/{of.members}"),
            "list_words": words.say(of.back),
            "row": None,
        },
    )


def _found(of: One, reader: Reader, asking: Asking) -> Values | Gone:
    words, asked = asking.words, _asked(asking)
    one = of.read(reader, asked)
    if one is None:
        return Gone(words.say(of.gone, n=asked))
    line = one.line
    facts = [
        (words.say("Facility"), f"{line.facility} {asking.site.facilities.get(line.facility, '')}".strip()),
        (words.say("Patient"), line.patient.name),
        (words.say("ABHA number"), line.patient.abha_number),
        (words.say("ABHA address"), line.patient.abha_address),
        *of.more(one, words),
    ]
    return {
        "help": help_of(line.reason, words),
        "facts": [(label, shown(text)) for label, text in facts if text],
        **of.values(one, asking),
    }


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
                **words.when(each.at_us),
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
        **words.when(one.changed_us),
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
        **words.when(one.changed_us),
    }


_ONE = One(CONTEXT, "abdm_context", "contexts", BACK, TITLE, GONE, abdm_details.context, _values, _facts)
routes = partial(detail, of=_ONE)
