"""The tables of accounts in the journal. A restore ends log-ins, and what was refused: they may have ended since."""

from engine.feature import Table

TABLES = (
    Table(name="app_user"),
    Table(name="api_token"),
    Table(name="log_in_session", copied=None, restored="DELETE FROM log_in_session"),
    Table(name="log_in_device", copied=None, restored="DELETE FROM log_in_device"),
    Table(name="failed_log_in", copied=None),
    Table(name="refused_log_in", copied=None),
)
