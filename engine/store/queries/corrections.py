"""Read the corrections of code tables."""

from collections.abc import Callable

import orjson

from engine.model.corrections import Correction
from engine.model.errors import IntegrityError
from engine.store.operations.corrections import COLUMN
from engine.store.queries.reader import Reader


def list_corrections(reader: Reader, damaged: Callable[[int], None] | None = None) -> list[Correction]:
    """All that were ever made, oldest first.

    Args:
        damaged: called with the version of each that cannot be opened, which is left out.

    Raises:
        ConfigError: there are some, and the key of the journal is not at hand.
        IntegrityError: one of them is damaged: which rows decide is unknown then.
    """
    found = []
    for version, act, at_us, sealed in reader.rows("SELECT version, act, at_us, text FROM correction ORDER BY version"):
        try:
            text = orjson.loads(reader.vault.open(sealed, COLUMN, version, ""))
        except IntegrityError:
            if damaged is None:
                raise
            damaged(version)
            continue
        found.append(Correction(version=version, act=act, at_us=at_us, **text))
    return found
