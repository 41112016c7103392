"""What can be done by the API: verbs of the control socket, given with the caller's own name.

An act comes with an ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header): a caller that got no answer asks
again with the same key, and gets the answer of the act that was done. ``dry_run`` counts first and needs no key; an act
on a filter repeats its ``last`` and ``counted_us``, so that nothing is done which was not counted. Such an act is an
operation, and answered by 202 with the address of that (RFC 9110, 15.3.3).
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from aiohttp import web
from pydantic import BaseModel

from engine.actions.control import MAX_REQUEST_BYTES, WITH_CONTENT, Request
from engine.actions.kept import PROGRAMS, Answer, KeptActs
from engine.actions.selection import Selection
from engine.actions.verbs import all_acts
from engine.model.errors import LabRelayError, ProblemError
from engine.model.site.permissions import SEEING_PATIENTS
from engine.monitoring.snapshot.site import SCHEMA_VERSION
from engine.web.api import problems
from engine.web.api.requests import arguments, header, in_body
from engine.web.guard import from_another_site
from engine.web.routes import PRINCIPAL

KEY_HEADER = "Idempotency-Key"
AGAIN_HEADER = "Idempotency-Replayed"
LONGEST_KEY = 200  # characters
MAX_EDITED_BYTES = 4 * 1024 * 1024  # of a message in base 64
WITHIN_S = 60.0


class Answered(NamedTuple):
    """The answer to an act.

    Attributes:
        operation: the number of the operation that the act began; 0: none.
        again: it was given to an earlier request with the same key.
    """

    status: int
    body: bytes
    operation: int = 0
    again: bool = False


async def give(acts: KeptActs, name: str, request: web.Request) -> Answered:
    """Carry out a request, or answer it again.

    Raises:
        LabRelayError: it was not begun.
    """
    if from_another_site(request.headers):
        raise ProblemError("another-site", "acts are given by programs, and by pages of this site")
    verb, principal = acts.verbs[name], request[PRINCIPAL]
    most = MAX_REQUEST_BYTES + (MAX_EDITED_BYTES if name in WITH_CONTENT else 0)
    given = await in_body(request, most)
    content, sees = _content(name, given), principal.may(SEEING_PATIENTS)
    asked = Request(verb=name, args=given, actor=principal.actor, content=content, sees_contents=sees)
    if _checked(name, verb.arguments, asked.args):
        return Answered(200, _said(name, await verb.work(asked)))
    key = header(request.headers, KEY_HEADER, LONGEST_KEY)
    if not key:
        raise ProblemError("not-understood", f"an act comes with {KEY_HEADER}: a text of yours, another for each act")
    whole = [name.encode(), orjson.dumps(given, option=orjson.OPT_SORT_KEYS), content]
    try:
        async with asyncio.timeout(WITHIN_S):
            return _answered(asked, await acts.give(asked, [key.encode()], whole, PROGRAMS))
    except TimeoutError:
        text = f"it is not done within {WITHIN_S:g} s and goes on; ask again with the same key"
        raise ProblemError("under-way", text, retry_after=WITHIN_S) from None


def _answered(asked: Request, answer: Answer) -> Answered:
    if answer.error is not None:
        problem = problems.of_any(answer.error)
        if not answer.again:
            problems.noted(problem, f"act {asked.verb}", answer.trace)
        body = orjson.dumps(problems.document(problem, answer.trace))
        return Answered(problems.KINDS[problem.kind].status, body, again=answer.again)
    result = answer.result
    number = result.get("operation") or 0
    goes_on = (number and "ids" not in asked.args.get("selection", {"ids": ()})) or result.get("going_on")
    return Answered(202 if goes_on else 200, _said(asked.verb, result), number, answer.again)


def _content(name: str, given: dict[str, Any]) -> bytes:
    """The content beside the arguments, taken out of them."""
    if name not in WITH_CONTENT:
        return b""
    try:
        return base64.b64decode(given.pop("content", ""), validate=True)
    except (binascii.Error, ValueError, TypeError):
        errors = [{"pointer": "#/content", "detail": "it is the message in base 64"}]
        raise ProblemError("arguments", "wrong: #/content", errors=errors) from None


def _checked(name: str, model: type[BaseModel], given: Mapping[str, Any]) -> bool:
    """Whether the request only counts.

    Raises:
        ProblemError: an argument is wrong, or a filter was not counted.
    """
    try:
        asked = arguments(model, given, body=True)
    except ProblemError:
        raise
    except LabRelayError as error:
        raise _wrong_selection("#/selection", str(error)) from None
    if getattr(asked, "dry_run", False):
        return True
    selection = getattr(asked, "selection", None)
    if all_acts()[name].counted and isinstance(selection, Selection) and not selection.ids:
        for name in ("last", "counted_us"):
            if getattr(selection, name) is None:
                text = f"give dry_run first, and the {name} of its answer with the same selection"
                raise _wrong_selection(f"#/selection/{name}", text)
    return False


def _wrong_selection(pointer: str, text: str) -> ProblemError:
    return ProblemError("arguments", f"wrong: {pointer}", errors=[{"pointer": pointer, "detail": text}])


def _said(name: str, result: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"schema_version": SCHEMA_VERSION, "verb": name, **result}, default=str)
