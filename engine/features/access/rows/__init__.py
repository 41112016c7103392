"""Accounts in the journal: operations of a writer's batch. Each change and its row of the audit trail are one
transaction; no row has a password, code, PIN, secret or link.

users       who may log in, and as what
sessions    log-ins, browsers, and their end
refusals    refused log-ins: how many in a row, and how long the next one has to wait
tokens      what programs ask with

The tables of accounts in the journal. A restore ends log-ins, and what was refused: they may have ended since.
"""

from engine.feature import Table

TABLES = (
    Table(name="app_user"),
    Table(name="api_token"),
    Table(name="log_in_session", copied=None, restored="DELETE FROM log_in_session"),
    Table(name="log_in_device", copied=None, restored="DELETE FROM log_in_device"),
    Table(name="failed_log_in", copied=None),
    Table(name="refused_log_in", copied=None),
)
