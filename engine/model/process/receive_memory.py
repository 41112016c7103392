"""How much unfinished content all connections together may hold in memory (P10).

`max_message` bounds one message. A crowd of peers that begin a large message and never end it would hold that much
each, so there is one budget for all of them. Where it is used up, the connection that holds most is cut: its unfinished
message is put aside as incomplete, as for any message that was cut short, and an analyzer that meant it sends again.
"""

from collections.abc import Callable
from typing import Protocol

MiB = 1024 * 1024
DEFAULT_BYTES = 64 * MiB
SMALL_BYTES = 64 * 1024  # what every connection may hold without being counted


class Holder(Protocol):
    """A connection, as far as the budget goes."""

    held: int


class ReceiveMemory:
    """One budget for the whole process.

    Attributes:
        limit: bytes; never smaller than the largest message that a channel takes.
        held: bytes that are held now, without those of small holders.
        cut: how many connections were cut so far.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self.limit = limit
        self.held = 0
        self.cut = 0
        self._holders: dict[int, tuple[Holder, Callable[[], None]]] = {}

    def note(self, holder: Holder, held: int, cut: Callable[[], None]) -> None:
        """A connection holds ``held`` bytes now; ``cut`` ends it, from outside its task."""
        if held < SMALL_BYTES:
            held = 0
        if held == holder.held:
            return
        more = held > holder.held
        self.held += held - holder.held
        holder.held = held
        if held:
            self._holders[id(holder)] = (holder, cut)
        else:
            self._holders.pop(id(holder), None)
        if more and self.held > self.limit:
            self._make_room()

    def forget(self, holder: Holder) -> None:
        """The connection is gone; release the memory that it held."""
        self.held -= holder.held
        holder.held = 0
        self._holders.pop(id(holder), None)

    def _make_room(self) -> None:
        """Cut the largest; it counts until its connection has put aside what it holds. Cut again if it still grows."""
        largest, cut = max(self._holders.values(), key=lambda entry: entry[0].held)
        del self._holders[id(largest)]
        self.cut += 1
        cut()
