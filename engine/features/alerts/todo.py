"""What of alerts waits for a person."""

import asyncio

from engine.features.alerts.rows.changes import CRITICAL_KEY
from engine.features.alerts.rows.reading import CriticalValue, FailingSink, critical_values, failing_sinks
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Together, Way

_CRITICALS = Together("Critical values: {n}", Way("Take it on the page of alerts", "/alerts"))
NO_ALERTS = Entry(
    key="no-alerts",
    level=Level.ATTENTION,
    phrase=Phrase("No person is notified: no alerts are configured."),
    step="labrelay help alerts",
    way=Way("How to begin", "/help/alerts"),
    leads=True,
)


async def entries(look: Look) -> list[Entry]:
    if look.certain:
        criticals = await asyncio.to_thread(critical_values, look.journal)
    else:
        criticals = await look.read(critical_values) or []
    sinks = await look.read(lambda reader: failing_sinks(reader, look.now_us)) or ()
    return [*map(of_critical_value, criticals), *map(of_sink, sinks), *(() if look.site.notifies else (NO_ALERTS,))]


def of_critical_value(one: CriticalValue) -> Entry:
    key = CRITICAL_KEY.format(one.message)
    return Entry(
        key=key,
        level=Level.PROBLEM,
        phrase=one.phrase,
        step=f"labrelay alert acknowledge {key}",
        way=Way("Decide: {n}", f"/held/{one.message}") if one.held else _CRITICALS.way,
        since=from_us(one.seen_us),
        subject=one.channel,
        critical=True,
        together=None if one.held else _CRITICALS,
        with_held=bool(one.held),
    )


def of_sink(one: FailingSink) -> Entry:
    return Entry(
        key=f"alert-sink/{one.name}",
        level=Level.PROBLEM,
        phrase=Phrase("Alerts do not reach {name}", {"name": one.name}),
        step="labrelay alert sent",
        way=Way("Look at what was sent", "/alerts"),
        count=max(1, one.waiting),
        since=from_us(one.since_us),
        subject=one.name,
        leads=True,
    )
