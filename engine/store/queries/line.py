"""Read the traffic of a line: the frames of a message, and the sessions of a channel."""

from engine.store.operations.line_trace import LineRecord, unpack
from engine.store.queries.reader import Reader


def frames_of(reader: Reader, session: int, channel: str, first: int, last: int) -> list[tuple[int, bytes]]:
    """The frames of a message: (receive time, bytes as received), in order."""
    rows = reader.rows(
        "SELECT id, received_us, body FROM journal"
        " WHERE id BETWEEN ? AND ? AND kind = 2 AND session = ? AND channel = ? ORDER BY id",
        (first, last, session, channel),
    )
    return [(at_us, reader.vault.open(body, "body", row_id, channel)) for row_id, at_us, body in rows]


def line_of(
    reader: Reader, channel: str, *, session: int | None = None, before_us: int | None = None, limit: int = 20
) -> list[LineRecord]:
    """The sessions on a channel's line, newest first; none where they are too old.

    Args:
        session: only this one.
        before_us: only those that began before.

    Raises:
        ConfigError, IntegrityError: it cannot be opened.
    """
    asked = (("session = ?", session), ("began_us < ?", before_us))
    given = [(text, value) for text, value in asked if value is not None]
    which = "".join(f"{text} AND " for text, _ in given)
    rows = reader.rows(
        f"SELECT id, session, content FROM line_trace WHERE {which}channel = ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - constants
        (*(value for _, value in given), channel, limit),
    )
    return [
        LineRecord(channel, own, tuple(unpack(reader.vault.open(content, "line_trace", row_id, channel))))
        for row_id, own, content in rows
    ]
