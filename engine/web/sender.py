"""Whose request it is: the address of the connection, or the one that a relay before this machine names.

A relay adds the address that it was reached from to the end of ``X-Forwarded-For``; what is before that is the sender's
own word. So the last address that is no relay counts, and the header of any other connection counts for nothing.
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

HEADER = "X-Forwarded-For"
_SENDER = web.RequestKey("address of the sender", str)

Network = IPv4Network | IPv6Network


def networks(given: Iterable[str]) -> tuple[Network, ...]:
    return tuple(map(ip_network, given))


def is_in(address: str, places: Collection[Network]) -> bool:
    found = _read(address)
    return found is not None and any(found in one for one in places)


def named(request: web.BaseRequest, relays: Collection[Network]) -> str:
    """The address that the relays name, or that of the connection; empty: neither is known."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    sender = str(peer[0]) if isinstance(peer, (tuple, list)) else ""
    for text in reversed(",".join(request.headers.getall(HEADER, [])).split(",")):
        if not is_in(sender, relays) or _read(text.strip()) is None:
            break
        sender = text.strip()
    return sender


def note(request: web.Request, relays: Collection[Network]) -> None:
    request[_SENDER] = named(request, relays)


def sender_of(request: web.Request) -> str:
    """What `note` has found; of a server without relays the address of the connection."""
    noted: str = request.get(_SENDER, request.remote or "")
    return noted


def _read(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
