"""Our own health path, fetched by the public name that the gateway uses: whether callbacks can come in."""

import aiohttp

from adapters.clients.http.exchange import CAUSES
from adapters.clients.tls import cause_of

TIMEOUT_S = 10.0
MAX_BYTES = 64


async def fault_of(url: str) -> str:
    """Why ``url`` does not answer as our listener does; empty: it does."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False) as client,
            client.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return f"HTTP {answer.status}"
            content = await answer.content.read(MAX_BYTES)
            return "" if content.strip() == b"ok" else "other content than `ok`: another program answers there"
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return cause_of(error, CAUSES)
