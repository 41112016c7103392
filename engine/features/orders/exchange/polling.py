"""What a channel has taken of the server that it polls, in the journal (`engine.model.ports.PollMemory`)."""

from typing import TYPE_CHECKING

from engine.model.ports import PollCursor, PolledVersion
from engine.store.operations import polled as operations
from engine.store.queries.polled import cursor_of, is_old

if TYPE_CHECKING:
    from engine.store.journal import Journal


class JournalMemory:
    """Of one channel."""

    def __init__(self, channel: str, journal: "Journal") -> None:
        self._channel = channel
        self._journal = journal

    def cursor(self) -> PollCursor | None:
        return cursor_of(self._journal, self._channel)

    def is_old(self, polled: PolledVersion) -> bool:
        return is_old(self._journal, self._channel, polled)

    async def move(self, cursor: PollCursor) -> None:
        await self._journal.run(operations.move_cursor, self._channel, cursor)
