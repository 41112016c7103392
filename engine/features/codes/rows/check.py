"""Verify the corrections of code tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress

import orjson

from engine.features.codes.rows.changes import VERBS
from engine.model.errors import IntegrityError
from engine.model.records import KIND_ACT
from engine.store.core.vault import Vault
from engine.store.integrity.row_check import Finding


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
