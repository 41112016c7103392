"""A message with a critical value is noted, where the site has them on its to-do list."""

from engine.features.alerts.rows.changes import note_critical
from engine.store.operations.recording import Step
from engine.succession.critical import is_critical


class CriticalValues(Step):
    def queued(self) -> None:
        now = self.now
        if self.batch.notes_critical and any(
            is_critical(routed.document, routed.controls) for routed in now.routes if not routed.echo
        ):
            note_critical(self.batch, now.id, now.channel)
