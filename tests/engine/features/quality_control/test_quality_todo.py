"""Controls on the to-do list: failed, sent before, due by time, patients and event, lots that end or have no target."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.features.quality_control import todo
from engine.features.quality_control.config import ControlsConfig
from engine.features.quality_control.rows import closing, deciding, points
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.maintenance import Job
from engine.features.quality_control.rules.tables import TargetRow
from engine.features.quality_control.service import QualityService
from engine.model.content.quality_controls import ControlResult
from engine.model.errors import RefusedError
from engine.model.process.clock import from_us
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import Level
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from tests.support.journals import NOW_US, running

BY = {"actor": "Asha", "reason": "the insert"}
TABLE = {"file": "controls.csv", **BY}
HOUR = 3_600_000_000
NOW = from_us(NOW_US)
SNAPSHOT = SiteSnapshot(site_name="lab", version="1", started_at=NOW, now=NOW, timezone="Asia/Kolkata")


@dataclass
class Seen:
    """A look at the journal."""

    journal: Journal
    now_us: int = NOW_US
    config: ControlsConfig = field(default_factory=ControlsConfig)
    jobs: Sequence[Job] = ()
    site: SiteSnapshot = SNAPSHOT

    async def read(self, query: Callable[[Any], Any]) -> Any:
        return query(self.journal)

    def service(self, kind: type) -> QualityService:
        assert kind is QualityService
        made = QualityService()
        made.config, made.jobs = self.config, self.jobs
        return made

    async def keys(self) -> list[str]:
        return sorted(one.key for one in await todo.entries(self))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as opened:
        lots = [Lot("chem", "QC", "Chemtrol", "L1", "A7", "2099-01-31")]
        targets = [TargetRow("chem", "", "GLU", "L1", "A7", "", "100", "5", "lab")]
        await opened.run(deciding.load, lots, targets, file="controls.csv", **BY)
        await opened.run(deciding.accept, [1], IN_FORCE, 1, **BY)
        yield opened


async def measure(journal: Journal, message: int, value: str, at_us: int, number: str = "QC") -> None:
    one = ControlResult(test="GLU", codes=("GLU",), number=number, value=value, at_us=at_us)
    await journal.writer.submit(lambda batch: points.note(batch, message, "chem", NOW_US, [one]))


async def test_nothing_waits_after_an_accepted_control(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - HOUR)
    assert await Seen(journal).keys() == []


async def test_a_control_is_due_a_day_after_the_last_accepted_one(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 23 * HOUR)
    assert await Seen(journal).keys() == []
    assert await Seen(journal, now_us=NOW_US + HOUR).keys() == ["control-due/chem"]
    assert await Seen(journal, config=ControlsConfig(due_after="8h")).keys() == ["control-due/chem"]


async def test_a_test_whose_target_has_ended_is_due_no_more(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 30 * HOUR)
    assert await Seen(journal).keys() == ["control-due/chem"]
    await journal.run(deciding.close_target, 1, NOW_US, **BY)
    assert await Seen(journal).keys() == ["control-lot/chem/Chemtrol/L1/A7"]


async def test_a_control_that_is_not_evaluated_is_a_failed_one(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 30 * HOUR)
    await measure(journal, 2, "<60", NOW_US - HOUR)
    assert await Seen(journal).keys() == ["control-failed/1"]


async def test_a_control_is_due_after_so_many_patients(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 2 * HOUR)
    for message in (2, 3):
        await journal.writer.submit(
            lambda batch, message=message: closing.note_results(batch, message, "chem", {"GLU": NOW_US - HOUR})
        )
    assert await Seen(journal, config=ControlsConfig(due_patients=3)).keys() == []
    assert await Seen(journal, config=ControlsConfig(due_patients=2)).keys() == ["control-due/chem"]


async def test_a_control_is_due_after_a_calibration(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 3 * HOUR)
    await journal.run(deciding.add_event, "chem", "", NOW_US - 2 * HOUR, "calibration", resets=True, **BY)
    assert await Seen(journal).keys() == ["control-due/chem"]
    await measure(journal, 2, "101", NOW_US - HOUR)
    assert await Seen(journal).keys() == []


async def test_a_failure_is_a_problem_until_a_person_has_closed_it_and_looked(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 5 * HOUR)
    await journal.writer.submit(lambda batch: closing.note_results(batch, 9, "chem", {"GLU": NOW_US - 4 * HOUR}))
    await measure(journal, 2, "130", NOW_US - 3 * HOUR)
    failed, looks = sorted(await todo.entries(Seen(journal)), key=lambda one: one.key)
    assert (failed.key, failed.level) == ("control-failed/1", Level.PROBLEM)
    assert str(failed.phrase) == "The control of GLU failed on chem: its results wait"
    assert (looks.key, looks.count, looks.step) == ("control-look/1", 1, "labrelay quality sent-before 1")
    await measure(journal, 3, "100", NOW_US - 2 * HOUR)
    proposed = next(one for one in await todo.entries(Seen(journal)) if one.key == failed.key)
    assert str(proposed.phrase) == "The repeat of GLU on chem was accepted: close the failed run"
    assert proposed.step.startswith("labrelay quality close 1 ")
    await journal.run(deciding.open_test, 1, cause="reagent", action="changed", **BY)
    assert await Seen(journal).keys() == ["control-look/1"]
    await journal.run(deciding.looked_at, 1, [9], **BY)
    assert await Seen(journal).keys() == []


async def test_a_repeat_that_is_not_evaluated_any_more_opens_nothing(journal: Journal) -> None:
    await measure(journal, 1, "130", NOW_US - 3 * HOUR)
    await measure(journal, 2, "100", NOW_US - HOUR)
    await measure(journal, 3, "<60", NOW_US - HOUR + 1)
    with pytest.raises(RefusedError, match="no repeat of run 2 was accepted"):
        await journal.run(deciding.open_test, 1, cause="reagent", action="changed", **BY)


async def test_a_lot_that_ends_and_one_without_a_target_are_told(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - HOUR)
    late = Seen(journal, config=ControlsConfig(lot_ends="40000d"))
    assert await late.keys() == ["control-lot/chem/Chemtrol/A7"]
    lots = [Lot("chem", "QN", "Chemtrol", "L1", "B8")]
    await journal.run(deciding.load, lots, [], file="controls.csv", **BY)
    assert await Seen(journal).keys() == ["control-lot/chem/Chemtrol/L1/B8"]


async def test_a_control_that_is_on_no_list_stays_in_sight_for_a_week(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 2 * HOUR, number="X1")
    await measure(journal, 2, "101", NOW_US - HOUR)
    assert await Seen(journal).keys() == ["control-failed/1", "control-unknown/chem"]
    assert "control-unknown/chem" not in await Seen(journal, now_us=NOW_US + 8 * 24 * HOUR).keys()


async def test_a_control_that_never_came_is_due_a_day_after_its_target_is_in_force(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - HOUR)
    targets = [TargetRow("chem", module, "K", "L1", "A7", "", "4", "0.1", "lab") for module in ("", "M2")]
    await journal.run(deciding.load, [], targets, file="targets.csv", **BY)
    assert await Seen(journal).keys() == []
    await journal.run(deciding.accept, [2, 3], IN_FORCE, NOW_US - 23 * HOUR, **BY)
    assert await Seen(journal).keys() == []
    (due,) = await todo.entries(Seen(journal, now_us=NOW_US + HOUR))
    assert (due.key, due.count, due.phrase.values["tests"]) == ("control-due/chem", 1, "K")


async def test_no_control_of_tomorrow_is_entered(journal: Journal) -> None:
    now_us = await journal.writer.submit(lambda batch: batch.now_us)
    one = ControlResult(test="GLU", codes=("GLU",), number="QC", value="101", at_us=now_us + HOUR, mark="person")
    with pytest.raises(RefusedError, match="still to come"):
        await journal.run(deciding.enter, "chem", one, **BY)


NEEDLE = Job(channel="chem", job="Clean the needle", every=7)
WIPE = Job(channel="chem", job="Wipe the screen", every=1, control=False)


async def test_maintenance_is_listed_until_it_was_done_and_then_a_control_is_due(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 2 * HOUR)
    seen = Seen(journal, jobs=(NEEDLE,))
    assert await seen.keys() == ["maintenance/chem/Clean the needle"]
    act = await journal.run(deciding.add_event, "chem", "", NOW_US - HOUR, "maintenance", job=NEEDLE, **BY)
    assert await seen.keys() == ["control-due/chem"]
    await measure(journal, 2, "101", NOW_US)
    assert await seen.keys() == []
    (noted,) = [one for one in acts_page(journal) if one.id == act]
    assert (noted.actor, noted.what["job"], noted.what["reason"]) == ("Asha", NEEDLE.job, BY["reason"])


async def test_maintenance_that_needs_no_control_makes_none_due(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 2 * HOUR)
    await journal.run(deciding.add_event, "chem", "", NOW_US - HOUR, "maintenance", job=WIPE, **BY)
    assert await Seen(journal, jobs=(WIPE,)).keys() == []


async def test_maintenance_that_is_late_is_a_problem_and_no_other_analyzer_s_is_taken_for_it(journal: Journal) -> None:
    other = Job(channel="immuno", job=WIPE.job, every=1)
    for job, days in ((WIPE, 3), (other, 0)):
        at_us = NOW_US - days * 24 * HOUR
        await journal.run(deciding.add_event, job.channel, "", at_us, "maintenance", job=job, **BY)
    (entry,) = [one for one in await todo.entries(Seen(journal, jobs=(WIPE, other))) if one.kind == "maintenance"]
    assert (entry.level, entry.subject) == (Level.PROBLEM, "chem")
    assert entry.step == "labrelay quality done chem 'Wipe the screen' --reason TEXT"


async def test_maintenance_of_tomorrow_is_not_noted_as_done(journal: Journal) -> None:
    with pytest.raises(RefusedError, match="not done yet"):
        await journal.run(deciding.add_event, "chem", "", NOW_US + 24 * HOUR, "maintenance", job=NEEDLE, **BY)


async def test_each_level_with_a_target_is_due_by_itself(journal: Journal) -> None:
    targets = [TargetRow("chem", "", "GLU", "L2", "B7", "", "200", "10", "lab")]
    await journal.run(deciding.load, [Lot("chem", "Q2", "Chemtrol", "L2", "B7", "2099-01-31")], targets, **TABLE)
    await journal.run(deciding.accept, [2], IN_FORCE, 1, **BY)
    await measure(journal, 1, "101", NOW_US - 2 * HOUR)
    assert await Seen(journal).keys() == ["control-due/chem"], "its second level was never measured"
    await measure(journal, 2, "201", NOW_US - 25 * HOUR, "Q2")
    assert await Seen(journal).keys() == ["control-due/chem"], "the second one is of yesterday"
    await measure(journal, 3, "201", NOW_US - HOUR, "Q2")
    assert await Seen(journal).keys() == []
    assert await Seen(journal, config=ControlsConfig(due_after="90m")).keys() == ["control-due/chem"]
    await journal.run(deciding.close_target, 1, NOW_US, **BY)
    assert await Seen(journal, config=ControlsConfig(due_after="90m")).keys() == ["control-lot/chem/Chemtrol/L1/A7"]


async def test_an_event_that_is_to_come_hides_none_before_it(journal: Journal) -> None:
    await measure(journal, 1, "101", NOW_US - 3 * HOUR)
    await journal.run(deciding.add_event, "chem", "", NOW_US - 2 * HOUR, "calibration", **BY)
    await journal.run(deciding.add_event, "chem", "", NOW_US + 90 * HOUR, "calibration", **BY)
    assert await Seen(journal).keys() == ["control-due/chem"]
    await measure(journal, 2, "101", NOW_US - HOUR)
    assert await Seen(journal).keys() == []
