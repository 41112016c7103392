"""Read the corrections of code tables.

Verify the corrections of code tables.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson

from engine.features.codes.rows.changes import COLUMN, VERBS, content
from engine.model.corrections import Correction
from engine.model.errors import IntegrityError
from engine.model.records import KIND_ACT
from engine.store.core.vault import Vault
from engine.store.integrity.row_check import Finding
from engine.store.queries.acts import act_of
from engine.store.queries.reader import Reader


def list_corrections(reader: Reader, lost: Callable[[int], None] | None = None) -> list[Correction]:
    """All that were ever made, oldest first. Of a damaged one its row of the audit trail is read.

    Args:
        lost: called with the version of each that cannot be read so either, or is missing; it is left out.

    Raises:
        ConfigError: there are some, and the key of the journal is not at hand.
        IntegrityError: one of them is damaged, or of a form that is not known: which rows decide is unknown then.
    """
    found: dict[int, Correction] = {}
    newest = 0
    for row in reader.rows("SELECT version, act, at_us, text FROM correction ORDER BY version"):
        newest, act, at_us, sealed = row
        text: dict[str, Any] | None
        try:
            text = content(orjson.loads(reader.vault.open(sealed, COLUMN, newest, "")))
        except (IntegrityError, KeyError) as error:
            text = _in_trail(reader, newest, act)
            if text is None and lost is None:
                raise IntegrityError(f"correction {newest} of the code tables cannot be read") from error
        if text is not None:
            found[newest] = Correction(version=newest, act=act, at_us=at_us, **text)
    if lost is not None:
        for version in range(1, newest + 1):
            if version not in found:
                lost(version)
    return list(found.values())


def _in_trail(reader: Reader, version: int, act: int) -> dict[str, Any] | None:
    """What the audit trail has of a correction; None: its row is gone, damaged, or about something else."""
    for row in reader.rows("SELECT id, received_us, body FROM journal WHERE id = ? AND kind = 3", (act,)):
        with suppress(IntegrityError, KeyError):  # it is damaged, or of another form
            said = act_of(reader, row)
            if said.verb in VERBS and said.what["version"] == version:
                return content({**said.what, "by": said.actor})
    return None


def missing_corrections(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Corrections of code tables that the audit trail names and that are missing: also the newest, of which the numbers
    that are left say nothing.
    """
    if vault is None:
        return
    there = {version for (version,) in connection.execute("SELECT version FROM correction")}
    for row_id, sealed in connection.execute("SELECT id, body FROM journal WHERE kind = ? ORDER BY id", (KIND_ACT,)):
        with suppress(IntegrityError):  # the check of the journal's rows names it
            act = orjson.loads(vault.open(sealed, "body", row_id, ""))
            if act.get("verb") in VERBS and (version := act["what"]["version"]) not in there:
                text = f"correction {version} of the code tables is missing; row {row_id} of the audit trail has it"
                yield Finding("missing", "correction", version, version, text)


CHECKS = {"correction": missing_corrections}
