"""Documents as answers: JSON with an ETag, compressed where that is worthwhile, under the caller's conditions."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from aiohttp import hdrs, web

from engine.model.errors import ProblemError
from engine.views.encoding import encoded

COMPRESS_BYTES = 1024  # smaller bodies are sent as they are
CONTENT_TYPE = "application/json"
_GZIP = 16 + zlib.MAX_WBITS
_TAKEN = frozenset({"*/*", "application/*", CONTENT_TYPE})


@dataclass(frozen=True)
class Body:
    """An encoded document; what is made of it is made once."""

    content: bytes

    @cached_property
    def etag(self) -> str:
        return f'"{blake2b(self.content, digest_size=12).hexdigest()}"'

    @cached_property
    def compressed(self) -> bytes:
        maker = zlib.compressobj(level=5, wbits=_GZIP)
        return maker.compress(self.content) + maker.flush()


def body_of(document: dict[str, object]) -> Body:
    return Body(encoded(document))


def require_json_taken(request: web.Request) -> None:
    """
    Raises:
        ProblemError: the caller accepts no JSON.
    """
    accepted = request.headers.get(hdrs.ACCEPT, "*/*")
    kinds = (one.partition(";") for one in accepted.split(","))
    if not any(
        kind.strip().lower() in _TAKEN and "q=0" not in more.replace(" ", "").split(";") for kind, _, more in kinds
    ):
        raise ProblemError("not-acceptable", f"accept {CONTENT_TYPE}")


def prepared(request: web.Request, body: Body) -> Body:
    """The same with its parts that take time made: in a thread, not while other requests wait."""
    _ = body.etag, _is_compressed(request, body) and body.compressed
    return body


def answer(request: web.Request, body: Body, headers: dict[str, str] | None = None) -> web.Response:
    """The answer, by the caller's conditions (RFC 9110, 13.1).

    Raises:
        ProblemError: ``If-Match`` names another version.
    """
    sent = {hdrs.ETAG: body.etag, hdrs.VARY: hdrs.ACCEPT_ENCODING, **(headers or {})}
    if hdrs.IF_MATCH in request.headers and not _matches(request.headers[hdrs.IF_MATCH], body.etag):
        raise ProblemError("changed", "it is not what If-Match names")
    if _matches(request.headers.get(hdrs.IF_NONE_MATCH, ""), body.etag):
        return web.Response(status=304, headers=sent)
    if _is_compressed(request, body):
        return web.Response(
            body=body.compressed, content_type=CONTENT_TYPE, headers={**sent, hdrs.CONTENT_ENCODING: "gzip"}
        )
    return web.Response(body=body.content, content_type=CONTENT_TYPE, headers=sent)


def _is_compressed(request: web.Request, body: Body) -> bool:
    return len(body.content) > COMPRESS_BYTES and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()


def _matches(header: str, etag: str) -> bool:
    return any(one.strip().removeprefix("W/") in ("*", etag) for one in header.split(",")) if header else False
