"""What of webhooks waits for a person."""

from engine.features.events.rows import FailingWebhook
from engine.features.events.service import EventService
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look


async def entries(look: Look) -> list[Entry]:
    running = look.service(EventService)
    return [] if running is None else [of_webhook(one) for one in await running.webhooks.failing()]


def of_webhook(one: FailingWebhook) -> Entry:
    return Entry(
        key=f"webhook/{one.name}",
        level=Level.PROBLEM,
        phrase=Phrase("Events do not reach {name}", {"name": one.name}),
        step="journalctl -u labrelay",
        count=max(1, one.count),
        since=from_us(one.since_us),
        subject=one.name,
    )
