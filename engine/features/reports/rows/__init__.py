"""The tables of this feature, with all of its SQL.

The tables of counts and of downtime, and how each comes back with a backup.
"""

from engine.feature import Table

TABLES = (
    Table(
        name="downtime",
        copied="SELECT * FROM main.downtime WHERE until_us >= :since - :day",
        unit="kind = 'channel' AND name IN these_channels"
        " OR kind = 'destination' AND name IN (SELECT destination FROM lane)",
    ),
    Table(name="result_day", copied="SELECT * FROM main.result_day WHERE changed_us >= :since"),
    Table(name="result_position"),
    Table(name="result_pending"),
    Table(
        name="result_seen",
        copied="SELECT * FROM main.result_seen WHERE until_us >= :since + 7 * :day",  # `result_counts.SEEN_US`
    ),
)
