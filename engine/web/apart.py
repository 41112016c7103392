"""A request that another process draws: what goes there of it, what it asks meanwhile, and the answer that comes back.

The daemon has admitted the request (`engine.web.routes.gate`) and says who asks. No header of the client does. What the
other process asks is answered for that person and this request alone, and changes nothing but the notes of looks.
"""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn, cast

from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from engine.model.errors import ElsewhereError
from engine.model.site.permissions import Principal
from engine.model.site.todo import Since
from engine.web.api import lists
from engine.web.identity import PERSON, SIGNED_IN, Person, Session
from engine.web.pages.doing import look_once, purpose_of
from engine.web.pages.frame import Frame
from engine.web.routes import PRINCIPAL
from engine.web.sender import sender_of

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""


QUESTIONS = frozenset(one.verb for one in lists.QUESTIONS)


def elsewhere(*_args: object, **_more: object) -> NoReturn:
    raise ElsewhereError


class LoggedIn(NamedTuple):
    """The person of a session, as pages show them (`engine.web.identity.User`)."""

    id: int
    name: str
    role: str
    language: str


class Given(NamedTuple):
    """A request that was admitted.

    Attributes:
        path, query: as they were sent.
        headers: but for the secret of a program.
        secure: it came over TLS. sender: its address.
        bell: as of `engine.web.running.Running`. since: as its `look` has it.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    secure: bool
    sender: str
    principal: Principal
    person: Person
    session: Session | None
    bell: int
    since: Since | None


GIVEN = web.RequestKey("given", Given)


def given(request: web.Request, bell: int, since: Since | None) -> Given:
    session = request.get(SIGNED_IN)
    if session is not None:
        user = session.user
        seen = LoggedIn(user.id, user.name, user.role, user.language)
        session = Session(principal=session.principal, user=seen, ends_us=session.ends_us, latest_us=session.latest_us)
    return Given(
        request.method,
        request.rel_url.raw_path,
        request.rel_url.raw_query_string,
        tuple(one for one in request.raw_headers if one[0].lower() != b"authorization"),
        request.secure,
        sender_of(request),
        request[PRINCIPAL],
        request[PERSON],
        session,
        bell,
        since,
    )


class _Request(web.Request):
    async def _prepare_hook(self, resp: web.StreamResponse) -> None:
        """An answer that is written bit by bit has no way from here."""
        elsewhere()


def request_of(asked: Given) -> web.Request:
    """The same request in this process, which has no connection to its sender."""
    headers = CIMultiDictProxy(CIMultiDict([(_text(name), _text(value)) for name, value in asked.headers]))
    url = URL.build(path=asked.path, query_string=asked.query, encoded=True)
    message = RawRequestMessage(
        asked.method, str(url), HttpVersion11, headers, asked.headers, False, None, False, False, url
    )
    connection = SimpleNamespace(
        ssl_context=True if asked.secure else None, peername=(asked.sender, 0), sockname=None, transport=None
    )
    nothing = cast(Any, None)
    made = _Request(message, EMPTY_PAYLOAD, cast(Any, connection), nothing, nothing, asyncio.get_running_loop())
    made[GIVEN] = asked
    return made


async def trusted(request: web.Request) -> Principal:
    """Who asks, as the daemon has said it."""
    asked = request[GIVEN]
    request[PERSON] = asked.person
    if asked.session is not None:
        request[SIGNED_IN] = asked.session
    return asked.principal


async def answered(frame: Frame, request: web.Request, *asked: Any, content: bytes = b"") -> Any:
    """The answer to what the other process asks for ``request``, which it draws.

    Raises:
        LabRelayError: it was refused.
        ElsewhereError: it is not to be had in this way, or the sender of the request is gone.
    """
    if request.transport is None:
        elsewhere()
    match asked:
        case "channel", str(name):
            return await frame.running.ends.channel(name)
        case "destination", str(name):
            return await frame.running.ends.destination(name)
        case "look", list(messages), str(purpose):
            return await look_once(frame, request, *messages, purpose=purpose)
        case "purpose", int(message):
            return await purpose_of(frame, request, message)
        case "give", str(name), dict(args) if _may_look(frame, request, name, args):
            return await frame.give(request, name, args, content)
    elsewhere()


def _may_look(frame: Frame, request: web.Request, name: str, args: Mapping[str, Any]) -> bool:
    """Whether an act only looks, and this person may give it."""
    verb = frame.verbs.get(name)
    if verb is None or not request[PRINCIPAL].may(verb.needs):
        return False
    return name in QUESTIONS or ("dry_run" in verb.arguments.model_fields and args.get("dry_run") is True)


def answer_of(response: web.StreamResponse) -> Answer:
    if not isinstance(response, web.Response) or not isinstance(response.body, (bytes, bytearray, type(None))):
        elsewhere()
    headers = [(str(name), value) for name, value in response.headers.items()]
    cookies = [(hdrs.SET_COOKIE, one.OutputString()) for one in response.cookies.values()]
    return response.status, headers + cookies, bytes(response.body or b"")


def response_of(status: int, headers: list[tuple[str, str]], body: bytes) -> web.Response:
    return web.Response(status=status, headers=CIMultiDict(headers), body=body or None)


def _text(header: bytes) -> str:
    return header.decode("utf-8", "surrogateescape")
