"""``GET /api/v1/events``: events as they happen, as server-sent events (WHATWG HTML, 9.2).

    id: 4711-1772346123000042-9f3a01c2
    event: delivery.dead
    data: {"type": "delivery.dead", "timestamp": ..., "data": {...}}

Each stream reads the journal for itself, a page at a time, from its own position, and reads the next page only once the
last one was taken. So a slow reader costs no memory and delays nothing. It is cut after `SEND_TIMEOUT_S`, and goes on
where it was, by ``Last-Event-ID``. A line ``id:`` alone is a position further on, without an event that is wanted.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

from aiohttp import hdrs, web

from engine.features.events import rows as events
from engine.features.events.rules import Event, Position, Wanted, position_of, readable, wanted
from engine.model.errors import ProblemError, StoreError
from engine.web.api import requests
from engine.web.api.lists import Sources
from engine.web.api.parameters import Events
from engine.web.routes import IN_USE, PRINCIPAL, allow_again

MOST_STREAMS = 16
MOST_OF_ONE = 4  # token or person
LOOK_S = 0.25  # between two looks whether something has happened
HEARTBEAT_S = 15.0
ALLOWED_S = 2.0  # after so long it is looked anew whether the caller may still read
SEND_TIMEOUT_S = 10.0  # a reader that does not take a page in this time is cut
RETRY_S = 10.0
RECONNECT_MS = 2000


class EventStreams:
    """The streams of one site."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._readers: Counter[str] = Counter()
        self._reading = asyncio.Semaphore(1)  # the threads are for those who map messages, too
        self._closed = False

    def close(self) -> None:
        """End all streams, within `LOOK_S`."""
        self._closed = True

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """
        Raises:
            ProblemError: an argument is wrong, a permission is missing, or there are too many streams.
            StoreError: the journal cannot be read.
        """
        given = requests.arguments(Events, requests.in_address(request))
        wishes = _wanted(request, given)
        at = _position(request.headers, given)
        caller = str(request[PRINCIPAL].actor)
        if self._readers.total() >= MOST_STREAMS or self._readers[caller] >= MOST_OF_ONE:
            text = f"there are at most {MOST_STREAMS} streams of events, and {MOST_OF_ONE} of one caller; end one"
            raise ProblemError("too-many", text, retry_after=RETRY_S)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"})
        self._readers[caller] += 1
        try:
            if at is None:
                at = await asyncio.to_thread(events.newest, self._sources.journal)
            await response.prepare(request)
            if request.method != hdrs.METH_HEAD:
                await self._follow(request, response, at, wishes)
        except (TimeoutError, ConnectionResetError, StoreError):  # the caller comes again, and misses nothing
            if not response.prepared:
                raise
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._readers[caller] -= 1
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse, at: Position, wishes: Wanted) -> None:
        """Write events until the caller leaves, is not allowed to read any more, or the server ends."""
        loop = asyncio.get_running_loop()
        seen: object = None
        written = allowed = loop.time()
        send = b"retry: %d\nid: %s\n\n" % (RECONNECT_MS, str(at).encode())
        while not self._closed and request.transport is not None and not request.transport.is_closing():
            now = loop.time()
            if not send and now - written >= HEARTBEAT_S:
                send = b": nothing new\n\n"
            if now - allowed >= ALLOWED_S:
                if not await _is_allowed(request, wishes):
                    return
                if (connection := request.get(IN_USE)) is not None:
                    connection.again()
                allowed = now
            if send:
                await asyncio.wait_for(response.write(send), SEND_TIMEOUT_S)
                send, written = b"", loop.time()
            if (reached := self._sources.reached()) == seen:
                await asyncio.sleep(LOOK_S)
                continue
            async with self._reading:
                page = await asyncio.to_thread(events.page, self._sources.journal, at, wishes)
            seen = reached if page.is_last else None
            send = b"".join(map(_encoded, page.events))
            moved = page.position != (page.events[-1].position if page.events else at)
            if moved and self._sources.journal.is_whole:  # else it would tell when others have something
                send += b"id: %s\n\n" % str(page.position).encode()
            at = page.position


def _encoded(event: Event) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (str(event.position).encode(), event.type.encode(), event.encoded())


def _wanted(request: web.Request, given: Events) -> Wanted:
    principal = request[PRINCIPAL]
    if given.types is None:
        return readable(principal.permissions)
    try:
        found = wanted(given.types.split(","))
    except ValueError as error:
        errors = [{"parameter": "types", "detail": str(error)}]
        raise ProblemError("arguments", "wrong: types", errors=errors) from None
    if not principal.may(found.needs):
        raise ProblemError("not-permitted", "events of kind act need the permission administer; leave them out")
    return found


def _position(headers: Mapping[str, str], given: Events) -> Position | None:
    name, text = "Last-Event-ID", headers.get("Last-Event-ID", "")
    if not text:
        name, text = "after", given.after or ""
    try:
        return position_of(text) if text else None
    except ValueError as error:
        errors = [{"parameter": name, "detail": str(error)}]
        raise ProblemError("arguments", f"wrong: {name}", errors=errors) from None


async def _is_allowed(request: web.Request, wishes: Wanted) -> bool:
    """Whether the caller may still read all of it: a token may be revoked, a session end, a role change."""
    try:
        await allow_again(request)
    except web.HTTPException:
        return False
    return request[PRINCIPAL].may(wishes.needs)
