"""The tables of persons, numbers and earlier values, and how each comes back with a backup."""

from engine.feature import Table

# A deleted row shows nothing, so all rows of a number that has a change go into the copy.
_OF_NUMBERS = "SELECT number FROM main.{} WHERE noted_us >= :since UNION SELECT key FROM state.report_key"

TABLES = (
    Table(
        name="bearer",
        copied=_OF_NUMBERS.format("bearer"),
        by="number",
        sealed="SELECT 'bearer', number, '', record FROM bearer WHERE record <> x''",
    ),
    Table(
        name="bearer_asked",
        sealed="SELECT 'bearer', number, '', record FROM bearer_asked WHERE record <> x''",
    ),
    Table(name="used_number", copied=_OF_NUMBERS.format("used_number"), by="number"),
    Table(
        name="earlier_value",
        copied="SELECT run FROM main.earlier_value WHERE kept_us >= :since"
        " OR id > (SELECT number FROM known.highest WHERE name = 'earlier_value')",
        by="run",
        numbered=True,
        sealed="SELECT 'earlier_value', id, '', value FROM earlier_value",
    ),
    Table(name="control_result", copied="SELECT * FROM main.control_result WHERE at_us >= :since - :day"),
)
