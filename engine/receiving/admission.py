"""Which connections of a channel are served: those for which there is room, and whose first bytes are an analyzer's."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from engine.model.link_events import LinkFault
from engine.model.process.clock import Clock
from engine.receiving.channel_parts import Connection
from engine.receiving.door import HOLD_S, Door
from engine.receiving.link_monitor import LinkMonitor


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
