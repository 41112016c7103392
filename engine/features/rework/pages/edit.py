r"""Correct a dead message: its text, what the correction changes and what would become of it, then the act.

The text is that of `engine.features.rework.acts.edit`: a line is a segment or record, and a byte that a form would
hide or change is written as ``<0D>``. So a form that comes back unchanged gives the same bytes, whatever line ends the
browser sends. The act takes the very bytes that the preview was of, and makes a new message of them.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any
from urllib.parse import quote_plus

from aiohttp import hdrs, web

from engine.features.rework.acts.edit import Trial, charsets_of, raise_if_not_editable, read, shown, tried
from engine.features.rework.lists.edited import lines_changed, results_moved, whose_changed
from engine.model.errors import LabRelayError, StoreError
from engine.model.journal.journal_views import Trace
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, stored_payload, why_absent
from engine.views.messages import issue_words
from engine.web.asked import number
from engine.web.desk import sentence
from engine.web.forms import Form
from engine.web.guard import EXPIRED
from engine.web.pages import doing, states
from engine.web.pages.doing import reveal
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.words import Words
from engine.web.pages.words import shown as short
from engine.web.routes import Route

PATH, DO = "/messages/{number}/edit", "/messages/{number}/edit/do"
VERB = "edit"
REQUIRED = frozenset({VERB, doing.VERB})  # verbs that a person must be able to give
MOST_FORM = 1024 * 1024  # bytes of a form
MOST_SENT = 512 * 1024  # bytes of a text as a form sends it, and of a message; there is room to write more
MOST_ISSUES = 50
MOST_MOVED = 200
LONGEST = 500  # signs of a remark


def routes(frame: Frame) -> Sequence[Route]:
    if not frame.verbs.keys() >= REQUIRED:
        return ()
    needs = frame.verbs[VERB].needs | frame.verbs[doing.VERB].needs
    return (
        Route(PATH, partial(frame.show, page=_page, found=_about), needs),
        Route(PATH, partial(_edit, frame), needs, method=hdrs.METH_POST),
        Route(DO, partial(_take, frame), needs, method=hdrs.METH_POST),
    )


def offer(asking: Asking, trace: Trace) -> list[tuple[str, str]]:
    """A link to the page, where this person may edit and this message can be edited."""
    if not asking.may >= REQUIRED:
        return []
    try:
        raise_if_not_editable(trace)
    except LabRelayError:
        return []
    return [link(asking, trace.message.id)]


def link(asking: Asking, message: int) -> tuple[str, str]:
    return asking.words.say("Edit"), _address(PATH, message, asking.words)


def _address(path: str, message: int, words: Words) -> str:
    return words.href(path.replace("{number}", str(message)))


# -- the purpose -----------------------------------------------------------------------------------------------------


def _page(asking: Asking) -> Page:
    return Page("edit_ask", _around(asking) | {"purpose": ""})


def _around(asking: Asking) -> dict[str, Any]:
    asked, words = number(asking.found["number"]), asking.words
    return {"number": asked, "back": words.href(f"{LIST}/{asked}"), "action": _address(PATH, asked, words)}


def _about(reader: Reader, asking: Asking) -> Values | Gone:
    asked = number(asking.found["number"])
    trace = trace_of(reader, asked)
    if trace is None:
        return Gone(str(why_absent(reader, "message", asked)))
    try:
        raise_if_not_editable(trace)
    except LabRelayError as error:
        return Gone(sentence(str(error)))
    return {}


# -- the text, and what a change of it makes -------------------------------------------------------------------------


async def _edit(frame: Frame, request: web.Request) -> web.Response:
    asking, form = frame.asking(request), await frame.desk.form(request, MOST_FORM)
    around = _around(asking) | {"purpose": form["purpose"]}
    look = partial(_look, frame, asking.words, form, frame.desk.clock.now_us())
    status, trouble, found = await reveal(frame, request, around["number"], form["purpose"], look)
    if trouble:
        return await frame.desk.page(request, "edit_ask", status, **around, trouble=trouble)
    act = _address(DO, around["number"], asking.words)
    return await frame.desk.page(request, "edit", 400 if found["trouble"] else 200, **around, **found, act=act)


def _look(frame: Frame, words: Words, form: Form, now_us: int, reader: Reader, message: int) -> Values:
    """The text to edit; and the preview, once there is a text that a person has edited.

    Raises:
        LabRelayError: the message cannot be edited, or not here.
    """
    trace = trace_of(reader, message)
    if trace is None:  # retention took it meanwhile
        raise why_absent(reader, "message", message)
    raise_if_not_editable(trace)
    before = stored_payload(reader, message)
    text, shape = shown(before, charsets_of(frame.channels().get(trace.message.channel), before))
    _raise_if_too_large(message, max(len(before), len(quote_plus(text))))
    edited = form.fields.get("text")
    found = {"text": text, "shape": repr(shape), "preview": None, "trouble": ""}
    if edited is None:
        return found
    found["text"] = edited.replace("\r\n", "\n")
    if form["shape"] != repr(shape):
        return found | {"trouble": words.say(EXPIRED)}
    try:
        content = read(edited, shape)
        _raise_if_too_large(message, len(content))
        configured = frame.loaded.configured()  # before the trial: one of a later configuration is looked at again
        trial = tried(reader, frame.channels(), message, content, now_us)
    except StoreError:
        raise
    except LabRelayError as error:
        return found | {"trouble": sentence(str(error))}
    changed = lines_changed(text, shown(content, (shape.charset,))[0])
    beside = {"lines": changed, "cut": sum(line.cut for line in changed), "config_hash": configured}
    return found | {"preview": _preview(trial, shape.charset, words) | beside}


def _raise_if_too_large(message: int, size: int) -> None:
    if size > MOST_SENT:
        raise LabRelayError(f"message {message} is too large for this page; use: labrelay dlq edit {message}")


def _preview(trial: Trial, charset: str, words: Words) -> dict[str, Any]:
    outcome, content = trial.outcome, trial.received.payload
    moved = results_moved(trial.before, content, charset)
    return {
        "state": states.message(outcome.state, words),
        "dead": outcome.state == "dead",
        "code": trial.code,
        "meaning": words.reason(trial.code),
        "detail": short(outcome.detail, LONGEST),
        "to": ", ".join(trial.to),
        "issues": [short(issue_words(asdict(issue)), LONGEST) for issue in outcome.issues[:MOST_ISSUES]],
        "gaps": [short(f"{one.code} {one.unit}".strip()) for one in dict.fromkeys(outcome.unmapped)][:MOST_ISSUES],
        "whose": whose_changed(trial.before, content, charset),
        "moved": moved[:MOST_MOVED],
        "more_moved": len(moved[MOST_MOVED:]),
        "content": base64.urlsafe_b64encode(content).decode(),
    }


# -- the act ---------------------------------------------------------------------------------------------------------


async def _take(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    asked = number(asking.found["number"])

    async def act(form: Form) -> web.Response:
        try:
            content = base64.urlsafe_b64decode(form["content"])
        except ValueError:
            raise web.HTTPBadRequest from None
        args = {"message": asked, "reason": form["reason"], "config_hash": form["config_hash"], "dry_run": False}
        try:
            result = await frame.once(request, form, VERB, args, content)
        except LabRelayError as error:
            status, trouble = frame.refused(request, error)
            around = _around(asking)
            return await frame.desk.page(request, "edit_ask", status, **around, purpose="", trouble=trouble)
        return frame.desk.go(request, f"{LIST}/{result['message']}")

    return await frame.desk.answer(request, act, MOST_FORM)
