"""What was known of a test's controls when a message came, from what the journal has now."""

from pathlib import Path

import pytest

from engine.features.rules.rows.replaying import Past
from engine.store.core.writing.batch import Batch
from tests.support.journals import opened

# (from, until) of the times that a test was closed; 0: it still is
CLOSED_ONCE, STILL_CLOSED = (10, 20), (30, 0)
CASES = [
    ([], 15, None),
    ([CLOSED_ONCE], 9, None),
    ([CLOSED_ONCE], 10, True),
    ([CLOSED_ONCE], 19, True),
    ([CLOSED_ONCE], 20, None),
    ([STILL_CLOSED], 30, True),
    ([STILL_CLOSED], 99, True),
    ([STILL_CLOSED], 29, None),  # and not what holds today
    ([CLOSED_ONCE, STILL_CLOSED], 15, True),
    ([CLOSED_ONCE, STILL_CLOSED], 25, None),
]


@pytest.mark.parametrize(("closed", "at_us", "expected"), CASES)
def test_a_test_was_closed_then_or_it_is_not_known(
    tmp_path: Path, closed: list[tuple[int, int]], at_us: int, expected: bool | None
) -> None:
    journal = opened(tmp_path)

    def fill(batch: Batch) -> bool | None:
        batch.execute("INSERT INTO qc_code (channel, test, code) VALUES ('chem', 'GLU', 'GLU')")
        batch.executemany(
            "INSERT INTO qc_closed (channel, test, run, since_us, from_us, repeat, until_us, act)"
            " VALUES ('chem', 'GLU', 1, 0, ?, 0, ?, 0)",
            closed,
        )
        past = Past(batch, 1, "chem", at_us)
        assert past.control_failed(("NA",), 5) is None
        return past.control_failed(("GLU",), 5)

    assert journal.run_alone(fill) is expected
    journal.close()
