"""Alerts, silences, and what was sent, as the API reads them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from engine.features.alerts.lists import ALERT, SENT, SILENCE, Shown, shown
from engine.features.alerts.rows import reading
from engine.features.alerts.rows.reading import Sent
from engine.model.site.alerts import Silence
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Nothing, Paged


class AlertsSent(Paged):
    key: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(None, description="Of exactly this alert.")


def alerts(asked: Asked[Nothing]) -> Sequence[Shown]:
    kept, _ = reading.kept(asked.journal, asked.now_us)
    return shown(kept, reading.takers(asked.journal, kept), reading.silences(asked.journal, asked.now_us))


def silences(asked: Asked[Nothing]) -> Sequence[Silence]:
    """A person's reason may name a patient, so it is only for those who may read notes."""
    found = reading.silences(asked.journal, asked.now_us)
    return found if asked.principal.reads_notes else [replace(one, reason="") for one in found]


def alerts_sent(asked: Asked[AlertsSent]) -> Sequence[Sent]:
    return reading.sent(asked.journal, key=asked.arguments.key or "", before=asked.before, limit=asked.limit)


LISTS = (
    Resource("/alerts", "alerts that are open, and those whose cause has not lasted yet", alerts, ALERT, place=110),
    Resource(
        "/alerts/sent",
        "lines sent of alerts, or waiting to be: to which sink, newest first",
        alerts_sent,
        SENT,
        key="number",
    ),
    Resource("/silences", "silences of alerts that are in force, each with its owner and end", silences, SILENCE),
)
