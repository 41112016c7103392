"""Read how far webhooks have got."""

from dataclasses import dataclass
from typing import NamedTuple

from engine.store.queries.reader import Reader


@dataclass(frozen=True, slots=True)
class FailingWebhook:
    """A webhook that is for a person, since then. ``count``: events that were given up; 0: attempts fail."""

    name: str
    since_us: int
    count: int = 0


class StoredWebhook(NamedTuple):
    """A webhook as it is kept. ``given_up``: events that its receiver refused, and when the last one was; 0 never."""

    name: str
    position: str
    given_up: int
    given_up_us: int


def stored_webhooks(reader: Reader) -> list[StoredWebhook]:
    """All of them, by name."""
    rows = reader.rows("SELECT name, position, given_up, given_up_us FROM webhook ORDER BY name")
    return [StoredWebhook(*row) for row in rows]
