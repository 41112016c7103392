"""The judge of the fault tests is itself tried: each way to fail is brought about, and must be seen."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.outcome import Outcome
from engine.store.operations import record_outcome
from engine.store.operations.outbox import attempts
from tests.faults.harness.catalogue import FAULTS, ROOT, exists
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import Judgement, judge
from tests.faults.harness.report import entry, write
from tests.faults.harness.tally import Tally, percentile
from tests.faults.harness.trial import Trial
from tests.support.journals import queue, routed, running, store

BODIES = [b"one", b"two", b"three"]


async def delivered(data: Path) -> Ledger:
    """Three messages, acknowledged, delivered in order, and seen by both ends; a repeat, and one that is filtered."""
    ledger = Ledger()
    async with running(data) as journal:
        await queue(journal, *BODIES, claimed=True)
        with journal.snapshot() as execute:
            rows = execute("SELECT id, key FROM delivery ORDER BY id").fetchall()
        for body, (number, key) in zip(BODIES, rows, strict=True):
            ledger.note_sent("chem", body)
            ledger.note_acked("chem", body)
            ledger.note_taken("fhir", key.hex())
            await journal.run(attempts.settle, number, delivered_us=1)
        (control,) = await store(journal, b"a control")
        ledger.note_sent("chem", b"a control")
        ledger.note_acked("chem", b"a control")
        await journal.run(record_outcome.record, control.id, Outcome("filtered"))
    return ledger


def change(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "journal.db")) as connection:
        connection.execute(statement)
        connection.commit()


def only(found: Judgement, words: str) -> Tally:
    assert len(found.wrong) == 1, found.wrong
    assert words in found.wrong[0]
    with pytest.raises(AssertionError, match=words):
        found.must_pass()
    return found.tally


async def test_what_is_in_order_passes(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    ledger.note_taken("fhir", ledger.taken[1].key)
    tally = judge(tmp_path, ledger, settled=True).must_pass()
    assert tally.line() == (
        "sent=4 acked=4 journaled=4 delivered=3 dead=0 filtered=1 lost=0 dup_flagged=1 dup_unflagged=0 reordered=0 "
        "max_rss=0.0 max_fd=0 recovery_ms=0"
    )


async def test_an_acknowledged_message_that_is_not_there_is_lost(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    ledger.note_acked("chem", b"four")
    assert only(judge(tmp_path, ledger), "acknowledged and not in the journal").lost == 1


async def test_the_right_bytes_in_the_wrong_channel_are_lost(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    ledger.note_acked("haematology", b"one")
    assert only(judge(tmp_path, ledger), "acknowledged and not in the journal").lost == 1


async def test_a_delivery_that_nobody_took_is_lost(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    del ledger.taken[1]
    assert only(judge(tmp_path, ledger), "never taken").lost == 1


async def test_a_mapped_message_without_a_delivery_is_lost(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    del ledger.taken[2]
    change(tmp_path, "DELETE FROM delivery WHERE message_id = 3")
    assert judge(tmp_path, ledger, deep=False).tally.lost == 1


async def test_a_delivery_in_no_known_state_is_seen(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    change(tmp_path, "UPDATE delivery SET state = 'forgotten' WHERE id = 2")
    only(judge(tmp_path, ledger, deep=False), "a state nobody knows")


async def test_what_is_open_is_counted_and_no_fault_until_all_should_be_settled(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    async with running(tmp_path) as journal:
        await queue(journal, b"five")
        await store(journal, b"six")
    assert judge(tmp_path, ledger).must_pass().rest == {"open": 2}
    only(judge(tmp_path, ledger, settled=True), "still open: 2")


@pytest.mark.parametrize("key", ["", "00" * 16])
async def test_a_key_that_tells_nothing_is_an_unflagged_repeat(tmp_path: Path, key: str) -> None:
    ledger = await delivered(tmp_path)
    ledger.note_taken("fhir", key)
    assert only(judge(tmp_path, ledger), "a key that the journal does not know").dup_unflagged == 1


async def test_the_same_bytes_delivered_as_two_messages_are_an_unflagged_repeat(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    change(tmp_path, "DELETE FROM repeat")  # what a fault of the memory of repeats would come to
    async with running(tmp_path) as journal:
        (again,) = await store(journal, b"one")
        outcome = await journal.run(record_outcome.record, again.id, Outcome("mapped"), [routed(b"one", claimed=True)])
        for delivery in outcome.deliveries:
            ledger.note_taken("fhir", delivery.key)
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
    assert only(judge(tmp_path, ledger), "delivered as two messages").dup_unflagged == 1
    assert judge(tmp_path, ledger, repeats_are_known=False).wrong == []


async def test_another_order_than_the_lane_s_is_seen(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    ledger.taken[0], ledger.taken[2] = ledger.taken[2], ledger.taken[0]
    assert only(judge(tmp_path, ledger), "out of order").reordered == 2
    assert judge(tmp_path, ledger, unordered=True).wrong == []


async def test_a_row_that_is_not_what_was_stored_is_seen(tmp_path: Path) -> None:
    ledger = await delivered(tmp_path)
    change(tmp_path, "UPDATE document SET body = zeroblob(length(body)) WHERE id = 1")
    only(judge(tmp_path, ledger), "verify finds")


# -- sums, scales, reports -----------------------------------------------------------------------------------------


def test_tallies_add_up_but_for_what_is_largest() -> None:
    one = Tally(sent=3, lost=1, max_rss=50.0, recovery_ms=[1.0], rest={"open": 1})
    one.add(Tally(sent=4, max_rss=40.0, max_fd=7, recovery_ms=[9.0, 5.0], rest={"open": 2, "held": 1}))
    assert (one.sent, one.lost, one.max_rss, one.max_fd) == (7, 1, 50.0, 7)
    assert (one.recovery_ms, one.rest) == ([1.0, 9.0, 5.0], {"open": 3, "held": 1})
    assert percentile([float(n) for n in range(1, 1001)], 0.99) == 991.0
    assert percentile([], 0.99) == 0.0


@pytest.mark.parametrize(("scale", "rounds"), [("quick", 2), ("long", 5), ("soak", 5)])
def test_a_scale_says_how_much(monkeypatch: pytest.MonkeyPatch, scale: str, rounds: int) -> None:
    monkeypatch.setenv("LABRELAY_FAULTS", scale)
    trial = Trial("some test")
    assert list(trial.rounds(quick=2, long=5, unit="kills")) == list(range(rounds))
    assert [(one.unit, one.goal, one.done) for one in trial.reached] == [("kills", rounds, rounds)]


def test_a_test_whose_time_is_up_does_one_round_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRELAY_FAULTS", "long")
    trial = Trial("some test", until=0.0)
    assert list(trial.rounds(quick=2, long=5, unit="kills")) == [0]
    assert [(one.goal, one.done) for one in trial.reached] == [(5, 1)]


def test_the_same_seed_gives_the_same_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRELAY_SEED", "7")
    assert Trial("a").chance.random() == Trial("a").chance.random() != Trial("b").chance.random()


def test_an_unknown_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRELAY_FAULTS", "longer")
    with pytest.raises(ValueError, match="quick, long, soak"):
        Trial("some test")


def test_the_report_says_what_was_cut_off_left_out_and_failed(tmp_path: Path) -> None:
    records = [
        {"node": "a::b", "outcome": "passed", "why": "", "figures": {"sent": 3, "max_rss": 80.0}, "more": {"x": 1},
         "reached": [{"unit": "kills", "goal": 250, "done": 120}]},
        {"node": "a::c", "outcome": "passed", "why": "", "figures": {"sent": 4, "max_rss": 70.0, "open": 2},
         "reached": [{"unit": "kills", "goal": 250, "done": 250}]},
        {"node": "a::d", "outcome": "skipped", "why": "no strace"},
    ]  # fmt: skip
    write([entry(FAULTS[0], records, seed=7, seconds=12.3, cut=False, measured="today, 2 CPUs")], tmp_path)
    text = (tmp_path / "figures-faults.md").read_text(encoding="utf-8")
    assert f"| T1 | kill -9 under load | {FAULTS[0].how} | 370 of 500 (cut off by time) kills |" in text
    assert "| passed; left out: no strace | x=1 | 7 | 12 s | today, 2 CPUs |" in text
    assert "| T1 | 7 | 0 |" in text
    assert "| 80.0 | 0 | 0 | open=2 | today |" in text
    records = [{"node": "a::e", "outcome": "failed", "why": "E"}]
    write([entry(FAULTS[1], records, seed=7, seconds=1.0, cut=False, measured="later")], tmp_path)
    text = (tmp_path / "figures-faults.md").read_text(encoding="utf-8")
    assert "| failed; e |" in text
    assert re.findall(r"^\| (T\d+) \|", text, re.MULTILINE) == ["T1", "T2", "T1"]


# -- the catalogue -------------------------------------------------------------------------------------------------


def test_the_catalogue_is_whole_and_names_tests_that_exist() -> None:
    assert [fault.number for fault in FAULTS] == list(range(1, 43))
    assert [fault.name for fault in FAULTS if not fault.nodes] == []
    assert [node for fault in FAULTS for node in fault.nodes if not exists(node)] == []


def test_the_page_has_the_promise_of_each_and_the_figures_have_its_row() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    promised = re.findall(r"^\| (T\d+) (.+?) \| .{20,}", text, re.MULTILINE)
    assert promised == [(fault.name, fault.fault) for fault in FAULTS]
    text = (ROOT / "docs" / "figures-faults.md").read_text(encoding="utf-8").partition("## Counts")[0]
    assert re.findall(r"^\| (T\d+) \|", text, re.MULTILINE) == [fault.name for fault in FAULTS], "run make faults"


def test_all_faults_together_fit_into_fifty_minutes() -> None:
    assert sum(fault.seconds for fault in FAULTS) <= 50 * 60
