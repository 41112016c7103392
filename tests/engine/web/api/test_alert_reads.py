"""Alerts by the API: what is open, what was sent of it to which sink, and silences with their owners."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.alerts.rows import changes as alerts
from engine.model.process.clock import SystemClock
from engine.model.site.alerts import Alert, Changes, Line, What
from engine.model.texts.phrases import Phrase
from engine.store.journal import Journal
from tests.support.api import Client, served
from tests.support.journals import running

AWAY, SILENT = "away/lis", "silent/chemistry"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """One alert is taken, one begins, one is forgotten but for its starts; the last line of three waits."""
    async with running(tmp_path, clock=SystemClock()) as made:
        now_us = SystemClock().now_us()
        kept = [
            Alert(key=AWAY, rule="destination", level="problem", phrase=Phrase("{name} not reachable", {"name": "lis"}),
                  since_us=now_us - 60, fired_us=now_us, sent_us=now_us, sent_to=("mail", "chat")),
            Alert(key=SILENT, rule="silent", level="problem", phrase=Phrase("chemistry silent"), since_us=now_us),
            Alert(key="dead", rule="dead", level="problem", starts=(now_us,)),
        ]  # fmt: skip
        lines = [
            Line(sink=sink, key=key, what=what, level="problem", phrase=Phrase("away"), at_us=now_us, due_us=now_us)
            for sink, key, what in (
                ("mail", "dead", What.START),
                ("mail", "dead", What.END),
                ("chat", AWAY, What.START),
            )
        ]
        await made.run(alerts.look, lambda *_: Changes(changed=kept, lines=lines))
        for _ in lines[:2]:
            message = await made.run(alerts.claim, "mail", held=False)
            assert message is not None
            await made.run(alerts.sent, message, "it@lab.example")
        await made.run(alerts.acknowledge, AWAY, "asha", "I call them")
        await made.run(alerts.silence, "silent/*", "asha", "service of the analyzer", seconds=3600)
        yield made


@pytest.fixture
async def api(journal: Journal) -> AsyncIterator[Client]:
    async with served(journal) as client:
        yield client


async def test_alerts_are_the_open_ones_and_those_that_begin(api: Client) -> None:
    away, silent = (await api.ask("/alerts")).body["alerts"]
    assert (away["key"], away["state"], away["taken_by"]) == (AWAY, "acknowledged", "asha")
    assert (away["level"], away["words"], away["sent_to"]) == ("problem", "lis not reachable", ["mail", "chat"])
    assert (silent["key"], silent["state"], silent["sent_at"]) == (SILENT, "pending", None)
    (silence,) = (await api.ask("/silences")).body["silences"]
    assert (away["silence"], silent["silence"]) == (None, silence["silence"])


async def test_a_silence_has_its_owner_and_the_reason_for_those_who_do_the_work(api: Client) -> None:
    for person, reason in (
        ("viewer", ""),
        ("seeing viewer", "service of the analyzer"),
        ("operator", "service of the analyzer"),
    ):
        (silence,) = (await api.ask("/silences", person)).body["silences"]
        assert (silence["pattern"], silence["by"], silence["reason"]) == ("silent/*", "asha", reason), person


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [(AWAY, "start", "waits"), ("dead", "end", "sent"), ("dead", "start", "sent")]),
        ("?key=dead", [("dead", "end", "sent"), ("dead", "start", "sent")]),
        ("?key=none", []),
        ("?key=", "key"),
        ("?cursor=x", "cursor"),
        ("?limit=0", "limit"),
        ("?sink=mail", "sink"),
    ],
)
async def test_what_was_sent_is_narrowed_as_asked_for(
    api: Client, query: str, found: list[tuple[str, ...]] | str
) -> None:
    answer = await api.ask(f"/alerts/sent{query}")
    if isinstance(found, str):
        assert (answer.status, [one["parameter"] for one in answer.body["errors"]]) == (422, [found])
    else:
        assert [(one["key"], one["what"], one["state"]) for one in answer.body["sent"]] == found


async def test_what_was_sent_comes_in_pages(api: Client, journal: Journal) -> None:
    first = (await api.ask("/alerts/sent?limit=2")).body
    late = Line(sink="chat", key="late", what=What.START, level="problem", phrase=Phrase("late"), at_us=1, due_us=1)
    await journal.run(alerts.queue, [late])
    second = (await api.ask(f"/alerts/sent?limit=2&cursor={first['cursor']}")).body
    assert [one["key"] for one in (*first["sent"], *second["sent"])] == [AWAY, "dead", "dead"]
    assert second["cursor"] is None
    assert first["next"] == f"/api/v1/alerts/sent?limit=2&cursor={first['cursor']}"
