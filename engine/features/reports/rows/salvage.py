"""Counts of results in a salvage."""

from engine.features.reports.rows.result_counts import COUNTED
from engine.store.recovery.salvage.tables import Part, Tables


def keep_counted(tables: Tables) -> None:
    """Count no results twice, for the reports.

    They are neither those of a message that is processed again, nor all where it is lost how far they were counted.
    """
    execute = tables.new.execute
    if "result_position" in tables.damaged:
        execute("INSERT OR IGNORE INTO result_position (id, counted_to) SELECT 1, coalesce(max(id), 0) FROM journal")
    execute(
        "INSERT OR IGNORE INTO result_pending (message_id, waits) SELECT j.id, ? FROM journal j"
        " WHERE j.kind = 1 AND j.id <= (SELECT counted_to FROM result_position)"
        " AND NOT EXISTS (SELECT 1 FROM message_state WHERE id = j.id)",
        (COUNTED,),
    )


SALVAGE = Part(again=keep_counted)
