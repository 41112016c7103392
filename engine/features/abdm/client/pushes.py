"""Encrypted records to a reader, by HTTP: one page, once. The reader names the address, so nothing of it is trusted.

    the address      `adapters.clients.http.push_guard`: https, and all of its addresses of the internet, at the very
                     connection; http only to this machine, where the site names it, as for the simulator
    the permission   asked for once the connection is made, before a byte is written
    the certificate  verified by the system's authorities
    the answer       its status, and whether it begins as a page of a proxy; no redirect is followed

    2xx                              delivered
    none, 408, 425, 429, 5xx, html   to be sent again, the same bytes
    401                              our session has ended: again, with another token
    all others                       final
    no permission any more           nothing was sent: the caller knows why

Sources: NHA's pages on the data flow, V3.
"""

import io
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import aiohttp
from yarl import URL

from adapters.clients.http.exchange import CAUSES
from adapters.clients.http.push_guard import GuardedResolver, Network, before_sending, guarded_connector, push_url
from adapters.clients.tls import cause_of, tls_context
from engine.model.errors import PushRefusedError

KEEP_ALIVE_S = 4.0
ANSWER_BYTES = 1024  # as much of an answer as is looked at
LONGEST_WAIT_S = 20 * 60.0  # that a reader may ask for: the window of a transfer
TIMEOUT = "no answer in time"


class Settings(Protocol):
    """The settings that are read here, of `engine.features.abdm.config.destination.AbdmDestination`."""

    push_private: Iterable[str]
    pushes: int
    timeout: float


class Taken(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    AGAIN = "again"
    LOG_IN = "log-in"  # again, once, with another token
    FINAL = "final"
    STOPPED = "stopped"  # it may not go now


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """Attributes:
    status: of HTTP; 0: there was none.
    cause: why there was none, or why nothing was sent; never a word of the reader.
    retry_after_s: seconds that it asked us to wait.
    sent: whether a byte of the page may have gone out.
    """

    taken: Taken
    status: int = 0
    cause: str = ""
    retry_after_s: float = 0.0
    sent: bool = True


class Pushes:
    """Of one site."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._settings = settings
        self._allowed = networks(settings.push_private)
        self._tls = tls_context(name, None)
        self._client: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the client; makes no connection."""
        self._client = aiohttp.ClientSession(
            connector=guarded_connector(
                GuardedResolver(self._allowed),
                limit=self._settings.pushes,
                keepalive_timeout=KEEP_ALIVE_S,  # a connection that is kept goes where it was looked at
                ssl=self._tls,
            ),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def push(self, address: str, body: bytes, token: str, may_go: Callable[[], Awaitable[bool]]) -> PushAnswer:
        """Send a page, once. Fails only where ``may_go`` does.

        Args:
            token: of our session; empty: none goes along.
            may_go: asked when the connection is made.
        """
        if self._client is None:
            return PushAnswer(Taken.AGAIN, cause="it is not open", sent=False)
        sent = stopped = False

        async def ask() -> None:
            nonlocal sent, stopped
            sent = await may_go()
            if not sent:
                stopped = True
                raise PushRefusedError("it may not go any more")

        headers = {"Content-Type": "application/json", "User-Agent": "LabRelay", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        asked = before_sending.set(ask)
        try:
            url = readable(address, self._allowed)
            async with self._client.post(url, data=io.BytesIO(body), headers=headers, allow_redirects=False) as answer:
                begin = b"" if answer.status >= 300 else await answer.content.read(ANSWER_BYTES)
                return PushAnswer(_meaning(answer.status, begin), answer.status, retry_after_s=_wait_s(answer))
        except PushRefusedError as error:
            return PushAnswer(Taken.STOPPED if stopped else Taken.FINAL, cause=error.reason, sent=False)
        except TimeoutError:
            return PushAnswer(Taken.AGAIN, cause=TIMEOUT, sent=sent)
        except (aiohttp.ClientError, OSError) as error:
            return PushAnswer(Taken.AGAIN, cause=cause_of(error, CAUSES), sent=sent)
        finally:
            before_sending.reset(asked)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in texts)


def readable(address: str, allowed: Iterable[Network]) -> URL:
    """The address of a reader, before any look-up.

    Args:
        allowed: networks that are not of the internet and are let in. Within them http to this machine is, too.

    Raises:
        PushRefusedError: ``reason`` says why.
    """
    url = push_url(address, allowed, in_clear=True)
    if url.scheme != "https" and not _is_this_machine(url.host or ""):
        raise PushRefusedError("not https")
    return url


def host_of(address: str) -> str:
    """The host and port of an address that was looked at; empty: it has none."""
    try:
        return URL(address).authority
    except ValueError:
        return ""


def check(address: str, settings: Settings) -> None:
    """As `readable`, by the settings of a site."""
    readable(address, networks(settings.push_private))


def build(name: str, settings: Settings) -> Pushes:
    """
    Raises:
        ConfigError: the system's authorities cannot be read.
    """
    return Pushes(name, settings)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _meaning(status: int, begin: bytes) -> Taken:
    if 200 <= status < 300:
        return Taken.AGAIN if begin.lstrip().startswith(b"<") else Taken.DELIVERED
    if status == 401:
        return Taken.LOG_IN
    return Taken.AGAIN if status in (408, 425, 429) or status >= 500 else Taken.FINAL


def _wait_s(answer: aiohttp.ClientResponse) -> float:
    text = answer.headers.get("Retry-After", "").strip()
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdecimal() and len(text) < 8 else 0.0
