"""Decide who may connect to a listener, and how many handshakes may be open: at accept, before a byte is read.

A TLS handshake that is not finished costs a file and some 140 kB, and no message has come yet. So handshakes have
limits of their own, in all and for each peer, and a deadline. Where a limit is reached the handshake that began first
gives way: of the same peer where that has its share, else of all. A handshake takes milliseconds, so an analyzer's is
over before it is the oldest, while a crowd that says nothing only replaces itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

HANDSHAKE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A listener's conditions for clients.

    Attributes:
        allow: addresses and networks; empty: any.
        names: the client's certificate must have one of these, in lower case; empty: any trusted certificate.
        handshakes, handshakes_per_peer: unfinished ones at once.
        handshake_timeout_s: for one of them.
    """

    allow: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    handshakes: int = 32
    handshakes_per_peer: int = 8
    handshake_timeout_s: float = HANDSHAKE_S


class Gate:
    """The door of one listener."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._networks = [ip_network(one, strict=False) for one in admission.allow]
        # number -> (peer, how to end it), oldest first
        self._under_way: dict[int, tuple[str, Callable[[], object]]] = {}
        self._last = 0

    def lets_in(self, host: str) -> bool:
        """Whether this address may connect at all."""
        if not self._networks:
            return True
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def knows(self, names: frozenset[str]) -> bool:
        """Whether a certificate with these names may use the channel."""
        return not self._admission.names or bool(self._admission.names & names)

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def begin(self, host: str, end: Callable[[], object]) -> tuple[int, bool]:
        """A handshake begins; its number for `over`, and whether another one had to give way.

        Args:
            end: ends it from outside, at once.
        """
        of_peer = [number for number, (peer, _) in self._under_way.items() if peer == host]
        crowded = self._crowded(of_peer)
        if crowded is not None:
            self._under_way.pop(crowded)[1]()
        self._last += 1
        self._under_way[self._last] = (host, end)
        return self._last, crowded is not None

    def over(self, number: int) -> None:
        """A handshake has ended, whichever way."""
        self._under_way.pop(number, None)

    def _crowded(self, of_peer: Sequence[int]) -> int | None:
        """The handshake that must give way to one more."""
        if len(of_peer) >= self._admission.handshakes_per_peer:
            return of_peer[0]
        if len(self._under_way) >= self._admission.handshakes:
            return next(iter(self._under_way))
        return None
