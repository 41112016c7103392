"""The bound on the bytes of one channel that are stored and have no outcome yet (P10).

    0 ............... half ............................ BACKLOG_BYTES .........
      taken at once          each read waits, up to SLOWEST_S         refused, as a message that cannot be stored

So a flood is slowed and then refused, and its sender keeps it and sends it again. Bytes that wait for a destination do
not count. A message is taken while there is any room, however large it is: the bound is passed by one message at most.
Those that come in one read wait once; a block of several is taken or refused as a whole. Where the sender waits for no
answer, its messages are slowed only: refused, they would be lost. What passes a tee is neither slowed nor refused: it
is another's to answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.model.errors import BacklogError

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
