"""Critical values, while the outcome of a message is recorded, where the site has them on its to-do list."""

from collections.abc import Sequence

from engine.features.alerts.rows.critical import note
from engine.features.alerts.rules.critical import Word, words_in
from engine.model.journal.records import CRITICAL, OF_CRITICAL
from engine.store.operations.recording import Step


class CriticalValues(Step):
    """What its message says of them."""

    _words: Sequence[Word] = ()

    def hold(self) -> None:
        now = self.now
        critical = now.outcome.critical
        now.marks |= CRITICAL * bool(critical)
        if not (critical or now.memory.standing) or not self.batch.notes_critical:
            return
        if any(not routed.echo for routed in now.routes):
            self._words = words_in(now.id, critical, now.judgement, now.memory)
            now.marks |= OF_CRITICAL * bool(self._words)

    def queued(self) -> None:
        if self._words or (self.now.before is not None and self.batch.notes_critical):
            note(self.batch, self.now.id, self.now.channel, self._words, [routed.lacks for routed in self.now.routes])
