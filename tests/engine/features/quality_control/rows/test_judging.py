"""Points as they come, late ones, events and exclusions: the verdicts are those of all points together.

No verdict changes without its mark.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from engine.features.quality_control.rows import closing as closed_tests
from engine.features.quality_control.rows import deciding, judging, points, reading, sweeping
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.features.quality_control.rules.westgard import Point, RuleSet, judge
from engine.model.content.quality_controls import ControlResult
from engine.model.errors import RefusedError
from engine.model.process.clock import ManualClock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations.emptying import ErasedMessage
from tests.support.journals import NOW_US

BY = {"actor": "Asha", "reason": "the insert"}
MINUTE, HOUR = 60_000_000, 3_600_000_000
BEGIN = NOW_US - 400 * HOUR
LEVELS = {"L1": ("100", "5"), "L2": ("200", "8"), "L3": ("300", "10")}


@contextmanager
def laboratory(folder: Path, *, lots: tuple[str, ...] = ("A",)) -> Iterator[Journal]:
    """A journal with controls of three levels, each of these lots, and targets in force."""
    with closing(Journal.open(folder, clock=ManualClock(from_us(NOW_US)))) as journal:
        rows = [Lot("chem", f"QC-{level}-{lot}", "Chemtrol", level, lot) for level in LEVELS for lot in lots]
        targets = [
            TargetRow("chem", "", test, level, lot, "mg/dL", *LEVELS[level], "lab")
            for test in ("GLU", "CREA")
            for level in LEVELS
            for lot in lots
        ]
        journal.run_alone(lambda batch: deciding.load(batch, rows, targets, file="controls.csv", **BY))
        ids = [one.id for one in reading.list_targets(journal)]
        journal.run_alone(lambda batch: deciding.accept(batch, ids, IN_FORCE, 1, **BY))
        yield journal


def control(value: str, level: str = "L1", at_us: int = 0, *, lot: str = "A", test: str = "GLU") -> ControlResult:
    number = f"QC-{level}-{lot}"
    return ControlResult(test=test, codes=(test,), number=number, value=value, unit="mg/dL", at_us=at_us)


def measure(journal: Journal, message: int, *controls: ControlResult) -> None:
    placed = [replace(one, place=place) for place, one in enumerate(controls, 1)]
    journal.run_alone(lambda batch: points.note(batch, message, "chem", NOW_US, placed))


def at(run: int, minute: int = 0) -> int:
    return BEGIN + run * HOUR + minute * MINUTE


def verdicts(journal: Journal) -> dict[int, list[tuple[str, str]]]:
    """Of each run: its verdicts with what made them, oldest first."""
    with journal.snapshot() as execute:
        rows = execute("SELECT run, verdict, why FROM qc_verdict ORDER BY run, version").fetchall()
    found: dict[int, list[tuple[str, str]]] = {}
    for run, verdict, why in rows:
        found.setdefault(run, []).append((verdict, why))
    return found


def test_a_second_level_of_a_run_changes_its_verdict_with_a_mark(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        measure(journal, 2, control("230", "L2", at(0, 5)))
        assert verdicts(journal) == {1: [("accept", "measured"), ("reject", "measured")]}
        (mark,) = reading.list_marks(journal, 1)[1:]
        assert (mark.version, mark.verdict, mark.rules) == (2, "reject", "1-2s 1-3s")


def test_a_late_point_is_inserted_by_its_time_and_the_verdicts_from_there_on_are_marked(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        measure(journal, 2, control("112", "L1", at(2)))
        assert verdicts(journal)[2] == [("warn", "measured")]
        measure(journal, 3, control("113", "L1", at(1)))
        assert verdicts(journal)[2] == [("warn", "measured"), ("reject", "measured")]  # 2-2s, with the point before it
        assert verdicts(journal)[3] == [("warn", "measured before others")]
        assert reading.list_failures(journal)[0].run == 2


def test_a_late_point_makes_an_accepted_repeat_none(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("84", "L1", at(0)))
        measure(journal, 2, control("111", "L1", at(2)))
        assert reading.list_failures(journal)[0].repeat == 2
        measure(journal, 3, control("112", "L1", at(1)))  # 2-2s with the repeat
        assert verdicts(journal)[2][-1] == ("reject", "measured")
        assert reading.list_failures(journal)[0].repeat == 0


def test_a_repeat_that_is_left_out_closes_its_test_again(tmp_path: Path) -> None:
    """A person has closed the failed run by it. Those that went out since then are looked at, too."""
    more = {"cause": "lamp", "action": "changed", **BY}
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        measure(journal, 2, control("130", "L1", at(1)))
        measure(journal, 3, control("101", "L1", at(2)))
        journal.run_alone(lambda batch: deciding.open_test(batch, 1, **more))
        note_patients(journal, at(2, 10))
        assert looks(journal) == []
        journal.run_alone(lambda batch: deciding.exclude(batch, 1, "clot", **BY))  # not the repeat
        assert [one.until_us > 0 for one in reading.list_failures(journal, all_of_them=True)] == [True]
        journal.run_alone(lambda batch: deciding.exclude(batch, 3, "wrong control", **BY))
        assert list(journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))) == ["GLU"]
        assert looks(journal) == [100]
        (failure,) = reading.list_failures(journal)
        assert (failure.run, failure.repeat) == (2, 0)
        measure(journal, 4, control("99", "L1", at(3)))
        journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, **more))
        assert not journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))


def test_an_accepted_control_that_is_left_out_lets_more_results_be_looked_at(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        note_patients(journal, at(0, 40))
        measure(journal, 2, control("102", "L1", at(1)))  # of another patient's tube, as turns out
        measure(journal, 3, control("130", "L1", at(2)))
        assert looks(journal) == []
        journal.run_alone(lambda batch: deciding.exclude(batch, 2, "wrong control", **BY))
        assert looks(journal) == [100]
        assert [one.since_us for one in reading.list_failures(journal)] == [at(0)]


def test_each_module_of_an_analyzer_has_failures_of_its_own(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        for message, module in enumerate(("c501", "c502"), 1):
            measure(journal, message, replace(control("130", "L1", at(0)), module=module))
        measure(journal, 3, replace(control("100", "L1", at(1)), module="c502"))
        assert [(one.run, one.repeat) for one in reading.list_failures(journal)] == [(2, 3), (1, 0)]
        more = {"cause": "lamp", "action": "changed", **BY}
        journal.run_alone(lambda batch: deciding.open_test(batch, 2, **more))
        assert list(journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))) == ["GLU"]
        with pytest.raises(RefusedError, match="no repeat of run 1"):
            journal.run_alone(lambda batch: deciding.open_test(batch, 1, **more))


def test_a_late_reject_closes_its_test_although_an_accepted_run_seems_to_be_newer(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(5)))
        measure(journal, 2, control("130", "L1", at(1)))
        assert verdicts(journal)[2] == [("reject", "measured before others")]
        assert [(one.run, one.repeat) for one in reading.list_failures(journal)] == [(2, 0)]


def test_a_clock_that_is_set_back_hides_no_new_failure(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100", "L1", at(5)))
        note_patients(journal, at(5, 10))
        measure(journal, 2, control("130", "L1", at(4, 20)))  # at 5:20, by a clock that was set back by an hour
        assert list(journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))) == ["GLU"]
        assert looks(journal) == [100]
        with pytest.raises(RefusedError, match="no repeat of run 2"):
            journal.run_alone(lambda batch: deciding.open_test(batch, 1, cause="air", action="changed", **BY))
        measure(journal, 3, control("101", "L1", at(4, 40)))
        (failure,) = reading.list_failures(journal)
        assert (failure.run, failure.repeat) == (2, 3)


def test_a_point_comes_once_however_often_its_message_does(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        measure(journal, 1, control("101", "L1", at(0)))  # processed again
        measure(journal, 2, replace(control("101", "L1", at(0)), unit="mg/dl"))  # sent again in another message
        assert len(reading.list_points(journal)) == 1
        measure(journal, 3, control("101", "L1", at(1)), control("101", "L1", at(1)))  # replicates
        assert len(reading.list_points(journal)) == 3
        measure(journal, 4, control("101", "L1"))  # no time: each is one
        measure(journal, 5, control("101", "L1"))
        assert len(reading.list_points(journal)) == 5


@pytest.mark.parametrize("other", [{"unit": "g/L"}, {"unit": ""}, {"level": "L2"}, {"lot": "B"}, {"value": "101.0"}])
def test_a_result_that_differs_in_what_is_judged_is_no_repeat(tmp_path: Path, other: dict[str, str]) -> None:
    with laboratory(tmp_path) as journal:
        first = replace(control("101", "L1", at(0)), number="VIAL", level="L1", lot="A")
        measure(journal, 1, first)
        measure(journal, 2, replace(first, **other))  # type: ignore[arg-type]
        assert [one.verdict for one in reading.list_points(journal)] == ["accept" if "value" in other else "reject"] * 2


@pytest.mark.parametrize(
    ("given", "why", "verdict"),
    [
        ({"value": "<60"}, "no number", "reject"),
        ({"value": ""}, "no number", "reject"),
        ({"unit": "mmol/L"}, "other unit", "reject"),
        ({"number": "QC-L1-B"}, "unknown control", "reject"),
        ({"number": "#77Q1#", "lot": "77", "level": "L1"}, "no target", "reject"),
        ({"invalid": True}, "invalid, says the analyzer", "reject"),
        ({"number": "BACKGROUND"}, "unknown control", "not evaluated"),
        ({"number": "PT-1", "mark": "other role"}, "unknown control", "not evaluated"),
        ({"test": "NA"}, "no target", "not evaluated"),
        ({"test": "NA", "value": "<60", "invalid": True}, "invalid, says the analyzer", "not evaluated"),
    ],
)
def test_a_point_that_cannot_be_evaluated_says_why(
    tmp_path: Path, given: dict[str, Any], why: str, verdict: str
) -> None:
    """It rejects its run, unless its test never had a target, or it is of no material with one."""
    said = {"test": "GLU", "number": "QC-L1-A", "value": "101", "unit": "mg/dL", **given}
    with laboratory(tmp_path) as journal:
        measure(journal, 1, ControlResult(at_us=at(0), **said))
        (point,) = reading.list_points(journal)
        assert (point.why, point.verdict, point.z) == (why, verdict, "")


@pytest.mark.parametrize(("zone", "why"), [("UTC", ""), ("Asia/Kolkata", "lot expired")])
def test_the_last_day_of_a_lot_is_one_of_the_site(tmp_path: Path, zone: str, why: str) -> None:
    at_us = round(datetime(2024, 1, 31, 20, tzinfo=UTC).timestamp() * 1e6)  # in India the day after
    with closing(Journal.open(tmp_path, clock=ManualClock(from_us(NOW_US)), zone=ZoneInfo(zone))) as journal:
        lot = Lot("chem", "QC-L1-A", "Chemtrol", "L1", "A", "2024-01-31")
        target = TargetRow("chem", "", "GLU", "L1", "A", "mg/dL", "100", "5", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [lot], [target], file="controls.csv", **BY))
        journal.run_alone(lambda batch: deciding.accept(batch, [1], IN_FORCE, 1, **BY))
        journal.run_alone(lambda batch: batch.execute("UPDATE qc_lot SET from_us = 1"))
        one = control("101", "L1", at_us)
        journal.run_alone(lambda batch: points.note(batch, 1, "chem", at_us, [one]))
        assert [one.why for one in reading.list_points(journal)] == [why]


def test_a_control_with_its_time_is_entered_once(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        one = control("111", "L1", at(0))
        journal.run_alone(lambda batch: deciding.enter(batch, "chem", one, **BY))
        with pytest.raises(RefusedError, match="there already"):
            journal.run_alone(lambda batch: deciding.enter(batch, "chem", one, **BY))
        measure(journal, 1, one)  # its message comes after all
        assert verdicts(journal) == {1: [("warn", "measured")]}


def test_an_old_point_keeps_the_target_that_it_was_judged_with(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("112", "L1", at(0)))
        row = TargetRow("chem", "", "GLU", "L1", "A", "mg/dL", "110", "5", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [], [row], file="targets.csv", **BY))
        (proposed,) = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
        measure(journal, 2, control("112", "L1", at(1)))  # it is proposed, and counts for none yet
        journal.run_alone(lambda batch: deciding.accept(batch, [proposed], IN_FORCE, at(2), **BY))
        measure(journal, 3, control("112", "L1", at(3)))
        newest, *older = reading.list_points(journal)
        assert [one.mean for one in older] == ["100", "100"]
        assert (newest.mean, newest.z) == ("110", "0.4000")
        all_of_them = reading.list_targets(journal, closed=True)
        before = next(one for one in all_of_them if (one.test, one.level, one.mean) == ("GLU", "L1", "100"))
        assert (before.state, before.until_us) == ("closed", at(2))


def test_an_excluded_point_stays_in_sight_and_makes_no_failed_run_an_accepted_one(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("112", "L1", at(0)))
        measure(journal, 2, control("113", "L1", at(1)))
        assert verdicts(journal) == {1: [("warn", "measured")], 2: [("reject", "measured")]}
        first, second = (one.id for one in reversed(reading.list_points(journal)))
        journal.run_alone(lambda batch: deciding.exclude(batch, second, "short sample", **BY))
        assert verdicts(journal)[2] == [("reject", "measured")]
        assert [one.excluded for one in reading.list_points(journal)] == ["short sample", ""]
        journal.run_alone(lambda batch: deciding.take_back(batch, second, **BY))
        assert [one.excluded for one in reading.list_points(journal)] == ["", ""]
        with pytest.raises(RefusedError, match="is not excluded"):
            journal.run_alone(lambda batch: deciding.take_back(batch, first, **BY))
        with pytest.raises(RefusedError, match="there is no point 99"):
            journal.run_alone(lambda batch: deciding.exclude(batch, 99, "clot", **BY))


def test_an_exclusion_lets_the_counts_of_later_runs_pass_it(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("112", "L1", at(0)))
        journal.run_alone(lambda batch: deciding.exclude(batch, 1, "wrong control", **BY))
        assert verdicts(journal)[1] == [("warn", "measured"), ("not evaluated", "excluded")]
        measure(journal, 2, control("113", "L1", at(1)))
        assert verdicts(journal)[2] == [("warn", "measured")]


def test_a_correction_of_the_analyzer_begins_the_counts_anew(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("112", "L1", at(0)))
        more: dict[str, Any] = {"resets": True, **BY}
        journal.run_alone(lambda batch: deciding.add_event(batch, "chem", "", at(1), "calibration", **more))
        measure(journal, 2, control("113", "L1", at(2)))
        assert verdicts(journal)[2] == [("warn", "measured")]
        with pytest.raises(RefusedError, match="an event is one of"):
            journal.run_alone(lambda batch: deciding.add_event(batch, "chem", "", at(1), "coffee", **more))


def test_rules_have_versions_and_those_of_the_test_come_first(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        wide = RuleSet(rules=("1-3s",))
        narrow = RuleSet(rules=("1-3s", "2-2s"))
        assert journal.run_alone(lambda batch: deciding.set_rules(batch, "", "", wide, **BY)) == 1
        assert journal.run_alone(lambda batch: deciding.set_rules(batch, "chem", "GLU", narrow, **BY)) == 2
        for test in ("GLU", "CREA"):
            measure(journal, 1 + 2 * (test == "CREA"), control("112", "L1", at(0), test=test))
            measure(journal, 2 + 2 * (test == "CREA"), control("113", "L1", at(1), test=test))
        assert [found[-1][0] for found in verdicts(journal).values()] == ["accept", "reject", "accept", "accept"]
        with pytest.raises(RefusedError, match="no rule of it rejects"):
            journal.run_alone(lambda batch: deciding.set_rules(batch, "", "", RuleSet(rules=("7T",)), **BY))


def test_a_run_keeps_the_rules_that_it_was_judged_by(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:

        def sets(*rules: str) -> None:
            made = RuleSet(rules=rules)
            journal.run_alone(lambda batch: deciding.set_rules(batch, "chem", "GLU", made, **BY))

        sets("1-3s")
        measure(journal, 1, control("112", "L1", at(2)), control("130", "L1", at(4)))
        sets("2-2s")
        measure(journal, 2, control("201", "L2", at(4, 9)))
        measure(journal, 3, control("113", "L1", at(1)))  # now 2-2s fires at the first run, and not at the second
        assert [[verdict for verdict, _ in found] for found in verdicts(journal).values()] == [
            ["accept"], ["reject"], ["accept"],
        ]  # fmt: skip


def test_z_is_shown_to_four_places_half_up(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100.00025", at_us=at(0)), control("99.99975", at_us=at(2)))
        measure(journal, 2, control("9" * 20, at_us=at(4)))
        assert [one.z for one in reading.list_points(journal)] == ["19999999999999999979.8000", "-0.0001", "0.0001"]


# -- random laboratories ---------------------------------------------------------------------------------------------


def lives(seed: int) -> Iterator[Callable[[Batch, int], Any]]:
    """What happens in one laboratory: controls in and out of order, of several levels, lots and replicates; resets."""
    rng = random.Random(seed)
    drift = 0.0
    for run in range(1, rng.randint(6, 31)):
        drift = rng.choice((0.0, drift, drift + 0.7, drift - 0.7))
        moment = run if rng.random() < 0.8 else rng.randint(0, run)
        found = []
        for level in rng.sample(list(LEVELS), rng.randint(1, 3)):
            for _ in range(rng.choice((1, 1, 1, 2))):
                mean, sd = map(float, LEVELS[level])
                z = rng.choice((rng.gauss(drift, 1), 0.0, 2.0, 3.0, -2.0))
                value = rng.choice((f"{mean + z * sd:.2f}",) * 19 + ("<60",))
                lot = "B" if run > 12 and rng.random() < 0.7 else "A"
                found.append(control(value, level, at(moment, rng.randint(0, 40)), lot=lot))
        sent = [replace(one, place=place) for place, one in enumerate(found, 1)]
        yield lambda batch, message, sent=sent: points.note(batch, message, "chem", NOW_US, sent)
        if rng.random() < 0.1:
            when, resets = at(rng.randint(0, run), 50), rng.random() < 0.7
            yield lambda batch, message, when=when, resets=resets: deciding.add_event(
                batch, "chem", "", when, "calibration", resets=resets, **BY
            )


@pytest.mark.parametrize("seed", range(40))
def test_random_laboratories_have_the_verdicts_of_all_their_points(tmp_path: Path, seed: int) -> None:
    noted: dict[tuple[int, int], tuple] = {}
    with laboratory(tmp_path, lots=("A", "B")) as journal:
        for message, happens in enumerate(lives(seed), 1):
            journal.run_alone(lambda batch, happens=happens, message=message: happens(batch, message))
            with journal.snapshot() as execute:
                rows = execute("SELECT run, version, at_us, verdict, fired, rules, why, act FROM qc_verdict").fetchall()
            now = {(row[0], row[1]): row for row in rows}
            assert noted.items() <= now.items()  # none is gone, and none is another one
            noted = now
        latest = {run: (row[3], row[4]) for (run, _), row in sorted(noted.items())}
        assert latest == dict(journal.run_alone(_of_all_points))


def _of_all_points(batch: Batch) -> list[tuple[int, tuple[str, str]]]:
    """The verdict on each run, where all points are judged at once."""
    stream = judging.stream_named(batch, 1)
    rows = sorted(judging._rows(batch, f"{judging._COLUMNS} p.stream = ?", (1,)).values())
    _, rules = judging.rules_for(batch, stream)
    made: list[Point] = list(judging._with_resets(batch, stream, rows))
    found = judge(made, rules)
    runs = {one.number: one.run for one in made}
    said = {run: [tuple(one) for one in found.violations if runs[one.at] == run] for run in found.runs}
    return [(run, (verdict.value, orjson.dumps(said[run]).decode())) for run, verdict in found.runs.items()]


def test_a_point_is_judged_in_a_millisecond_behind_five_thousand(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:

        def fill(batch: Batch) -> None:
            for number in range(5000):
                level = ("L1", "L2", "L3")[number % 3]
                one = control(str(int(LEVELS[level][0]) + number % 2), level, at(0, number))
                points.add(batch, number + 1, "chem", NOW_US, one)

        journal.run_alone(fill)

        def took(batch: Batch, number: int) -> float:
            one = control("101", "L1", at(90, number))
            begun = time.thread_time()
            points.note(batch, 6000 + number, "chem", NOW_US, [one])
            return time.thread_time() - begun

        each = sorted(journal.run_alone(lambda batch: [took(batch, number) for number in range(60)]))
        assert each[30] < 0.004, each  # a quarter of it on a machine of our own; four times that under load


def note_patients(journal: Journal, *times: int) -> None:
    """A message each, with a result of a patient that went out; numbered from 100."""
    for number, at_us in enumerate(times, start=100):
        journal.run_alone(lambda batch, n=number, at=at_us: closed_tests.note_results(batch, n, "chem", {"GLU": at}))


def looks(journal: Journal) -> list[int]:
    return [
        one.message for failure in reading.list_failures(journal) for one in reading.list_looks(journal, failure.id)
    ]


def test_a_failed_run_that_comes_together_with_its_repeat_has_its_results_looked_at(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100", "L1", at(0)))
        note_patients(journal, at(0, 30), at(1, 30), at(2, 30))
        measure(journal, 2, control("130", "L1", at(1)), control("101", "L1", at(2)))
        assert looks(journal) == [100, 101]
        (failure,) = reading.list_failures(journal)
        assert (failure.run, failure.repeat, bool(failure.until_us)) == (2, 3, True)
        assert journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem")) == {}


def test_a_failed_run_that_comes_after_its_repeat_closes_its_test(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100", "L1", at(0)))
        note_patients(journal, at(0, 30), at(1, 30), at(2, 30))
        measure(journal, 2, control("101", "L1", at(2)))
        measure(journal, 3, control("130", "L1", at(1)))
        assert looks(journal) == [100, 101, 102]
        assert list(journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))) == ["GLU"]


@pytest.mark.parametrize(
    "after",
    [
        control("201", "L2", at(2)),
        control("101", "L1", NOW_US + 20 * HOUR),  # by a clock that was ahead
    ],
    ids=["another level", "ahead"],
)
def test_a_failed_run_that_no_later_one_repeats_closes_its_test(tmp_path: Path, after: ControlResult) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, after)
        measure(journal, 2, control("130", "L1", at(1)))
        assert list(journal.run_alone(lambda batch: closed_tests.closed_tests(batch, "chem"))) == ["GLU"]
        assert [one.run for one in reading.list_failures(journal)] == [2]


def test_an_older_run_that_fails_late_adds_to_what_is_looked_at(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100", "L1", at(0)), control("100", "L1", at(1)))
        note_patients(journal, at(0, 30), at(1, 30), at(2, 30))
        measure(journal, 2, control("130", "L1", at(3)))
        assert looks(journal) == [101, 102]
        measure(journal, 3, control("210", "L2", at(0, 1)), control("240", "L2", at(1, 1)))
        assert (looks(journal), [one.run for one in reading.list_failures(journal)]) == ([100, 101, 102], [3])


def test_a_failed_run_with_an_excluded_point_stays_failed_when_another_one_comes(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("130", "L1", at(0)))
        journal.run_alone(lambda batch: deciding.exclude(batch, 1, "clot", **BY))
        measure(journal, 2, control("201", "L2", at(0, 9)))
        assert [verdict for verdict, _ in verdicts(journal)[1]] == ["reject"]
        measure(journal, 3, control("201", "L2", at(2)))  # the level that failed is the other one
        assert reading.list_failures(journal)[0].repeat == 0
        measure(journal, 4, control("101", "L1", at(4)))
        assert reading.list_failures(journal)[0].repeat > 0


def test_a_level_that_failed_is_measured_again_at_once(tmp_path: Path) -> None:
    """Within half an hour: it is a run of its own, which may be accepted."""
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("130", "L1", at(0)))
        measure(journal, 2, control("201", "L2", at(0, 2)))  # of the same run
        measure(journal, 3, control("101", "L1", at(0, 9)))
        assert {run: [verdict for verdict, _ in found] for run, found in verdicts(journal).items()} == {
            1: ["reject"], 2: ["accept"],
        }  # fmt: skip
        assert reading.list_failures(journal)[0].repeat == 2


def test_a_repeat_has_both_levels_that_failed_together(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("111", "L1", at(0)), control("180", "L2", at(0, 1)))  # R-4s
        measure(journal, 2, control("200", "L2", at(2)))
        assert reading.list_failures(journal)[0].repeat == 0
        measure(journal, 3, control("100", "L1", at(4)), control("200", "L2", at(4, 1)))
        assert reading.list_failures(journal)[0].repeat > 0


def test_a_repeat_has_the_levels_of_all_runs_that_failed(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("130", "L1", at(1)))
        measure(journal, 2, control("240", "L2", at(2)))
        measure(journal, 3, control("200", "L2", at(3)))
        assert reading.list_failures(journal)[0].repeat == 0
        measure(journal, 4, control("100", "L1", at(4)), control("200", "L2", at(4, 1)))
        assert reading.list_failures(journal)[0].repeat > 0


def test_a_repeat_whose_levels_come_one_after_the_other_has_both(tmp_path: Path) -> None:
    """The second one changes no verdict."""
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("111", "L1", at(0)), control("180", "L2", at(0, 1)))  # R-4s
        measure(journal, 2, control("100", "L1", at(2)))
        assert reading.list_failures(journal)[0].repeat == 0
        measure(journal, 3, control("200", "L2", at(2, 5)))
        assert reading.list_failures(journal)[0].repeat == 2
        journal.run_alone(lambda batch: deciding.exclude(batch, 4, "clot", **BY))
        assert [verdict for verdict, _ in verdicts(journal)[2]] == ["accept"]
        assert reading.list_failures(journal)[0].repeat == 0  # the level that is left out is not repeated
        journal.run_alone(lambda batch: deciding.take_back(batch, 4, **BY))
        assert reading.list_failures(journal)[0].repeat == 2


def test_a_level_that_fails_late_is_repeated_too(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("130", "L1", at(0)))
        measure(journal, 2, control("100", "L1", at(2)))
        assert reading.list_failures(journal)[0].repeat == 2
        measure(journal, 3, control("240", "L2", at(0, 5)))  # its run was rejected before
        assert reading.list_failures(journal)[0].repeat == 0
        measure(journal, 4, control("200", "L2", at(2, 5)))
        assert reading.list_failures(journal)[0].repeat == 2


def test_failures_with_results_to_look_at_stay_in_sight_behind_a_thousand_others(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("130", "L1", at(0)))
        closed = "INSERT INTO qc_closed (channel, test, run, since_us, from_us, repeat, until_us, act) VALUES"
        journal.run_alone(lambda batch: batch.executemany(f"{closed} ('chem', 'K', 1, 0, 0, 1, 1, 1)", [()] * 1000))
        assert [one.test for one in reading.list_failures(journal)] == ["GLU"]
        assert len(reading.list_failures(journal, all_of_them=True)) == 1000


def erase(journal: Journal, message: int) -> None:
    erased = ErasedMessage(id=message, channel="chem", patients=frozenset(), person=True)
    assert journal.run_alone(lambda batch: sweeping.forget(batch, erased)) == 1
    assert journal.run_alone(lambda batch: sweeping.forget(batch, erased)) == 0  # after a restore once more


def repeats(journal: Journal) -> list[int]:
    return [one.repeat for one in reading.list_failures(journal)]


def test_an_erased_control_leaves_its_run_failed_and_repeats_nothing(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("140", "L1", at(1)))
        erase(journal, 1)
        measure(journal, 2, control("200", "L2", at(2)))
        assert verdicts(journal) == {1: [("reject", "measured")], 2: [("accept", "measured")]}
        assert repeats(journal) == [0]  # which level failed is not known any more
        measure(journal, 3, *(control(LEVELS[level][0], level, at(3)) for level in LEVELS))
        assert repeats(journal) == [3]
        erase(journal, 2)
        assert repeats(journal) == [3]
        journal.run_alone(lambda batch: judging.forget(batch, 3))
        assert repeats(journal) == [0]
        assert verdicts(journal)[3] == [("accept", "measured"), ("not evaluated", "erased")]
        shown = {(one.level, one.lot, one.number, one.value, one.z) for one in reading.list_points(journal)}
        assert shown == {("", "", "", "", "")}


def test_a_decision_about_a_target_counts_before_those_that_would_begin_later(tmp_path: Path) -> None:
    def proposed(mean: str) -> int:
        row = TargetRow("chem", "", "GLU", "L1", "A", "mg/dL", mean, "5", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [], [row], file="targets.csv", **BY))
        return max(one.id for one in reading.list_targets(journal))

    def accept(target: int, run: int) -> None:
        journal.run_alone(lambda batch: deciding.accept(batch, [target], IN_FORCE, at(run), **BY))

    with laboratory(tmp_path) as journal:
        first, second, third = map(proposed, ("120", "130", "140"))
        accept(second, 10)
        accept(third, 100)
        accept(first, 50)
        measure(journal, 1, *(control("120", "L1", at(run)) for run in (9, 49, 60, 110)))
        assert [one.mean for one in reading.list_points(journal)] == ["120", "120", "130", "100"]


@pytest.mark.parametrize(("value", "word", "verdict"), [
    ("100", "negative", "accept"), ("111", "Negative", "warn"), ("160", "negative", "reject"),
    ("100", "positive", "reject"), ("<1", "negative", "reject"), ("100", " ", "reject"),
])  # fmt: skip
def test_a_test_may_have_levels_with_numbers_beside_qualitative_ones(
    tmp_path: Path, value: str, word: str, verdict: str
) -> None:
    with laboratory(tmp_path) as journal:
        lot = Lot("chem", "QC-N", "Serocheck", "N", "S1")
        row = TargetRow("chem", "", "GLU", "N", "S1", "", "negative", "", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [lot], [row], file="controls.csv", **BY))
        (target,) = (one.id for one in reading.list_targets(journal) if one.level == "N")
        journal.run_alone(lambda batch: deciding.accept(batch, [target], IN_FORCE, 1, **BY))
        worded = ControlResult(test="GLU", codes=("GLU",), number="QC-N", value=word, at_us=at(1))
        measure(journal, 1, worded, control(value, "L1", at(1)))
        assert verdicts(journal) == {1: [(verdict, "measured")]}
        measure(journal, 2, control("140", "L1", at(2)))  # a run of numbers alone, soon after words
        assert verdicts(journal)[2] == [("reject", "measured")]


def test_a_run_that_fails_by_two_levels_keeps_its_verdict_where_one_is_left_out(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("140", "L1", at(1)), control("240", "L2", at(1)))
        before = reading.list_marks(journal, 1)
        journal.run_alone(lambda batch: deciding.exclude(batch, 1, "clot", **BY))
        assert reading.list_marks(journal, 1) == before


@pytest.mark.parametrize(("days", "timed"), [(1, True), (3, False)])
def test_a_time_that_is_far_ahead_is_not_believed(tmp_path: Path, days: int, *, timed: bool) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("100", "L1", NOW_US + days * 24 * HOUR))
        (point,) = reading.list_points(journal)
        assert (point.timed, point.measured_us) == (timed, NOW_US + 24 * HOUR if timed else NOW_US)


def test_the_repeat_of_a_control_of_no_list_has_all_levels_with_a_target(tmp_path: Path) -> None:
    """Also where its number is put on the list, and it is measured again at once."""
    with laboratory(tmp_path) as journal:
        measure(journal, 1, replace(control("101", "L1", at(1)), number="NEW"))
        lot = Lot("chem", "NEW", "Chemtrol", "L1", "A")
        journal.run_alone(lambda batch: deciding.load(batch, [lot], [], file="controls.csv", **BY))
        measure(journal, 2, replace(control("102", "L1", at(1, 9)), number="NEW"))
        assert [found[-1][0] for found in verdicts(journal).values()] == ["reject", "accept"]
        assert repeats(journal) == [0]
        measure(journal, 3, control("200", "L2", at(1, 10)), control("300", "L3", at(1, 11)))
        assert repeats(journal) == [2]


def test_a_test_whose_targets_have_all_ended_is_opened_without_a_repeat(tmp_path: Path) -> None:
    more = {"cause": "no controls here any more", "action": "none", **BY}
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101", "L1", at(0)))
        targets = [one.id for one in reading.list_targets(journal) if one.test == "GLU"]
        for target in targets:
            journal.run_alone(lambda batch, target=target: deciding.close_target(batch, target, at(1), **BY))
        measure(journal, 2, control("101", "L1", at(2)))
        (failure,) = reading.list_failures(journal)
        journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, **more))
        measure(journal, 3, control("101", "L1", at(3)))  # it is as a test that never had one
        assert reading.list_failures(journal) == []
        row = TargetRow("chem", "", "GLU", "L1", "A", "mg/dL", "101", "5", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [], [row], file="targets.csv", **BY))
        (target,) = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
        journal.run_alone(lambda batch: deciding.accept(batch, [target], IN_FORCE, at(4), **BY))
        measure(journal, 4, control("words", "L1", at(5)))
        assert [one.test for one in reading.list_failures(journal)] == ["GLU"]


@pytest.mark.parametrize("of", ["a time before its lot", "a time before its lot, which it names"])
def test_a_time_before_the_lot_of_a_control_is_not_believed(tmp_path: Path, of: str) -> None:
    with laboratory(tmp_path) as journal:
        journal.run_alone(lambda batch: batch.execute("UPDATE qc_target SET mean = '200' WHERE lot = 'A'"))
        rows = [TargetRow("chem", "", "GLU", "L1", "B", "mg/dL", "100", "5", "lab")]
        lots = [Lot("chem", "QC-L1-A", "Chemtrol", "L1", "B")]
        journal.run_alone(lambda batch: deciding.load(batch, lots, rows, file="controls.csv", **BY))
        (target,) = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
        journal.run_alone(lambda batch: deciding.accept(batch, [target], IN_FORCE, NOW_US - HOUR, **BY))
        one = replace(control("100", "L1", NOW_US - 20 * HOUR), lot="B" if "names" in of else "")
        measure(journal, 1, one)
        (point,) = reading.list_points(journal)
        assert (point.lot, point.mean, point.measured_us, point.verdict) == ("B", "100", NOW_US, "accept")


def test_a_person_may_enter_controls_of_last_year(tmp_path: Path) -> None:
    """Also those from before there was a target: they close nothing."""
    with laboratory(tmp_path) as journal:
        row = TargetRow("chem", "", "NA", "L1", "A", "mg/dL", "100", "5", "lab")
        journal.run_alone(lambda batch: deciding.load(batch, [], [row], file="targets.csv", **BY))
        (target,) = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
        journal.run_alone(lambda batch: deciding.accept(batch, [target], IN_FORCE, at(0), **BY))
        for test in ("GLU", "NA"):
            one = control("101", "L1", NOW_US - 400 * 24 * HOUR, test=test)
            journal.run_alone(lambda batch, one=one: deciding.enter(batch, "chem", one, **BY))
        assert [(one.measured_us, one.verdict) for one in reading.list_points(journal)] == [
            (NOW_US - 400 * 24 * HOUR, "not evaluated"), (NOW_US - 400 * 24 * HOUR, "accept"),
        ]  # fmt: skip
        assert reading.list_failures(journal) == []


@pytest.mark.parametrize("unit", ["mg/dL", ""])
def test_words_beside_the_number_of_a_control_are_no_control_of_their_own(tmp_path: Path, unit: str) -> None:
    with laboratory(tmp_path) as journal:
        words = replace(control("normal", "L1", at(0)), unit=unit)
        measure(journal, 1, words, control("101", "L1", at(0)))
        measure(journal, 2, control("101", "L1", at(1)))
        measure(journal, 3, replace(words, at_us=at(2)))
        assert [found[-1][0] for found in verdicts(journal).values()] == ["accept", "accept", "reject"]
