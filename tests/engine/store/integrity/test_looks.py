"""When the next look at all rows is due, whatever was kept of the last ones."""

from pathlib import Path

import pytest

from engine.store.core.writing.batch import Batch
from engine.store.integrity import looks, rollback
from engine.store.journal import Journal
from tests.support.journals import opened

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NOW_US = 1_800_000_000_000_000


def wait_h(journal: Journal) -> float:
    with journal.snapshot() as execute:
        return looks.wait_us(execute, NOW_US, every_us=DAY_US, again_us=HOUR_US) / HOUR_US


@pytest.mark.parametrize(
    ("ended_h", "begun_h", "wait"),
    [
        (None, None, 0),
        (1, None, 23),
        (24, None, 0),
        (30, None, 0),
        (-1, None, 0),  # the clock was ahead then
        (None, 0.25, 0.75),  # cut a quarter of an hour ago
        (None, 1, 0),
        (None, -0.5, 0),
        (30, 0.25, 0.75),
        (-1, 0.25, 0.75),
        (1, -1, 23),
    ],
)
def test_a_look_is_due_a_day_after_one_that_ended_and_an_hour_after_one_that_did_not(
    tmp_path: Path, ended_h: float | None, begun_h: float | None, wait: float
) -> None:
    journal = opened(tmp_path)
    if ended_h is not None:
        journal.run_alone(looks.end, 0, NOW_US - round(ended_h * HOUR_US))
    if begun_h is not None:
        journal.run_alone(looks.begin, NOW_US - round(begun_h * HOUR_US))
    assert max(wait_h(journal), 0) == wait
    journal.close()


def test_a_look_that_found_something_and_a_folder_that_was_put_back_count_as_none(tmp_path: Path) -> None:
    def put_back(batch: Batch) -> None:
        rollback.begin_history(batch, 1)

    journal = opened(tmp_path)
    journal.run_alone(looks.end, 0, NOW_US)
    assert wait_h(journal) == 24
    journal.run_alone(looks.begin, NOW_US)
    journal.run_alone(looks.end_with_findings)
    assert wait_h(journal) == 0, "its alarm ends with the process, so the next start looks again"
    journal.run_alone(looks.end, 0, NOW_US)
    journal.run_alone(put_back)
    assert wait_h(journal) == 0
    journal.close()
