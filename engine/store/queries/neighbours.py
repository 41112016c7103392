"""The neighbours of a message in a list of messages, and its place there."""

from typing import NamedTuple

from engine.model.journal_views import Filter
from engine.store.core.vault import Vault
from engine.store.queries import listing
from engine.store.queries.reader import Reader


class Neighbours(NamedTuple):
    """Where a message is among those of a filter.

    Attributes:
        place: from 1, the newest first; 0: it does not fit the filter, or too many are newer.
        total: how many fit.
        newer, older: the next ones; 0: there is none, or too many are newer.
    """

    place: int
    total: int
    newer: int
    older: int


def neighbours_of(reader: Reader, wanted: Filter, message: int, *, top: int, most: int) -> Neighbours:
    """Raises as `count_messages`.

    Args:
        top: the newest message that counts.
        most: how many are counted.
    """

    def vault() -> Vault:
        return reader.vault

    with reader.snapshot() as execute:
        total = listing.count(execute, vault, wanted, most, before_id=top + 1, after_id=0)
        newer = listing.numbers(execute, vault, wanted, most, before_id=top + 1, after_id=message)
        own_and_older = listing.numbers(execute, vault, wanted, 2, before_id=message + 1)
    fits = message in own_and_older
    older = [number for number in own_and_older if number != message]
    if len(newer) == most:
        return Neighbours(0, total, 0, older[0] if older else 0)
    return Neighbours(len(newer) + 1 if fits else 0, total, newer[-1] if newer else 0, older[0] if older else 0)
