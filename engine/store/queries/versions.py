"""Read the versions of our resources that a destination has."""

from collections.abc import Sequence

import orjson

from engine.model.errors import IntegrityError
from engine.store.core.notes import read_note
from engine.store.operations import server_versions
from engine.store.queries.reader import Reader


def known_versions(reader: Reader, destination: str, resources: Sequence[str]) -> dict[str, str]:
    """The versions of our resources that a destination had when we wrote them last
    (`engine.store.operations.server_versions`)."""
    with reader.snapshot() as execute:
        return server_versions.look_up(execute, reader.vault, destination, resources)


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
