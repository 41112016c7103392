"""Addresses that another party names, and that we send to all the same: where a push of ABDM goes.

The reader of a patient's records gives the address in its request. It must not lead to this machine, to the network of
the laboratory or to a service of a cloud, so

- the URL is https, has no name and password, and no host that is a number in another form than usual (``127.1``,
  ``2130706433``): aiohttp asks no resolver for one, and the system reads it;
- every address of its host is one of the internet. A single one that is not refuses the host, for the name server
  chooses their order;
- a connection is made to the addresses that were looked at, not to those of a second look-up, which may be others
  (DNS rebinding): `GuardedResolver` does both for aiohttp.

A site may name networks that are let in all the same, for a reader beside it or for a trial. Redirects are never
followed, and no proxy is taken from the environment, as in `adapters.clients.http.exchange`.

Sources: RFC 6890 and IANA's registries of special addresses (the `ipaddress` module has them), RFC 4291 2.4, RFC 6052
(NAT64: the IPv4 address within decides), RFC 7526 (6to4, which is given up).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from engine.model.errors import PushRefusedError

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LookUp = Callable[[str, int, socket.AddressFamily], Awaitable[Sequence[tuple[Any, ...]]]]
"""As ``loop.getaddrinfo`` for stream sockets: host, port, family."""

before_sending: ContextVar[Callable[[], Awaitable[None]]] = ContextVar("before_sending")
"""Awaited once the connection of a request is made, before its first byte is written. Where it raises, none is."""

LONGEST_URL = 2048
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)  # as WHATWG's URL standard finds one: by its end
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890; older releases of Python take a part of it for public
# Of IPv6 the internet is one eighth; an address of IPv4 is written within some others, and a gateway carries it there.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def push_url(text: str, allowed: Iterable[Network] = (), *, in_clear: bool = False) -> URL:
    """The address of a push, before any look-up.

    Args:
        allowed: networks that are let in.
        in_clear: http is let in, too; for a simulator on this machine.

    Raises:
        PushRefusedError: ``reason`` says why.
    """
    if len(text) > LONGEST_URL or not text.isprintable():
        raise PushRefusedError("no address")
    try:
        url = URL(text)
        host, port = url.raw_host, url.explicit_port
        (host or "").encode("idna")  # as the look-up writes it: no part of a name is empty or long
    except ValueError:
        raise PushRefusedError("no address") from None
    if not host:
        raise PushRefusedError("no address")
    if url.scheme != "https" and not (in_clear and url.scheme == "http"):
        raise PushRefusedError("not https")
    if url.user is not None or url.password is not None:
        raise PushRefusedError("a name or a password is in the address")
    if port == 0:
        raise PushRefusedError("no address")
    try:
        raise_unless_public([str(ipaddress.ip_address(host))], allowed)
    except ValueError:  # a name, whose addresses `GuardedResolver` looks at
        if _NUMBER.fullmatch(host):
            raise PushRefusedError("no address") from None
    return url.with_fragment(None)


def raise_unless_public(addresses: Iterable[str], allowed: Iterable[Network] = ()) -> None:
    """Refuse a host unless all of its addresses are of the internet, or allowed.

    Raises:
        PushRefusedError: one is neither, or there is none.
    """
    networks = tuple(allowed)
    found = [_address(one) for one in addresses]
    if not found:
        raise PushRefusedError("no address of this name")
    for one in found:
        if not any(one in network for network in networks) and not _is_public(one):
            raise PushRefusedError("an address that is not of the internet")


class GuardedResolver(AbstractResolver):
    """Of an `aiohttp.TCPConnector`: it gives only addresses that were looked at, and all or none of a host.

    aiohttp asks no resolver for an address in numbers; `push_url` has looked at such a one.
    """

    def __init__(self, allowed: Iterable[Network] = (), look_up: LookUp | None = None) -> None:
        self._allowed = tuple(allowed)
        self._look_up = look_up or _look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Raises:
            PushRefusedError: an address of the host is refused.
            OSError: the name has none.
        """
        found = [one for one in await self._look_up(host, port, family) if one[0] in (socket.AF_INET, socket.AF_INET6)]
        raise_unless_public([str(one[4][0]) for one in found], self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=str(one[4][0]),
                port=port,
                family=one[0],
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for one in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def guarded_connector(resolver: GuardedResolver, **more: Any) -> aiohttp.TCPConnector:
    """Connections by ``resolver`` alone, which keeps no answer of a name server for the next connection."""
    return _AskingConnector(resolver=resolver, use_dns_cache=False, **more)


class _AskingConnector(aiohttp.TCPConnector):
    """Asks `before_sending`. Look-up, connection and TLS take time, in which a permission may end."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (the library's signature)
    ) -> "Connection":
        connection = await super().connect(req, traces, timeout)
        try:
            if (ask := before_sending.get(None)) is not None:
                await ask()
        except BaseException:
            connection.close()
            raise
        return connection


async def _look_up(host: str, port: int, family: socket.AddressFamily) -> Sequence[tuple[Any, ...]]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise PushRefusedError("no address of this name") from None


def _is_public(one: Address) -> bool:
    if isinstance(one, ipaddress.IPv4Address):
        return one.is_global and not one.is_multicast and one not in _PROTOCOLS
    if one in _NAT64:
        return _is_public(ipaddress.IPv4Address(int(one) & 0xFFFF_FFFF))
    return one in _UNICAST and one not in _6TO4 and one.is_global
