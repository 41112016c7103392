"""One POST as a stream that a channel reads and answers, and the answers that are no acknowledgement.

The link of the stream is `adapters.codecs.text.whole_link`: one read gives the whole body, the channel writes HL7's
acknowledgement, if there is one, and then ACK. Only that ACK makes the answer of HTTP one of 2xx (P1):

    ACK                          200   the acknowledgement, or the answer to orders; else the numbers of the messages
    ACK after refused orders     422   kept as a dead letter: sending it again is of no use
    ACK, of what is no JSON      422   kept as a dead letter: sending it again is of no use
    ACK after AE, CE             503   kept, and not delivered in time (``ack: on_delivery``)
    ACK after AR, CR             422   kept, and nothing that can be read: sending it again is of no use
    NAK                          422   no whole message in the body
    nothing                      503   not stored: the sender must send it again
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from adapters.codecs import json_orders, json_tree
from adapters.codecs.hl7v2.acknowledgement import read_ack
from adapters.codecs.text.whole_link import ACK, NAK
from adapters.transports.errors import RequestError
from adapters.transports.sockets.tcp_stream import TcpStream
from engine.model.errors import ContentError

RETRY_AFTER_S = 10
HL7_TYPES = ("x-application/hl7-v2+er7", "application/hl7-v2+er7", "application/hl7-v2", "text/hl7", "text/plain")
MEDIA_TYPES = {"hl7v2": HL7_TYPES, "json": ("application/json",), "fhir": ("application/fhir+json", "application/json")}
Reads = Callable[[bytes], object]  # raises ContentError
READERS: Mapping[str, Reads] = {"json": json_tree.read, "fhir": json_tree.read}  # HL7's acknowledgement says it itself
NOT_KEPT = "the message could not be stored, please send it again"
_WORDS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "the message is kept, but it cannot be read",
    HTTPStatus.SERVICE_UNAVAILABLE: "the message is kept, but was not delivered in time",
}
_ALWAYS = {"Server": "LabRelay"}  # not the versions of what it is made of
_LATER = {"Retry-After": str(RETRY_AFTER_S)}


class Post:
    """One request with its whole body (`engine.model.ports.NumberedStream`).

    Args:
        reads: reads a body of a format without acknowledgements.

    Attributes:
        unanswered: numbers of its stored messages; the channel adds them before it writes ACK.
        taken: an answer of 2xx was written, and the sender has taken it.
    """

    def __init__(
        self, request: web.BaseRequest, body: bytes, connection: TcpStream, reads: Reads | None = None
    ) -> None:
        self.peer = connection.peer
        self.unanswered: list[int] = []
        self.taken = False
        self._response: web.Response | None = None
        self._request = request
        self._body = body
        self._answered = body if reads is not None else b""  # what the answer is about
        self._reads = reads
        self._connection = connection
        self._text = b""  # HL7's acknowledgement

    @property
    def gone(self) -> bool:
        return self._connection.gone

    async def took(self) -> bool:
        return await self._connection.took()

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as `engine.model.ports.Stream`
        body, self._body = self._body, b""
        return body

    async def write(self, data: bytes) -> None:
        if data not in (ACK, NAK):
            self._text += data
            return
        if data == ACK:
            status = _status(self._text) if self._reads is None else _status_of_orders(self._text)
            response = self._made(status if await self._is_readable() else HTTPStatus.UNPROCESSABLE_ENTITY)
        else:
            response = problem(no_message())
        self._response = response
        if self.gone:
            response.force_close()
        await response.prepare(self._request)
        await response.write_eof()
        self.taken = response.status == HTTPStatus.OK and (not self.gone or await self.took())

    def finish(self) -> web.Response:
        """The response, once the channel is done; without ACK nothing was stored."""
        if self._response is None:
            self._response = self._made(HTTPStatus.SERVICE_UNAVAILABLE)
            if self.gone:
                self._response.force_close()
        return self._response

    def end(self) -> None:
        """The body is here already; the channel only has to store it."""

    async def close(self) -> None:
        """The connection is not the channel's to close."""

    async def _is_readable(self) -> bool:
        """Whether the body can be read as its format. A large one is read in a thread, so that others are answered."""
        body, self._answered = self._answered, b""
        try:
            if self._reads is not None and len(body) > json_tree.HEADER_BYTES:
                await asyncio.to_thread(self._reads, body)
            elif self._reads is not None:
                self._reads(body)
        except ContentError:
            return False
        return True

    def _made(self, status: HTTPStatus) -> web.Response:
        headers = _ALWAYS | (_LATER if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
        if self.unanswered:
            headers["LabRelay-Message"] = ", ".join(map(str, self.unanswered))
        if self._text and self._reads is not None:
            media_type = "application/problem+json" if status != HTTPStatus.OK else "application/json"
            fhir = media_type_of(self._request.headers) == "application/fhir+json"
            media_type = "application/fhir+json" if fhir else media_type
            return web.Response(status=status, body=self._text, headers=headers, content_type=media_type)
        if self._text and _accepts_hl7(self._request.headers):
            media_type = media_type_of(self._request.headers) or HL7_TYPES[0]
            return web.Response(status=status, body=self._text, headers=headers, content_type=media_type)
        if status == HTTPStatus.OK:
            body = json.dumps({"messages": self.unanswered}).encode()
            return web.Response(body=body, headers=headers, content_type="application/json")
        return problem(RequestError(status, _WORDS[status] if self.unanswered else NOT_KEPT, headers))


def no_message() -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no whole message in the body", fault="bad-request")


def problem(error: RequestError, *, close: bool = False) -> web.Response:
    """The answer to a request that is not taken (RFC 9457)."""
    body = {"title": HTTPStatus(error.status).phrase, "status": int(error.status), "detail": str(error)}
    response = web.Response(
        status=error.status,
        body=json.dumps(body).encode(),
        headers={**_ALWAYS, **error.headers},
        content_type="application/problem+json",
    )
    if close:
        response.force_close()
    return response


def media_type_of(headers: Mapping[str, str]) -> str:
    """The type of the body without its parameters; empty where none is given."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _accepts_hl7(headers: Mapping[str, str]) -> bool:
    """Whether the sender reads an answer in HL7: where it names no types, it does."""
    accept = headers.get("Accept", "*/*")
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return any(name in HL7_TYPES or name in ("*/*", "application/*", "text/*") for name in named)


def _status_of_orders(text: bytes) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if text and json_orders.is_refusal(text) else HTTPStatus.OK


def _status(text: bytes) -> HTTPStatus:
    """Of stored messages, by the code of their acknowledgement; a batch of answers says it for each message."""
    try:
        code = read_ack(text).code if text else "AA"
    except ContentError:
        return HTTPStatus.OK
    return {"E": HTTPStatus.SERVICE_UNAVAILABLE, "R": HTTPStatus.UNPROCESSABLE_ENTITY}.get(code[1], HTTPStatus.OK)
