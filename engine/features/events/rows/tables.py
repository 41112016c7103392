"""The table of webhooks. Events themselves are the journal's."""

from engine.feature import Table

TABLES = (Table(name="webhook"),)
