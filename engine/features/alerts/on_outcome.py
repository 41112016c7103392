"""A message with a critical value is noted, where the site has them on its to-do list; and what ends one."""

from engine.features.alerts.rows.spoken import final_words, note
from engine.store.operations.recording import Step


class CriticalValues(Step):
    def queued(self) -> None:
        now = self.now
        if not self.batch.notes_critical:
            return
        spoken = now.outcome.spoken or final_words(self.batch, now.channel, now.outcome.read)
        if not spoken:
            return
        held = [why is not None for routed, why in zip(now.routes, now.held, strict=True) if not routed.echo]
        if held:
            note(self.batch, now.id, now.channel, spoken, is_held=any(held))
