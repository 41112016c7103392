"""The results of a message as its row keeps them, for the reports."""

from engine.features.reports.rows import result_counts
from engine.store.operations.recording import Step


class ResultCounts(Step):
    def tell(self) -> None:
        now = self.now
        if not now.outcome.results or now.state != "mapped":
            return
        came_us, known = result_counts.before_edits(self.batch, now.id) if now.is_edit else (None, False)
        if not known:
            now.results = result_counts.packed(self.batch, now.channel, came_us or now.received_us, now.outcome.results)

    def stored(self) -> None:
        if self.now.before is not None:
            result_counts.note_again(self.batch, self.now.id, self.now.results)
        elif self.now.results is not None:
            result_counts.note(self.batch, self.now.id)
