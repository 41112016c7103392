"""Try a mapping: a message that a person pastes or chooses, a mapping of the site or an edited text of it, and what it
makes. Nothing is stored, sent or logged; the trial has a process and a time of its own.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from engine.model.site.permissions import CHANGING
from engine.store.queries.reader import Reader, stored_message
from engine.views.as_sent import mappings_of
from engine.views.view import printable
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.doing import VERB, reveal
from engine.web.pages.frame import Frame, Trial
from engine.web.pages.words import Words
from engine.web.routes import Route

PATH = "/try"
MOST_FORM = 1024 * 1024  # bytes of a form
MOST_MESSAGE = 256 * 1024  # signs
MOST_MAPPING = 128 * 1024  # signs
MOST_LINES = 4000
LONGEST = 4096  # signs of one value
CHARSETS = ("utf-8", "cp1252")  # of the bytes that a pasted text becomes


class Tried(NamedTuple):
    """The fields of the form, as the person has them.

    Attributes:
        mapping: one of the site's; empty: that of the channel's route.
        text: an edited text of it; empty: as its file has it.
        stored: the number of a message of the journal; 0: the pasted one.
    """

    channel: str = ""
    mapping: str = ""
    text: str = ""
    message: str = ""
    charset: str = CHARSETS[0]
    stored: int = 0
    purpose: str = ""


def routes(frame: Frame) -> Sequence[Route]:
    """None where nothing can be tried."""
    if frame.loaded.trial is None:
        return ()
    return (
        Route(PATH, partial(_ask, frame), CHANGING),
        Route(PATH, partial(_try, frame, frame.loaded.trial), CHANGING, method=hdrs.METH_POST),
    )


async def _ask(frame: Frame, request: web.Request) -> web.Response:
    return await _page(frame, request, Tried())


async def _try(frame: Frame, trial: Trial, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    tried = _read(await frame.desk.form(request, MOST_FORM), frame)
    if tried.stored:
        if VERB not in asking.may:
            raise web.HTTPForbidden
        status, trouble, found = await reveal(frame, request, tried.stored, tried.purpose, _message)
        if trouble:
            return await _page(frame, request, tried, status=status, trouble=trouble)
        tried = tried._replace(**found)
    wrong = _wrong(tried, asking.words)
    if wrong:
        return await _page(frame, request, tried, status=400, trouble=wrong)
    made = await trial(tried.channel, tried.mapping, tried.text, tried.message, tried.charset)
    if "trouble" in made:
        return await _page(frame, request, tried, status=503, trouble=printable(made["trouble"]))
    return await _page(frame, request, tried, made=_shown(made))


def _read(form: Form, frame: Frame) -> Tried:
    """Names are taken only where the site has them: a mapping is never a path."""
    channel, mapping = form["channel"], form["mapping"]
    return Tried(
        channel if channel in frame.channels() else "",
        mapping if mapping in _mappings(frame) else "",
        form.secret("text").replace("\r\n", "\n") if form["text"] else "",
        form.secret("message").replace("\r\n", "\n").strip("\n"),
        form["charset"] if form["charset"] in CHARSETS else CHARSETS[0],
        number(form["stored"]),
        form["purpose"],
    )


def _wrong(tried: Tried, words: Words) -> str:
    if not tried.message:
        return words.say("Paste a message, or give the number of one.")
    if len(tried.message) > MOST_MESSAGE or len(tried.text) > MOST_MAPPING:
        return words.say("It is too large to be tried.")
    if tried.text and not tried.mapping:
        return words.say("Choose the mapping whose text this is.")
    return ""


def _message(reader: Reader, message: int) -> Mapping[str, Any]:
    """The message as a text, with the character set that gives back its bytes.

    Raises:
        StoreError: it cannot be read.
    """
    stored = stored_message(reader, message)
    try:
        text, charset = stored.payload.decode(CHARSETS[0]), CHARSETS[0]
    except UnicodeDecodeError:
        text, charset = stored.payload.decode(CHARSETS[1], "replace"), CHARSETS[1]
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    return {"message": text, "charset": charset, "channel": stored.channel}


def _mappings(frame: Frame) -> list[str]:
    """The names of the mappings in force."""
    named = (one.partition("@")[0] for routes in frame.channels().values() for one in mappings_of(routes))
    return sorted(dict.fromkeys(named))


async def _page(
    frame: Frame,
    request: web.Request,
    tried: Tried,
    *,
    status: int = 200,
    trouble: str = "",
    made: Mapping[str, Any] | None = None,
) -> web.Response:
    asking = frame.asking(request)
    return await frame.desk.page(
        request,
        "try",
        status,
        action=asking.words.href(PATH),
        tried=tried,
        channels=sorted(frame.channels()),
        mappings=_mappings(frame),
        charsets=CHARSETS,
        can_choose=VERB in asking.may,
        trouble=trouble,
        made=made,
    )


def _shown(made: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a trial for the template; every text of it made printable."""
    leaves = {leaf["pointer"]: leaf for leaf in made.get("leaves", ())}
    stopped = made.get("dead") or made.get("filtered")
    lines = made.get("lines", ())
    return {
        "problems": [
            (one["severity"], _short(f"{one['file']}:{one['line']}:{one['column']}: {one['text']}"))
            for one in made["problems"]
        ],
        "mapping": _short("{name}@{hash}".format_map(made["mapping"])) if "mapping" in made else "",
        "stopped": (stopped["reason"], _short(f"{stopped['place']} {stopped['text']}".strip())) if stopped else None,
        "issues": [
            _short(f"{one['code']} {one['place']} {one['text']} {one['rule']}") for one in made.get("issues", ())
        ],
        "gaps": [_short(f"{one['table']}: {one['code']} {one['unit']}") for one in made.get("unmapped", ())],
        "unread": _short(", ".join(made.get("unread", ()))),
        "rows": [_row(depth, text, leaves.get(pointer)) for depth, text, pointer in lines[:MOST_LINES]],
        "more": bool(made.get("more")) or len(lines) > MOST_LINES,
    }


def _row(depth: int, text: str, leaf: Mapping[str, Any] | None) -> dict[str, str]:
    source = f"{leaf['rule']} {leaf['function']}".strip() if leaf else ""
    return {
        "text": "  " * depth + _short(text),
        "sources": _short(", ".join(leaf["sources"])) if leaf else "",
        "rule": _short(source),
    }


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
