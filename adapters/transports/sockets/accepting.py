"""Listening sockets whose connections we accept ourselves, so that each is checked before it costs anything.

Decide who may connect to a listener, and how many handshakes may be open: at accept, before a byte is read.

A TLS handshake that is not finished costs a file and some 140 kB, and no message has come yet. So handshakes have
limits of their own, in all and for each peer, and a deadline. Where a limit is reached the handshake that began first
gives way: of the same peer where that has its share, else of all. A handshake takes milliseconds, so an analyzer's is
over before it is the oldest, while a crowd that says nothing only replaces itself.
"""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable, Coroutine, Sequence
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


logger = logging.getLogger("labrelay.channel")

BACKLOG = 128
AT_ONCE = 64  # accepted in one turn of the loop, before others have theirs
RETRY_S = 1.0  # after the system had no file or memory for another connection
# Connections leave this many of the process's files (or half of them, if there are few) to the journal and to
# destinations, which must go on working however many peers connect.
RESERVED_FILES = 64
_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """All sockets of one address."""

    def __init__(self, host: str, port: int, accepted: Callable[[socket.socket], None]) -> None:
        """``accepted`` owns each connection's socket from then on; it must not raise."""
        self._host = host
        self._port = port
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._waits: asyncio.TimerHandle | None = None

    async def start(self) -> int:
        """Begin to listen and return the port.

        Raises:
            OSError: the address is in use or not ours.
        """
        found = await self._loop.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(_bound(family, kind, protocol, address))
        except OSError:
            self.close()
            raise
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._accept, one)
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
        for one in self._sockets:
            self._loop.remove_reader(one.fileno())
            one.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_MORE:
                    raise
                logger.error("no connection can be accepted just now", extra={"cause": error.strerror})
                for one in self._sockets:
                    self._loop.remove_reader(one.fileno())
                self._waits = self._loop.call_later(RETRY_S, self._go_on)
                return
            connection.setblocking(False)
            self._accepted(connection)

    def _go_on(self) -> None:
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._accept, one)


def serve(
    connection: socket.socket, work: Callable[[], Coroutine[None, None, None]], tasks: set[asyncio.Task[None]]
) -> None:
    """Serve an accepted connection in a task of its own, which is among ``tasks`` until it ends.

    A task that is cancelled before its first step never runs: the connection is closed then, too.
    """
    begun = False

    async def own() -> None:
        nonlocal begun
        begun = True
        await work()

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not begun:
            connection.close()

    task = asyncio.get_running_loop().create_task(own())
    tasks.add(task)
    task.add_done_callback(ended)


def leaves_files(connection: socket.socket, share: float = 1.0) -> bool:
    """Whether the process has files to spare beside this connection; a new file gets the lowest free number.

    Args:
        share: the part of the reserve that stays free. People look at the page when analyzers have taken all else.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = share * min(RESERVED_FILES, limit // 2)
    return limit == resource.RLIM_INFINITY or connection.fileno() < limit - reserve


def peer_of(connection: socket.socket) -> tuple[str, str]:
    """The other side as ``host`` and as ``host:port``; empty where it is gone already."""
    try:
        name = connection.getpeername()
    except OSError:
        return "", ""
    return str(name[0]), f"{name[0]}:{name[1]}"


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)  # type: ignore[arg-type]  # as the system gave it
        one.setblocking(False)
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one
