"""The tables of this feature, with all of its SQL."""

from engine.feature import Table

TABLES = (
    Table(name="rule_day", copied="SELECT * FROM main.rule_day WHERE changed_us >= :since"),
    Table(name="rule_test_day", copied="SELECT * FROM main.rule_test_day WHERE changed_us >= :since"),
    Table(name="rule_hit", copied="SELECT id FROM state.touched", by="message_id", pruned="message_id"),
)
