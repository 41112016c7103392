"""Read what is known of other servers: the versions of our resources there, and how far a channel has read one."""

from collections.abc import Sequence

import orjson

from engine.model.errors import IntegrityError
from engine.model.ports import PollCursor, PolledVersion
from engine.store.core.notes import read_note
from engine.store.operations import servers
from engine.store.queries.reader import Reader


def known_versions(reader: Reader, destination: str, resources: Sequence[str]) -> dict[str, str]:
    """The versions of our resources that a destination had when we wrote them last
    (`engine.store.operations.servers`)."""
    with reader.snapshot() as execute:
        return servers.look_up(execute, reader.vault, destination, resources)


def shown_versions(reader: Reader, delivery_id: int) -> dict[str, str]:
    """The versions that a server had in place of ours when a delivery became a dead letter (CONFLICT), by resource; an
    empty version for a deleted resource. Empty where none are known.
    """
    row = reader.row(
        "SELECT d.detail, j.channel FROM delivery d JOIN journal j ON j.id = d.message_id WHERE d.id = ?",
        (delivery_id,),
    )
    if row is None:
        return {}
    try:
        _, answer = read_note(reader.note(row[0], "delivery", delivery_id, row[1]))
        return {one["resource"]: one["has"] for one in orjson.loads(answer)["conflicts"]}
    except (IntegrityError, ValueError, KeyError, TypeError):
        return {}


def cursor_of(reader: Reader, channel: str) -> PollCursor | None:
    """None: the channel has read nothing yet."""
    row = reader.row("SELECT begin_us, reached_us FROM poll_cursor WHERE channel = ?", (channel,))
    return None if row is None else PollCursor(begin_us=row[0], reached_us=row[1])


def taken_number(reader: Reader, channel: str, resource: str) -> int:
    """As `engine.model.ports.PollMemory.number`."""
    with reader.snapshot() as execute:
        return servers.taken_number(execute, reader.vault, channel, resource)


def is_old(reader: Reader, channel: str, polled: PolledVersion) -> bool:
    """As `engine.model.ports.PollMemory.is_old`."""
    with reader.snapshot() as execute:
        return servers.is_old(execute, reader.vault, channel, polled)
