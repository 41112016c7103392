"""Decisions about users and tokens that a restore does again, by their names alone: new ones are in no row of the audit
trail.
"""

import sqlite3
from functools import partial
from typing import Any

from engine.store.core.vault import Vault

_STATEMENTS = {
    "user-removed": "DELETE FROM app_user WHERE name = :user",
    "user-disabled": "UPDATE app_user SET disabled = 1 WHERE name = :user",
    "user-enabled": "UPDATE app_user SET disabled = 0 WHERE name = :user",
    "user-role": "UPDATE app_user SET role = :role WHERE name = :user",
    "user-grant": "UPDATE app_user SET sees_patients = :sees_patients WHERE name = :user",
    "token-revoked": "DELETE FROM api_token WHERE name = :token",
    "token-exchanged": "DELETE FROM api_token WHERE name = :token",
}


def _redo(
    statement: str, connection: sqlite3.Connection, vault: Vault, act: int, at_us: int, what: dict[str, Any]
) -> None:
    connection.execute(statement, what)


REDONE = {verb: partial(_redo, statement) for verb, statement in _STATEMENTS.items()}
