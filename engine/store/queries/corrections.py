"""Read the corrections of code tables."""

import orjson

from engine.model.corrections import Correction
from engine.store.operations.corrections import COLUMN
from engine.store.queries.reader import Reader


def list_corrections(reader: Reader) -> list[Correction]:
    """All that were ever made, oldest first.

    Raises:
        ConfigError: there are some, and the key of the journal is not at hand.
        IntegrityError: one of them is damaged: which rows decide is unknown then.
    """
    rows = reader.rows("SELECT version, act, at_us, text FROM correction ORDER BY version")
    return [
        Correction(version=version, act=act, at_us=at_us, **orjson.loads(reader.vault.open(text, COLUMN, version, "")))
        for version, act, at_us, text in rows
    ]
