"""Whose request it is: the address of the connection, or the one that a relay before this machine names.

A relay adds the address that it was reached from to the end of ``X-Forwarded-For``; what is before that is the sender's
own word. So its last address counts, also where it is a relay's, and the header of any other connection counts for
nothing.
"""

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

HEADER = "X-Forwarded-For"
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+")  # as some relays write them
_SENDER = web.RequestKey("address of the sender", str)

Network = IPv4Network | IPv6Network


def networks(given: Iterable[str]) -> tuple[Network, ...]:
    return tuple(map(ip_network, given))


def is_in(address: str, places: Collection[Network]) -> bool:
    found = _read(address)
    return found is not None and any(found in one for one in places)


def named(request: web.BaseRequest, relays: Collection[Network]) -> str:
    """The address of the connection, or of the sender that its relay names; empty: it is not known."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    sender = str(peer[0]) if isinstance(peer, (tuple, list)) else ""
    if not is_in(sender, relays):
        return sender
    last = ",".join(request.headers.getall(HEADER, [])).rpartition(",")[2].strip()
    found = _WITH_PORT.fullmatch(last)
    text = (found[1] or found[2]) if found else last
    return text if _read(text) is not None else ""


def note(request: web.Request, relays: Collection[Network]) -> None:
    request[_SENDER] = named(request, relays) or request.remote or ""


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
