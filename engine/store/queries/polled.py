"""Reading how far a channel has read the server that it polls, and which versions it has."""

from engine.model.ports import PollCursor, PolledVersion
from engine.store.operations import polled as rows
from engine.store.queries.reader import Reader


def cursor_of(reader: Reader, channel: str) -> PollCursor | None:
    """None: the channel has read nothing yet."""
    row = reader.row("SELECT begin_us, reached_us FROM poll_cursor WHERE channel = ?", (channel,))
    return None if row is None else PollCursor(begin_us=row[0], reached_us=row[1])


def is_old(reader: Reader, channel: str, polled: PolledVersion) -> bool:
    """As `engine.model.ports.PollMemory.is_old`."""
    with reader.snapshot() as execute:
        return rows.is_old(execute, reader.vault, channel, polled)
