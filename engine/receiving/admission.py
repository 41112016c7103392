"""What a channel takes: connections, and bytes of messages.

Those connections are served for which there is room, and whose first bytes are an analyzer's.

The bound on the bytes of one channel that are stored and have no outcome yet (P10).

    0 ............... half ............................ BACKLOG_BYTES .........
      taken at once          each read waits, up to SLOWEST_S         refused, as a message that cannot be stored

So a flood is slowed and then refused, and its sender keeps it and sends it again. Bytes that wait for a destination do
not count. A message is taken while there is any room, however large it is: the bound is passed by one message at most.
Those that come in one read wait once; a block of several is taken or refused as a whole. Where the sender waits for no
answer, its messages are slowed only: refused, they would be lost. What passes a tee is neither slowed nor refused: it
is another's to answer.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from engine.model.errors import BacklogError
from engine.model.link_events import LinkFault
from engine.model.process.clock import Clock
from engine.receiving.channel_parts import Connection
from engine.receiving.door import HOLD_S, Door
from engine.receiving.link_monitor import LinkMonitor

BACKLOG_BYTES = 64 * 1024 * 1024
SLOWEST_S = 2.0  # far below the 15 s that an analyzer waits for the answer to a frame


class Backlog:
    """The bound of one channel.

    Args:
        unjudged: the bytes of its messages that are durable and have no outcome.
    """

    def __init__(self, unjudged: Callable[[], int]) -> None:
        self._unjudged = unjudged
        self._coming = 0  # handed to the journal, and not known to be durable

    @property
    def bytes(self) -> int:
        return self._unjudged() + self._coming

    @property
    def full(self) -> bool:
        """Whether a message that came now would be refused."""
        return self.bytes >= BACKLOG_BYTES

    @property
    def pause_s(self) -> float:
        """How long the messages of a read wait before they are stored."""
        return SLOWEST_S * min(1.0, max(0.0, 2 * self.bytes / BACKLOG_BYTES - 1))

    @contextmanager
    def taking(self, size: int, *, may_refuse: bool = True) -> Iterator[Callable[[int], None]]:
        """Count ``size`` bytes while they become durable within this context, and say with the function that it gives
        how many of them are durable already.

        Raises:
            BacklogError: there is no room; nothing may be stored.
        """
        if may_refuse and self.full:
            raise BacklogError(f"{self.bytes >> 20} MiB of this channel are not mapped yet")

        def durable(part: int) -> None:
            nonlocal size
            size -= part
            self._coming -= part

        self._coming += size
        try:
            yield durable
        finally:
            self._coming -= size


def make_room(connections: OrderedDict[int, Connection], most: int, monitor: LinkMonitor) -> None:
    """Make room for one more connection: the one that has been quiet longest is closed."""
    theirs = [c for c in connections.values() if not c.own]
    if len(theirs) < most:
        return
    quietest = _quietest_of(theirs)
    monitor.fault(LinkFault("evicted"), quietest.peer)
    quietest.evicted = True
    del connections[id(quietest)]  # its place is free now, however long it takes to end
    quietest.stream.end()


def _quietest_of(connections: Sequence[Connection]) -> Connection:
    """The connection that gives way to a new one.

    Connections without a message so far come first, by the time when they were opened: so a crowd of silent ones
    replaces itself, and cannot keep an analyzer out or take the place of one that sends.
    """
    useless = [one for one in connections if one.last_message is None] or connections
    return min(useless, key=lambda one: one.opened if one.last_message is None else one.last_byte)


def cut(connection: Connection, monitor: LinkMonitor) -> None:
    """The memory for unfinished messages is used up, and this connection holds most of it."""
    monitor.fault(LinkFault("memory", f"{connection.held} bytes of an unfinished message"), connection.peer)
    connection.evicted = True
    connection.stream.end()


async def first_bytes(
    connection: Connection, door: Door, patience_of: Callable[[], float | None], monitor: LinkMonitor, clock: Clock
) -> bytes:
    """As ``stream.read``, until ``door`` has judged them; nothing where it turns the connection away.

    Args:
        patience_of: seconds to wait for bytes before a timer is due.
    """
    while True:
        patience = patience_of()
        if door.holds:
            patience = HOLD_S if patience is None else min(HOLD_S, patience)
        try:
            data = await connection.stream.read(patience)
        except OSError:  # TimeoutError is one
            if door.holds:
                return door.release()
            raise
        if data and (fault := door.hear(data)) is not None:
            connection.turned_away = True
            if connection.trace is not None and fault.kind == "early-frame":  # an analyzer's, as a refused frame is
                connection.trace.heard(data, clock.now_us())
                connection.trace.about(f"{fault.kind}: {fault.detail}", clock.now_us())
            monitor.turned_away(fault, connection.peer, is_check=door.is_check)
            return b""
        if door.open or not data:
            connection.door = None
        if not (data and door.holds):
            return door.release()
