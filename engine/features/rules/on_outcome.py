"""What the rules of the routes of a message have said of its documents."""

from engine.features.rules.rows import counting
from engine.store.operations.recording import Step


class Counts(Step):
    def queued(self) -> None:
        now = self.now
        asked = [
            (place, routed.hold, why is not None)
            for place, (routed, why) in enumerate(zip(now.routes, now.held, strict=True), 1)
            if routed.hold is not None and routed.hold.answers
        ]
        if now.before == "mapped":
            counting.again(self.batch, now.id, asked)
        elif asked:
            counting.count(self.batch, now.id, now.channel, now.received_us, asked)
