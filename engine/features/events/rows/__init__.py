"""The tables of this feature, with all of its SQL.

The table of webhooks. Events themselves are the journal's.
"""

from engine.feature import Table

TABLES = (Table(name="webhook"),)
