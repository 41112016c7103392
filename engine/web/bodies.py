"""Bodies of answers: compressed where that is worthwhile, and with an ETag, under the reader's conditions.

Bodies that many readers ask for: each is made once for as long as what it shows does not change.
"""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from aiohttp import hdrs, web

COMPRESS_BYTES = 1024  # smaller bodies are sent as they are
JSON, HTML = "application/json", "text/html"
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Body:
    """Bytes to send; what is made of them is made once, and takes some milliseconds for a megabyte."""

    content: bytes
    content_type: str = JSON

    @cached_property
    def etag(self) -> str:
        return f'"{blake2b(self.content, digest_size=12).hexdigest()}"'

    @cached_property
    def compressed(self) -> bytes:
        maker = zlib.compressobj(level=5, wbits=_GZIP)
        return maker.compress(self.content) + maker.flush()


def html(text: str) -> Body:
    return Body(text.encode(), HTML)


def prepared(request: web.Request, body: Body, *, tagged: bool = True) -> Body:
    """The same with its parts that take time made: in a thread, not while other requests wait."""
    _ = tagged and body.etag, _is_compressed(request, body) and body.compressed
    return body


def answer(
    request: web.Request,
    body: Body,
    headers: Mapping[str, str] | None = None,
    *,
    status: int = 200,
    vary: str = "",
    tagged: bool = True,
) -> web.Response:
    """The answer, by the reader's conditions (RFC 9110, 13.1).

    Args:
        vary: other headers of the request that the body depends on.
        tagged: it has an ETag; a reader that has it already gets a 304.
    """
    sent = {hdrs.VARY: f"{vary}, {hdrs.ACCEPT_ENCODING}" if vary else hdrs.ACCEPT_ENCODING, **(headers or {})}
    if tagged:
        sent[hdrs.ETAG] = body.etag
        if matches(request.headers.get(hdrs.IF_NONE_MATCH, ""), body.etag):
            return web.Response(status=304, headers=sent)
    charset = "utf-8" if body.content_type.startswith("text/") else None
    content = body.content
    if _is_compressed(request, body):
        sent[hdrs.CONTENT_ENCODING] = "gzip"
        content = body.compressed
    return web.Response(status=status, body=content, content_type=body.content_type, charset=charset, headers=sent)


def matches(header: str, etag: str) -> bool:
    """Whether the value of ``If-Match`` or ``If-None-Match`` names this one."""
    return any(one.strip().removeprefix("W/") in ("*", etag) for one in header.split(",")) if header else False


def _is_compressed(request: web.Request, body: Body) -> bool:
    return len(body.content) > COMPRESS_BYTES and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()


MOST = 8  # a page of 500 analyzers has half a megabyte


class KeptBodies:
    """The newest body for each name.

    Args:
        most: so many are kept; the one that was asked for longest ago goes.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[object, Body]] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, name: Hashable, shown: object, make: Callable[[], Body]) -> Body:
        """The body of this name.

        Args:
            shown: what it is made of; another object, another body.
            make: called in a thread.
        """
        async with self._making:  # who asks meanwhile waits, and makes no second one
            known = self._kept.get(name)
            if known is None or known[0] is not shown:
                known = self._kept[name] = shown, await asyncio.to_thread(make)
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return known[1]
