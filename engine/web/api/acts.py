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
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel

from engine.actions.control import MAX_REQUEST_BYTES, WITH_CONTENT, Request
from engine.actions.declaring import Verb
from engine.actions.selection import Selection
from engine.actions.verbs import all_acts, of_api
from engine.model.errors import LabRelayError, NoRoomError, ProblemError, StoreError
from engine.model.site.permissions import SEEING_PATIENTS
from engine.monitoring.snapshot.site import SCHEMA_VERSION
from engine.store.journal import Journal
from engine.store.operations import kept_answers
from engine.web.api import problems
from engine.web.api.requests import arguments, header, in_body
from engine.web.guard import from_another_site
from engine.web.routes import PRINCIPAL

KEY_HEADER = "Idempotency-Key"
AGAIN_HEADER = "Idempotency-Replayed"
LONGEST_KEY = 200  # characters
MAX_EDITED_BYTES = 4 * 1024 * 1024  # of a message in base 64
WITHIN_S = 60.0
MOST_UNDER_WAY = 32
OTHER_BODY = "give another key with another request"


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to an act.

    Attributes:
        again: it was given to an earlier request with the same key.
    """

    status: int
    body: bytes
    again: bool = False

    @property
    def operation(self) -> int:
        """The number of the operation that the act began; 0: none."""
        number = orjson.loads(self.body).get("operation") if self.status < 400 else None
        return number or 0


class OfferedActs:
    """Gives verbs, each once for each key.

    Attributes:
        verbs: of the control socket.
        offered: those of them that the API gives.
    """

    def __init__(self, verbs: Mapping[str, Verb], journal: Journal) -> None:
        self.verbs = verbs
        self.offered = {name: verbs[name] for name in of_api()}
        self._journal = journal
        self._under_way: dict[bytes, tuple[bytes, asyncio.Future[Answered]]] = {}  # by key: request, and answer

    def given(self, verbs: Mapping[str, Verb]) -> "OfferedActs":
        """The same, of other verbs: a key is one caller's, and counts for both."""
        other = OfferedActs(verbs, self._journal)
        other._under_way = self._under_way
        return other

    async def stop(self) -> None:
        """End what is under way; a key without an answer stays one."""
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give(self, name: str, request: web.Request) -> Answered:
        """Carry out a request, or answer it again.

        Raises:
            LabRelayError: it was not begun.
        """
        if from_another_site(request.headers):
            raise ProblemError("another-site", "acts are given by programs, and by pages of this site")
        verb, principal = self.verbs[name], request[PRINCIPAL]
        actor, sees = principal.actor, principal.may(SEEING_PATIENTS)
        most = MAX_REQUEST_BYTES + (MAX_EDITED_BYTES if name in WITH_CONTENT else 0)
        given = await in_body(request, most)
        asked = Request(verb=name, args=given, actor=actor, content=_content(name, given), sees_contents=sees)
        counts = _checked(name, verb.arguments, asked.args)
        if counts:
            return Answered(200, _said(name, await verb.work(asked)))
        key = header(request.headers, KEY_HEADER, LONGEST_KEY)
        if not key:
            raise ProblemError(
                "not-understood", f"an act comes with {KEY_HEADER}: a text of yours, another for each act"
            )
        token = self._journal.vault.request_token(actor.encode(), key.encode())
        whole = [name.encode(), orjson.dumps(given, option=orjson.OPT_SORT_KEYS), asked.content]
        return await self._once(token, self._journal.vault.request_token(*whole), verb, asked)

    async def _once(self, token: bytes, digest: bytes, verb: Verb, asked: Request) -> Answered:
        if token not in self._under_way:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise ProblemError("unavailable", "too many acts at once", retry_after=1.0)
            # Completed also without a waiting caller, who may come again for the answer.
            begun = asyncio.ensure_future(self._begin(token, digest, verb, asked))
            self._under_way[token] = digest, begun
            begun.add_done_callback(lambda ended: self._ended(token, ended))
        same, task = self._under_way[token]
        if same != digest:
            raise ProblemError("other-body", OTHER_BODY)
        try:
            async with asyncio.timeout(WITHIN_S):
                return await asyncio.shield(task)
        except TimeoutError:
            text = f"it is not done within {WITHIN_S:g} s and goes on; ask again with the same key"
            raise ProblemError("under-way", text, retry_after=WITHIN_S) from None

    def _ended(self, token: bytes, task: asyncio.Future[Answered]) -> None:
        del self._under_way[token]
        if not task.cancelled():
            task.exception()  # a waiting caller gets it

    async def _begin(self, token: bytes, digest: bytes, verb: Verb, asked: Request) -> Answered:
        kept = await self._journal.run(kept_answers.begin, token, digest)
        if kept is None:
            return await self._carry_out(token, verb, asked)
        if kept.request != digest:
            raise ProblemError("other-body", OTHER_BODY)
        if not kept.status:
            raise ProblemError(
                "cut-short", "it may have been done, or a part of it; look at the acts, then give a new key"
            )
        return Answered(kept.status, kept.answer, again=True)

    async def _carry_out(self, token: bytes, verb: Verb, asked: Request) -> Answered:
        try:
            result = await verb.work(asked)
            bulk = result.get("operation") and "ids" not in asked.args.get("selection", {"ids": ()})
            answered = Answered(202 if bulk or result.get("going_on") else 200, _said(asked.verb, result))
        except Exception as error:
            problem = problems.of_any(error)
            if problem.kind == "unavailable":
                await self._passed_over(token, error)
                raise problem from problem.__cause__
            trace = problems.noted(problem, f"act {asked.verb}")
            answered = Answered(problems.KINDS[problem.kind].status, orjson.dumps(problems.document(problem, trace)))
        with suppress(StoreError):  # then the key stays without an answer, and the act is not begun again
            await self._journal.run(kept_answers.end, token, answered.status, answered.body)
        return answered

    async def _passed_over(self, token: bytes, error: Exception) -> None:
        """An act that could not be done just now has no answer that is kept: the same key is tried again, unless the
        store failed amid the act. A part may be done then, so the key stays one without an answer.
        """
        if not isinstance(error, StoreError) or isinstance(error, NoRoomError):
            with suppress(StoreError):
                await self._journal.run(kept_answers.forget, token)


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
