"""The tables of quality control, and how each comes back with a backup."""

from engine.feature import Table

_NEW = "SELECT * FROM main.{0} WHERE id > (SELECT number FROM known.highest WHERE name = '{0}')"

TABLES = (
    Table(name="qc_lot"),
    Table(name="qc_target"),
    Table(name="qc_rules"),
    Table(name="qc_stream"),
    Table(name="qc_code"),
    Table(name="qc_point", copied=_NEW.format("qc_point"), numbered=True),
    Table(name="qc_level"),
    Table(name="qc_run", copied=_NEW.format("qc_run"), numbered=True),
    Table(name="qc_verdict", copied="SELECT * FROM main.qc_verdict WHERE at_us >= :since"),
    Table(name="qc_excluded"),
    Table(name="qc_event"),
    Table(name="qc_closed"),
    Table(name="qc_bracket", copied="SELECT id FROM state.touched", by="message_id", pruned="message_id"),
    Table(name="qc_look", pruned="message_id"),
)
