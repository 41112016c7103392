"""The live updates: server-sent events (WHATWG HTML, 9.2), one coalesced event a second per
language and right to read people's words.

    id: <boot>-<version>
    data: {"parts": {id: html}, "order": {...}, "title": ..., "todo": [id, ...], "say": ...}

A reader of the version before the current one gets the changes; any other (new, or too slow to have read the last
events) gets everything. So a slow reader costs no memory, and a reader that reconnects with ``Last-Event-ID`` misses
nothing. Nothing is rendered without a reader.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable

import orjson

from engine.web.render import Live

logger = logging.getLogger("labrelay.web")

KEEP_ALIVE_INTERVALS = (
    15  # without news for this many intervals a comment is sent, so that a departed reader is noticed
)
SAID_AT_ONCE = 3  # state changes read aloud per second; a flood of them would bury the first


class Feed:
    """The events of one language and one right to read, for all their readers."""

    def __init__(self, render: Callable[[], Awaitable[Live]], interval_s: float) -> None:
        self._render = render
        self._interval_s = interval_s
        self._boot = secrets.token_hex(4)
        self._version = 0
        self._live: Live | None = None
        self._full = b""
        self._changes = b""
        self._news = asyncio.Event()
        self._readers = 0
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether events are being made."""
        return self._ticker is not None and not self._ticker.done()

    async def events(self, last_id: str = "") -> AsyncGenerator[bytes, None]:
        """Events from now on; ends when the feed is closed. ``last_id``: the reader's ``Last-Event-ID``."""
        boot, _, number = last_id.partition("-")
        seen = int(number) if boot == self._boot and number.isdecimal() and len(number) < 16 else -1
        self._readers += 1
        if not self.active:
            # After a time without readers the last published event is old. Wait for a fresh, complete one.
            self._live, seen = None, self._version
            self._ticker = asyncio.create_task(self._tick(), name="web feed")
        try:
            yield b"retry: 2000\n\n"
            while not self._closed:
                if seen == self._version or self._version == 0:
                    try:
                        await asyncio.wait_for(self._news.wait(), KEEP_ALIVE_INTERVALS * self._interval_s)
                    except TimeoutError:
                        yield b": nothing new\n\n"
                    continue
                changes_suffice = seen == self._version - 1
                seen = self._version
                yield self._changes if changes_suffice else self._full
        finally:
            self._readers -= 1

    async def close(self) -> None:
        """End all readers' events."""
        self._closed = True
        self._wake()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)

    async def _tick(self) -> None:
        while self._readers and not self._closed:
            try:
                self._publish(await self._render())
            except Exception:
                logger.exception("live update failed")
            await asyncio.sleep(self._interval_s)

    def _publish(self, live: Live) -> None:
        before, self._live = self._live, live
        if before is not None and before == live:
            return
        self._version += 1
        event_id = f"{self._boot}-{self._version}"
        self._full = encode(event_id, everything(live))
        self._changes = self._full if before is None else encode(event_id, changes(before, live))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def everything(live: Live) -> dict[str, object]:
    """The event for a reader without any version."""
    return {"parts": live.parts, "order": live.order, "title": live.title, "todo": live.todo}


def changes(before: Live, now: Live) -> dict[str, object]:
    """The changes from ``before`` to ``now``."""
    update: dict[str, object] = {
        "parts": {key: html for key, html in now.parts.items() if before.parts.get(key) != html},
        "order": {key: ids for key, ids in now.order.items() if before.order.get(key) != ids},
    }
    if now.title != before.title:
        update["title"] = now.title
    if now.todo != before.todo:
        update["todo"] = now.todo
    changed = [words for key, words in now.states.items() if before.states.get(key, words) != words]
    if changed:
        update["say"] = ". ".join(changed[:SAID_AT_ONCE])
    return update


def encode(event_id: str, update: dict[str, object]) -> bytes:
    """One event on the wire. JSON has no raw line breaks, so one ``data:`` line holds it."""
    return b"id: %s\ndata: %s\n\n" % (event_id.encode(), orjson.dumps(update))
