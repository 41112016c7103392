"""Controls where a journal goes on from a backup, or is salvaged: a failed test stays closed, and an erased control
does not come back."""

from pathlib import Path

import pytest

from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.quality_controls import ControlResult
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import record_outcome
from engine.store.recovery.salvage import saving
from tests.support.copies import Place
from tests.support.journals import running, store

BY = {"actor": "Asha", "reason": "the insert"}


async def measure(journal: Journal, *values: str) -> None:
    """One message each, after lots and targets were taken."""
    lots = [Lot("chem", "QC", "Chemtrol", "L1", "A7")]
    target = TargetRow("chem", "", "GLU", "L1", "A7", "mg/dL", "100", "5", "lab")
    await journal.run(deciding.load, lots, [target], file="controls.csv", **BY)
    proposed = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
    await journal.run(deciding.accept, proposed, IN_FORCE, 1, **BY)
    for value in values:
        (stored,) = await store(journal, value.encode())
        one = ControlResult(test="GLU", codes=("GLU",), number="QC", value=value, unit="mg/dL", mark="role")
        outcome = Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(one,))
        await journal.run(record_outcome.record, stored.id, outcome, [])


def values(journal: Journal) -> list[str]:
    return [one.value for one in reading.list_points(journal)]


def waits(journal: Journal) -> list[bool]:
    """Of each failed run: whether it has a repeat."""
    return [bool(one.repeat) for one in reading.list_failures(journal)]


@pytest.mark.parametrize("late", [False, True])
async def test_a_control_that_was_erased_since_the_backup_does_not_come_back(tmp_path: Path, *, late: bool) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        await measure(journal, "101", "130", "99")
        copy = await place.copy(journal)
        repeat = reading.list_points(journal)[0].message
        await journal.run(erasure.erase, [repeat], [], actor="asha", reason="asked", more={})
        assert (values(journal), waits(journal)) == (["", "130", "101"], [False])
        if late:
            copy = await place.copy(journal)
    place.rows(copy)
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        assert (values(journal), waits(journal)) == (["", "130", "101"], [False])
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


async def test_a_salvaged_journal_has_the_failed_test_closed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path / "var", clock=clock) as journal:
        await measure(journal, "101", "130")
        assert waits(journal) == [False]
    saving.run(tmp_path / "var", tmp_path / "new", clock=clock, actor="asha", reason="tested")
    async with running(tmp_path / "new", clock=clock) as journal:
        assert (values(journal), waits(journal)) == (["130", "101"], [False])
        assert [one.state for one in reading.list_targets(journal)] == [IN_FORCE]
