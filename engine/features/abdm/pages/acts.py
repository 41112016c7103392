"""Acts of a person at ABDM: whose a report is, that it goes out no more, once more, a consent that is in force again.

Each is asked for with what it comes to, and needs a reason; the verbs are those of the control socket. A patient is
typed from the card into the form alone. A refusal shows the form again, as it was filled in, and offers to confirm.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.features.abdm.pages.words import CONTEXTS, PATH, TRANSFERS, consent_badge, reason_of
from engine.features.abdm.rows import calls, consents, contexts, transfers
from engine.features.abdm.rows.consents import DOUBTFUL, SUSPENDED
from engine.features.abdm.rows.forgetting import ERASED, RETENTION
from engine.features.abdm.rows.patients import LEAVING
from engine.features.abdm.rows.reading import look
from engine.features.abdm.rules.care_contexts import ENDS, Gone
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import LASTING, CallState, ContextState, TransferState
from engine.model.errors import AbsentError, LabRelayError, RefusedError
from engine.model.texts.phrases import N_, PageText
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.states import badge
from engine.web.pages.words import Words
from engine.web.routes import Route

LINK, WITHDRAW, RETRY, RESUME = "link", "withdraw", "retry", "resume"
SUBJECTS = ("context", "transfer", "call", "consent")  # names in an address
MISTAKEN = frozenset(
    {"ABDM-1036", "ABDM-1027", "blocked"}
)  # reasons of a report of which the network has refused the patient
GENDERS: dict[str, PageText] = {
    "F": "female",
    "M": "male",
    "T": "transgender",
    "O": "other",
    "D": "not disclosed",
    "U": "unknown",
}


class Deed(NamedTuple):
    """An act as the page offers it.

    Attributes:
        verb: of the control socket.
        what: the question. button: of the confirmation, and the link.
        then: what it comes to.
    """

    verb: str
    what: PageText
    button: PageText
    then: PageText


DEEDS: Mapping[str, Deed] = {
    LINK: Deed(
        "abdm_link",
        "Link the report of care context {n}?",
        "Link with a patient",
        "The network compares name, gender and year of birth. Three mistakes block the patient for a day.",
    ),
    WITHDRAW: Deed(
        "abdm_withdraw",
        "Withdraw the report of care context {n}?",
        "Withdraw",
        "It goes out no more, nor does its next version; a link takes that back. An app that has it keeps it: tell the "
        "patient.",
    ),
    RETRY: Deed(
        "abdm_retry",
        "Try {n} once more?",
        "Try once more",
        "The network is asked once more, or the patient's app notified. Records themselves are not sent again: their "
        "reader asks again.",
    ),
    RESUME: Deed(
        "abdm_resume",
        "Put consent {n} in force again?",
        "Put in force again",
        "Records go out under it until it ends. It may have been revoked since the copy that was restored, or by a "
        "notice that could not be read.",
    ),
}
CONFIRMED = N_("I have looked at both, and mean what is typed here")
RIGHT = N_("I have looked: name, gender and year of birth are those of the card")
READMIT = N_("The patient has left the network, and asks to come back")
LOOKED = N_("I have looked: the network's own list has this consent as granted")


def routes(frame: Frame) -> Iterator[Route]:
    for name, deed in DEEDS.items():
        yield from frame.forms(f"{PATH}/{name}", deed.verb, partial(_take, name), partial(_ask, name))


# -- what is offered ---------------------------------------------------------------------------------------------------


def offers_of_context(
    asking: Asking, context: int, state: ContextState, reason: str, *, is_told: bool
) -> list[tuple[str, str]]:
    """Links to the acts that the state of a report allows, where this person may; ``is_told``: the patient's app knows
    its newest version."""
    return _links(asking, acts_of_context(state, reason, is_told=is_told), "context", context)


def offers_of_consent(asking: Asking, consent: int, state: ConsentState, reason: str) -> list[tuple[str, str]]:
    return _links(asking, acts_of_consent(state, reason), "consent", consent)


def offers_of_call(asking: Asking, call: int, name: str) -> list[tuple[str, str]]:
    """Of one that has failed."""
    return _links(asking, (RETRY,) if name in LASTING else (), "call", call)


def acts_of_context(state: ContextState, reason: str, *, is_told: bool) -> Sequence[str]:
    if reason in (ERASED, RETENTION):
        return ()
    found = []
    is_open = state in (ContextState.WAITING, ContextState.FAILED, ContextState.DROPPED) or reason == LEAVING
    if is_open and reason not in ENDS:
        found.append(LINK)
    if state is ContextState.FAILED or (state is ContextState.READY and reason in MISTAKEN):
        found.append(RETRY)
    if state is ContextState.LINKED and not is_told:
        found.append(RETRY)
    if state is not ContextState.DROPPED or reason == Gone.MOVED:
        found.append(WITHDRAW)
    return found


def acts_of_consent(state: ConsentState, reason: str) -> Sequence[str]:
    return (RESUME,) if state is ConsentState.GRANTED and reason in (SUSPENDED, DOUBTFUL) else ()


def _links(asking: Asking, acts: Sequence[str], subject: str, row: int) -> list[tuple[str, str]]:
    return [
        (asking.words.say(DEEDS[name].button), asking.words.href(f"{PATH}/{name}", **{subject: row}))
        for name in acts
        if DEEDS[name].verb in asking.may
    ]


# -- the question ------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """The row that an address names."""

    subject: str
    row: int

    @classmethod
    def of(cls, asking: Asking) -> "Asked":
        return next(
            (cls(name, row) for name in SUBJECTS if (row := number(asking.query.get(name, "")))), cls("context", 0)
        )


class Found(NamedTuple):
    """A row as the question shows it."""

    facts: Sequence[tuple[str, str]]
    acts: Sequence[str]
    is_mistaken: bool = False


def _around(asking: Asking, name: str, asked: Asked) -> dict[str, Any]:
    deed, words = DEEDS[name], asking.words
    subject, row = asked
    has_page = subject in ("context", "consent") and row
    return {
        "what": words.say(deed.what, n=row or "?"),
        "button": words.say(deed.button),
        "action": words.href(f"{PATH}/{name}", **{subject: row}),
        "back": words.href(f"{PATH}/{subject}", number=row) if has_page else words.href(PATH),
        "back_words": words.say("Back"),
    }


async def _ask(name: str, frame: Frame, request: web.Request) -> web.Response:
    return await _page(frame, name, request, {}, 200, "")


async def _page(
    frame: Frame, name: str, request: web.Request, given: Mapping[str, str], status: int, trouble: str
) -> web.Response:
    """The question; where it was refused with what the person had filled in."""
    asking = frame.asking(request)
    words, asked = asking.words, Asked.of(asking)
    around = _around(asking, name, asked)
    try:
        found = await frame.read(_read, asked, words)
        if name not in found.acts and not trouble:
            raise RefusedError(words.say("Its state does not allow this."))
    except LabRelayError as error:
        status, trouble = frame.refused(request, error)
        return await frame.desk.page(request, "abdm_act", status, **around, trouble=trouble)
    return await frame.desk.page(
        request,
        "abdm_act",
        status,
        **around,
        **(_card(given, words) if name == LINK else {}),
        warnings=[],
        facts=found.facts,
        then=words.say(DEEDS[name].then),
        hidden={},
        checks=_checks(name, found, words, again=bool(trouble)),
        reason=given.get("reason", ""),
        trouble=trouble,
    )


def _card(given: Mapping[str, str], words: Words) -> dict[str, Any]:
    return {
        "card": {name: given.get(name, "") for name in ("number", "address", "name", "gender", "year")},
        "genders": [(letter, words.say(text)) for letter, text in GENDERS.items()],
    }


def _checks(name: str, found: Found, words: Words, *, again: bool) -> list[tuple[str, str, bool]]:
    """Boxes to tick: name, words, and whether it must be. What confirms a doubt is offered once there is one."""
    if name == RESUME:
        return [("looked", words.say(LOOKED), True)]
    if name == LINK and again:
        return [("confirmed", words.say(CONFIRMED), False), ("readmit", words.say(READMIT), False)]
    if name == RETRY and found.is_mistaken:
        return [("confirmed", words.say(RIGHT), False)]
    return []


def _read(reader: Reader, asked: Asked, words: Words) -> Found:
    """
    Raises:
        AbsentError: there is no such row.
    """
    row = asked.row
    if asked.subject == "context" and (context := look(reader, contexts.by_number, row)) is not None:
        is_told = context.notified >= context.version
        return Found(
            [
                (words.say("State"), badge(CONTEXTS[context.state], words).word),
                *_why(context.reason, words),
                (words.say("Message"), str(context.message_id)),
                (words.say("Version"), str(context.version)),
            ],
            acts_of_context(context.state, context.reason, is_told=is_told),
            is_mistaken=context.reason in MISTAKEN,
        )
    if asked.subject == "consent" and (consent := look(reader, consents.by_number, row)) is not None:
        return Found(
            [
                (words.say("Consent"), consent.consent_id),
                (words.say("State"), consent_badge(consent.state, consent.reason, words).word),
                *_why(consent.reason, words),
                (words.say("Ends at"), words.time(consent.ends_us)),
            ],
            acts_of_consent(consent.state, consent.reason),
        )
    if asked.subject == "transfer" and (transfer := look(reader, transfers.by_number, row)) is not None:
        facts = [(words.say("State"), badge(TRANSFERS[transfer.state], words).word), *_why(transfer.reason, words)]
        return Found(facts, (RETRY,) if transfer.state is TransferState.ENDED else ())
    if asked.subject == "call" and (call := look(reader, calls.by_number, row)) is not None:
        may = call.state is CallState.FAILED and call.name in LASTING
        return Found([(words.say("Call"), call.name)], (RETRY,) if may else ())
    raise AbsentError(words.say("There is no such row."))


def _why(reason: str, words: Words) -> list[tuple[str, str]]:
    return [(words.say("Why"), reason_of(reason, words))] if reason else []


# -- the act -----------------------------------------------------------------------------------------------------------


async def _take(name: str, frame: Frame, request: web.Request) -> web.Response:
    asked = Asked.of(frame.asking(request))

    def given(form: Form) -> tuple[str, dict[str, Any]]:
        args: dict[str, Any] = {asked.subject: asked.row, "reason": form["reason"]}
        if name == LINK:
            args |= {one: form[one] for one in ("number", "address", "name", "gender")}
            args |= {"year": number(form["year"]), "readmit": form["readmit"] == "yes"}
        if name in (LINK, RETRY) and asked.subject == "context":
            args["confirmed"] = form["confirmed"] == "yes"
        if name == RESUME:
            args["looked"] = form["looked"] == "yes"
        return DEEDS[name].verb, args

    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await _page(frame, name, request, form.fields, status, trouble)

    def go(form: Form, done: Mapping[str, Any]) -> web.Response:
        if asked.subject in ("context", "consent"):
            return frame.desk.go(request, f"{PATH}/{asked.subject}?number={done[asked.subject]}")
        return frame.desk.go(request, PATH)

    return await frame.take(request, given, redraw, go)
