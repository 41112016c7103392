"""A POST by one destination, and servers for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters.clients.http.exchange import HttpExchange
from engine.model.errors import TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Settings

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def opened(url: str, **changes: Any) -> AsyncIterator[HttpExchange]:
    settings = Settings(url=url).but(**changes)
    http_side = HttpExchange("lab", settings, ManualClock(), accept="*/*", redirected=ReasonCode.WRONG_ADDRESS)
    await http_side.start()
    try:
        yield http_side
    finally:
        await http_side.close()


@asynccontextmanager
async def server_of(handler: Handler) -> AsyncIterator[str]:
    """Its address. It waits for its handlers at the end, and closes their connections."""
    ended = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fhir"
    async with asyncio.timeout(240.0):
        await asyncio.gather(*ended)


async def said(lab: HttpExchange, body: bytes = b"document") -> tuple[int, bytes] | str:
    """The status and the body of an answer, or why there is none."""
    try:
        answer = await lab.exchange("POST", lab.url, {"Content-Type": "text/plain"}, body)
    except TransientDeliveryError as error:
        return error.detail if error.reason is ReasonCode.NO_ANSWER else error.reason
    assert answer.whole
    return answer.status, answer.body
