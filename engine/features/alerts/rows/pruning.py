"""Critical values and retention: none that no person has taken goes in silence."""

from engine.features.alerts.rows.changes import critical_untaken
from engine.model.records import KIND_MESSAGE
from engine.store.lifecycle.retention import DAY_US, Need, Rows

_UNTAKEN = Need(why="critical value not taken", for_us=366 * DAY_US)


def keeps(rows: Rows, row_id: int, kind: int) -> Need:
    untaken = kind == KIND_MESSAGE and critical_untaken(rows.execute, row_id)
    return _UNTAKEN if untaken else Need()
