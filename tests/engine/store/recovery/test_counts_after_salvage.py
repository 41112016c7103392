"""A salvage counts no result twice: not where the state of a message is lost, nor how far they were counted."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.store.core.connecting import JOURNAL_NAME
from engine.store.recovery.salvage import saving
from tests.engine.features.reports.rows.test_result_counts import BERLIN, GLU, Lab, counted, sums
from tests.support.journals import opened


def lose_states(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM delivery")  # else they show what its state was
        connection.execute("DELETE FROM message_state")


def lose_position(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'result_position'").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("lose", [[lose_states], [lose_position], [lose_states, lose_position]])
def test_no_result_counts_twice(tmp_path: Path, lose: list[Callable[[Path], None]]) -> None:
    lab = Lab(tmp_path / "old")
    for patient in ("P1", "P2", ""):
        lab.put("chem", patient, "", GLU, ("a",))
    number = lab.put("chem", "P1", "S1", GLU, ("a",))
    lab.deliver(number)
    lab.count()
    before = counted(lab.journal)
    assert sums(lab).final == 4
    lab.close()
    for one in lose:
        one(tmp_path / "old" / JOURNAL_NAME)

    found = saving.run(tmp_path / "old", tmp_path / "new", clock=lab.clock, actor="ann", reason="a bad disk")
    assert ("result_position" in found.damaged) == (lose_position in lose)
    lab.journal = opened(tmp_path / "new", clock=lab.clock, zone=BERLIN)
    lab.clock.advance(8 * 86_400)  # no memory of specimens helps
    lab.count()
    if lose_states in lose:
        for message in list(lab.known):
            lab.map(message)
    new = lab.put("chem", "P9", "S9", GLU, ("a",))
    lab.deliver(new)
    lab.count()
    after = counted(lab.journal)
    day = next(iter(before))
    assert after[day]["final"] == before[day]["final"] == 4
    assert sums(lab).final == 5
    assert sums(lab).again == 0
    lab.close()
