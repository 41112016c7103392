"""The tables of quality control, and how each comes back with a backup."""

from engine.feature import Table

_OF_EVERY = "channel = '' OR channel IN these_channels"
_NEW = "SELECT * FROM main.{0} WHERE id > (SELECT number FROM known.highest WHERE name = '{0}')"

TABLES = (
    Table(name="qc_lot", unit=_OF_EVERY),
    Table(name="qc_target"),
    Table(name="qc_rules", unit=_OF_EVERY),
    Table(name="qc_stream"),
    Table(name="qc_code"),
    Table(name="qc_point", copied=_NEW.format("qc_point"), numbered=True, unit="stream qc_stream.id"),
    Table(name="qc_level", unit="stream qc_stream.id"),
    Table(name="qc_run", copied=_NEW.format("qc_run"), numbered=True, unit="stream qc_stream.id"),
    Table(name="qc_verdict", copied="SELECT * FROM main.qc_verdict WHERE at_us >= :since", unit="run qc_run.id"),
    Table(name="qc_excluded", unit="point qc_point.id"),
    Table(name="qc_event"),
    Table(name="qc_closed"),
    Table(name="qc_bracket", copied="SELECT id FROM state.touched", by="message_id", pruned="message_id"),
    Table(name="qc_look", pruned="message_id"),
)
