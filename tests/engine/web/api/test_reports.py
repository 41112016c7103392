"""Reports by the API: their figures are those of the journal, and a wrong question is told what is wrong."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import to_json
from engine.features.orders import rows as worklist
from engine.features.reports.rows import reading
from engine.features.reports.rules import ResultCounts
from engine.model.orders import OrderLine
from engine.model.process.clock import ManualClock
from engine.model.worklist import TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.operations import append
from engine.store.queries.reader import Reader
from tests.support import journals
from tests.support.api import Answer, served

DAY = "2026-03-01"
IN_REPORTS: dict[str, dict[str, Any] | None] = {
    "volume": {"channel": "his", "ordered": 2, "received": 1, "results": 0},  # and one order was refused
    "volume?by=day": {"day": DAY, "ordered": 2, "results": 3, "final": 3},
    "volume?by=test": {"channel": "chem", "test": "GLU", "ordered": None, "received": None, "results": 3},
    "utilisation": {"day": "", "channel": "chem", "seen_h": 2, "busy_h": 0.5, "busy_percent": 25},
    "utilisation?by=day": {"day": DAY, "channel": "chem", "seen_h": 2},
    "downtime": {"kind": "channel", "name": "chem", "state": "silent", "seconds": 90, "open": False},
    "turnaround": {
        "test": "GLU",
        "stage": "collected-resulted",
        "count": 3,
        "median_s": 60,
        "p95_s": 7200,
        "missing": 0,
    },
    "unmapped": None,
}


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    clock = ManualClock()
    journal = journals.opened(tmp_path, clock=clock)
    lines = [OrderLine(specimen="1", test=test, placer=f"P{n}") for n, test in enumerate(("TSH", "FT4", "unknown"))]
    taken = TakeSettings(known_channels={"chem": frozenset({"TSH", "FT4"})})
    first = journal.run_alone(append.store_message, journals.received(b"1", channel="his"), repeat_window_s=60)
    journal.run_alone(partial(worklist.take_orders, message_id=first.id, channel="his", lines=lines, settings=taken))
    for states, after in ((None, 0), ({("channel", "chem"): "silent"}, 30), ({}, 90)):
        clock.advance(after)
        journal.run_alone(reading.note, states)
    counts = ResultCounts(final=3)
    for seconds in (5, 60, 7200):
        counts.stages["collected-resulted"].note(1, 1 + seconds * 1_000_000)
    journal.run_alone(_fill_day, to_json(counts.as_json()))
    journal.close()
    return tmp_path


def _fill_day(batch: Batch, counts: str) -> None:
    for name, n in (("parts_seen", 24), ("parts_busy", 6)):
        batch.execute("INSERT INTO counter VALUES (?, 'chem', '', ?, ?)", (DAY, name, n))
    batch.execute("INSERT INTO result_day VALUES (?, 'chem', 'GLU', 1, ?)", (DAY, counts))


async def _ask(folder: Path, query: str) -> Answer:
    journal = Reader.beside(folder)
    try:
        async with served(journal) as api:
            return await api.ask(f"/reports/{query}")
    finally:
        journal.close()


@pytest.mark.parametrize("query", IN_REPORTS)
async def test_a_report_has_its_figures(counted: Path, query: str) -> None:
    name, _, by = query.partition("?")
    rows = (await _ask(counted, f"{name}?first={DAY}&last={DAY}&{by}")).body[name]
    expected = IN_REPORTS[query]
    if expected is None:
        assert rows == []
    else:
        assert expected in [{name: row[name] for name in expected} for row in rows]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("volume?first=2026-03-01&last=2026-03-31&by=day", 200),
        ("volume?first=2026-03-32", 422),
        ("volume?first=2026-03-02&last=2026-03-01", 422),
        ("volume?first=2020-03-02&last=2026-03-01", 422),
        ("downtime?by=day", 422),
        ("utilisation?by=test", 422),
        ("turnaround?by=patient", 422),
    ],
)
async def test_a_report_says_what_is_wrong_with_its_period(counted: Path, query: str, status: int) -> None:
    assert (await _ask(counted, query)).status == status
