"""The tables of this feature, with all of its SQL.

The table of corrections of code tables.
"""

from engine.feature import Table

TABLES = (Table(name="correction", sealed="SELECT 'correction', version, '', text FROM correction"),)
