"""The lots of reagents that a message names."""

from engine.features.reagents import rows
from engine.store.operations.recording import Step


class Reagents(Step):
    def stored(self) -> None:
        now = self.now
        if now.outcome.reagents or now.before is not None:
            rows.note(self.batch, now.id, now.channel, now.received_us, now.outcome.reagents)
