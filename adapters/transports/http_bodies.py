"""The memory for bodies of requests that are not whole yet: a limit for all, and one for each address without proof.

Where the signature is over the body, the body must be read before its sender is known. So a stranger can make us hold
bytes, but never more than `UNPROVEN_BYTES` from one address: the rest is there for other senders.
"""

from collections import Counter
from ipaddress import IPv6Address, ip_address

UNFINISHED_BYTES = 64 * 1024 * 1024  # of all bodies that are being read; never less than one message
UNPROVEN_BYTES = 8 * 1024 * 1024  # of those of one address that the head does not prove; never less than one message
IPV6_BITS = 64  # one machine has all addresses of such a network (RFC 4291, 2.5.4)


class UnfinishedBodies:
    """The bytes that one listener holds.

    Args:
        largest: bytes of the largest message.
    """

    def __init__(self, largest: int) -> None:
        self._most = max(UNFINISHED_BYTES, largest)
        self._most_unproven = max(UNPROVEN_BYTES, largest)
        self._held = 0
        self._unproven: Counter[str] = Counter()

    def hold(self, size: int, origin: str) -> bool:
        """Hold so many bytes more, where there is room.

        Args:
            origin: `origin_of` a sender without proof; empty: the head has proven it, or it needs no proof.
        """
        if self._held + size > self._most or (origin and self._unproven[origin] + size > self._most_unproven):
            return False
        self._held += size
        if origin:
            self._unproven[origin] += size
        return True

    def release(self, size: int, origin: str) -> None:
        """Hold them no longer."""
        self._held -= size
        if origin:
            self._unproven[origin] -= size
            if not self._unproven[origin]:
                del self._unproven[origin]


def origin_of(host: str) -> str:
    """The address that counts as one sender: of IPv6 its network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> (128 - IPV6_BITS) << (128 - IPV6_BITS)))
