"""A message with a critical value is noted, where the site has them on its to-do list; and what ends one."""

from engine.features.alerts.rows.spoken import note
from engine.store.operations.recording import Step


class CriticalValues(Step):
    def queued(self) -> None:
        now = self.now
        spoken = now.outcome.spoken
        if not (spoken and self.batch.notes_critical):
            return
        held = [why is not None for routed, why in zip(now.routes, now.held, strict=True) if not routed.echo]
        if held:
            note(self.batch, now.id, now.channel, spoken, is_held=any(held))
