"""Accounts in the journal: operations of a writer's batch. Each change and its row of the audit trail are one
transaction; no row has a password, code, PIN, secret or link.

users       who may log in, and as what
sessions    log-ins, browsers, and their end; refused ones: how many in a row, and how long the next one has to wait
tokens      what programs ask with

The tables of accounts in the journal. A restore ends log-ins, and what was refused: they may have ended since.

Decisions about users and tokens that a restore does again, by their names alone: new ones are in no row of the audit
trail.
"""

import sqlite3
from functools import partial
from typing import Any

from engine.feature import Table
from engine.store.core.vault import Vault

TABLES = (
    Table(name="app_user"),
    Table(name="api_token"),
    Table(name="log_in_session", copied=None, restored="DELETE FROM log_in_session"),
    Table(name="log_in_device", copied=None, restored="DELETE FROM log_in_device"),
    Table(name="failed_log_in", copied=None),
    Table(name="refused_log_in", copied=None),
)


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
