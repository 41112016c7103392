"""The tables of this feature, with all of its SQL.

The tables of alerts in the journal, and how each comes back with a backup.
"""

from engine.feature import Table

TABLES = (
    Table(name="alert", unit="subject IN these_channels"),
    Table(name="alert_silence", unit="pattern alert.key"),
    Table(
        name="alert_line",
        copied="SELECT * FROM main.alert_line WHERE ended_us = 0 OR ended_us >= :since",
        newest="ended_us",
        restored="UPDATE alert_line SET unsure = 1 WHERE ended_us = 0",  # it may have been sent since
        unit="key alert.key",
    ),
    Table(
        name="critical_value",
        copied="SELECT * FROM main.critical_value WHERE seen_us >= :since OR taken_us >= :since OR over_us >= :since",
    ),
    Table(
        name="critical_call",
        copied="SELECT * FROM main.critical_call WHERE seen_us >= :since OR taken_us >= :since OR over_us >= :since",
    ),
    Table(
        name="critical_result",
        copied="SELECT id FROM state.touched UNION SELECT message_id FROM main.critical_result"
        " WHERE alert IN (SELECT id FROM state.touched)",
        by="message_id",
        pruned="of_message",
    ),
)
