"""Forms of the page: read within limits, sent by our own page alone, acted on once.

A form carries three hidden fields. ``form`` is derived from the secret of the browser's cookie: a page of another site
cannot know it, and that of an earlier log-in is void. ``once`` is a number used once: where the same form comes again
(a second press of Enter, a reload), nothing is done again and the answer is the first one's. ``on`` is the address of
the page that the form is on: the links of an answer to another language lead to it.
"""

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from engine.web.guard import EXPIRED
from engine.web.routes import allow_again

FORM, ONCE, ON = "form", "once", "on"  # names of the hidden fields
PAGE = web.RequestKey("page", str)  # the address of the page that a form of a request is on
MAX_FORM = 64 * 1024  # bytes
MAX_FIELDS = 200
BODY_WITHIN_S = 10.0  # for the whole body
ANSWERS_KEPT, KEPT_S = 200, 600.0  # some are pages that show a secret once
TOO_MANY, LATER = 429, 500  # from LATER on: our side fails, and the same form may succeed
_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, each by its name; of several with one name the last.

    Attributes:
        key: SHA-256 of the form and of the secret it was drawn for.
    """

    fields: Mapping[str, str]
    key: bytes

    def __getitem__(self, name: str) -> str:
        """The value without spaces around it; empty where the field is missing."""
        return self.fields.get(name, "").strip()

    def of_act(self, name: str) -> tuple[bytes, ...]:
        """The key of an act that it is sent for; each is given once."""
        return b"form", self.key.hex().encode(), name.encode()

    def secret(self, name: str) -> str:
        """The value of a password as it was typed, with its spaces."""
        return self.fields.get(name, "")


def form_token(secret: str) -> str:
    """The value of the field ``form`` for the holder of this cookie."""
    return hmac.digest(_bytes(secret), b"labrelay form", sha256).hex()


def _bytes(secret: str) -> bytes:
    """Of a cookie, which may be anything that a header can have."""
    return secret.encode("utf-8", "surrogatepass")


def local(text: str) -> str:
    """A path of this server; ``/`` for all else: another server's, or one that browsers read as such."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not (text.isascii() and text.isprintable()):
        return "/"
    return text


def new_number() -> str:
    """A value of the field ``once``."""
    return secrets.token_hex(16)


async def read_form(request: web.Request, secret: str, most: int = MAX_FORM) -> Form:
    """The form that a browser sends.

    Args:
        secret: of the cookie that the form was drawn for; empty: there is none, and every form is refused.
        most: bytes of its body.

    Raises:
        web.HTTPException: 403 not our page's form; else as `read_fields`.
    """
    body, fields = await read_fields(request, most)
    if not secret or not hmac.compare_digest(fields.get(FORM, "").encode(), form_token(secret).encode()):
        raise web.HTTPForbidden(text=EXPIRED)
    request[PAGE] = fields.get(ON, "")
    return Form(fields, sha256(_bytes(secret) + b"\n" + body).digest())


async def read_fields(request: web.Request, most: int) -> tuple[bytes, Mapping[str, str]]:
    """The body of a form, of at most ``most`` bytes, and its fields; whose form it is, is not looked at.

    Raises:
        web.HTTPException: 413, 415, 400 or 408: no form within the limits.
    """
    if request.content_type != _TYPE:
        raise web.HTTPUnsupportedMediaType
    if (request.content_length or 0) > most:
        raise _too_large(request, most)
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await _read(request, most)
    except TimeoutError:
        raise web.HTTPRequestTimeout(headers={hdrs.CONNECTION: "close"}) from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(headers={hdrs.CONNECTION: "close"}) from None
    await allow_again(request)
    try:
        fields = dict(
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(body),
                errors="strict",
                max_num_fields=MAX_FIELDS,
            )
        )
    except ValueError:
        raise web.HTTPBadRequest from None
    return body, fields


async def _read(request: web.Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > most:
            raise _too_large(request, most)
    return bytes(body)


def _too_large(request: web.Request, most: int) -> web.HTTPException:
    return web.HTTPRequestEntityTooLarge(most, request.content_length or 0, headers={hdrs.CONNECTION: "close"})


class Answers:
    """The answers to forms of the last while, each kept under the whole form, so that another one never gets it."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, asyncio.Future[web.Response]]] = OrderedDict()  # oldest first

    async def once(self, form: Form, act: Callable[[], Awaitable[web.Response]]) -> web.Response:
        """The answer of ``act``, which runs once for each form.

        An error of ``act``, and an answer that says "not now", are kept for those alone who wait for it already: the
        form may be sent again.

        Raises:
            web.HTTPBadRequest: the form has no number.
        """
        if not form[ONCE]:
            raise web.HTTPBadRequest
        now = asyncio.get_running_loop().time()
        self._forget(now)
        while form.key in self._known:
            _, earlier = self._known[form.key]
            await asyncio.wait([earlier])
            if not earlier.cancelled():
                return _copy(earlier.result())
        first: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._known[form.key] = now, first
        try:
            answer = await act()
        except BaseException:
            self._known.pop(form.key, None)
            first.cancel()
            raise
        if answer.status >= LATER or answer.status == TOO_MANY:
            del self._known[form.key]
        first.set_result(_copy(answer))
        return answer

    def _forget(self, now: float) -> None:
        """Forget old answers; one that is being made stays."""
        made = [(key, at) for key, (at, answer) in self._known.items() if answer.done()]
        beyond = len(self._known) - ANSWERS_KEPT + 1
        for number, (key, at) in enumerate(made):
            if number < beyond or now - at >= KEPT_S:
                del self._known[key]


def _copy(answer: web.Response) -> web.Response:
    """The same answer for another request."""
    copy = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    for cookie in answer.cookies.values():
        copy.cookies[cookie.key] = cookie
    return copy
