"""Counts of rules against a model, over random messages, second processings and decisions of people."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from engine.features.results.rows import hold_queue
from engine.features.rules.rows import reading
from engine.features.rules.rows.counting import TESTS
from engine.mapping.hold_rules.rules import HoldRules
from engine.model.content.results import Result
from engine.model.journal.records import Decision, Routed
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from tests.engine.mapping.test_hold_rules import MESSAGE
from tests.engine.mapping.test_hold_tubes import rules
from tests.support.journals import NOW_US, WINDOW_S, opened, received, routed

DAY_US = 86_400_000_000
ACTIVE, SHADOW = "high", "would be high"
HOLDING = HoldRules(
    (*rules("=value > 7", name=ACTIVE).rules, *rules("=code == 'K' and value > 6", name=SHADOW, shadow=True).rules)
)
BY = {"actor": "Asha", "reason": "seen"}
AGAIN = Decision(again=True)
Values = list[tuple[str, str | None]]  # test, and number; None: words
COUNTED = ("seen", "hit", "unknown", "confirmed", "overturned")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path)
    yield made
    made.close()


def document(values: Values, mark: int = 0) -> Routed:
    results = [
        Result(codes=(("", test),), value=None if text is None else Decimal(text), text=text or "clotted")
        for test, text in values
    ]
    body = b"{%d}" % mark
    return replace(routed(body), hold=HOLDING.about(HOLDING.facts(MESSAGE, results)))


def first(journal: Journal, number: int, *routes: Routed, outcome: Outcome | None = None, at_us: int = NOW_US) -> int:
    def both(batch: Batch) -> int:
        stored = append.store_message(batch, received(b"%d" % number, at_us=at_us), repeat_window_s=WINDOW_S)
        record_outcome.record(batch, stored.id, outcome or Outcome("mapped"), routes)
        return stored.id

    return journal.run_alone(both)


def once_more(journal: Journal, message: int, *routes: Routed) -> None:
    journal.run_alone(lambda batch: record_outcome.record(batch, message, Outcome("mapped"), routes, decision=AGAIN))


def decide(journal: Journal, message: int, *, released: bool) -> None:
    with journal.snapshot() as execute:
        rows = execute("SELECT id FROM delivery WHERE message_id = ? AND state = 'held'", (message,)).fetchall()
    act = hold_queue.release if released else hold_queue.reject
    journal.run_alone(lambda batch: act(batch, [row[0] for row in rows], **BY))


def found(journal: Journal) -> dict[str, Counter[str]]:
    rows = reading.list_rules(journal, "2000-01-01")
    return {one.rule: Counter({name: getattr(one, name) for name in COUNTED}) for one in rows}


def truths(values: Values, rule: str) -> list[bool | None]:
    if rule == ACTIVE:
        return [None if text is None else float(text) > 7 for _, text in values]
    return [False if test != "K" else None if text is None else float(text) > 6 for test, text in values]


@pytest.mark.parametrize("seed", range(12))
def test_random_days_are_counted_as_by_the_model(journal: Journal, seed: int) -> None:
    drawn = random.Random(seed)
    model = {ACTIVE: Counter[str](), SHADOW: Counter[str]()}
    tests = {"K": [0, 0], "NA": [0, 0]}
    waiting: dict[int, set[str]] = {}  # message -> rules with a hit that was counted
    for number in range(1, 25):
        values: Values = [
            (drawn.choice(("K", "NA")), drawn.choice(("4.0", "6.5", "7.5", None))) for _ in range(drawn.randint(1, 3))
        ]
        message = first(journal, number, document(values))
        is_held = any(one is not False for one in truths(values, ACTIVE))
        for rule, counts in model.items():
            said = truths(values, rule)
            counts.update(seen=len(said), hit=said.count(True), unknown=said.count(None))
        for test, _ in values:
            tests[test][0] += 1
            tests[test][1] += not is_held
        if is_held:
            waiting[message] = {rule for rule in model if True in truths(values, rule)}
        if waiting and drawn.random() < 0.3:
            again, others = drawn.choice(sorted(waiting)), [("K", drawn.choice(("6.5", "8.0", "4.0")))]
            once_more(journal, again, document(others, number))
            kept = {rule for rule in waiting.pop(again) if True in truths(others, rule)}
            if True in truths(others, ACTIVE):
                waiting[again] = kept
        if waiting and drawn.random() < 0.5:
            about, released = drawn.choice(sorted(waiting)), drawn.random() < 0.5
            decide(journal, about, released=released)
            for rule in waiting.pop(about):
                model[rule]["overturned" if released else "confirmed"] += 1
    assert found(journal) == model
    for one in found(journal).values():
        assert one["confirmed"] + one["overturned"] <= one["hit"]
    shown = {one.test: [one.results, one.untouched] for one in reading.list_untouched(journal, "2000-01-01")}
    assert shown == {test: counts for test, counts in tests.items() if counts[0]}


def test_what_was_dead_first_counts_when_it_is_mapped(journal: Journal) -> None:
    message = first(journal, 1, outcome=Outcome("dead", ReasonCode.MAPPING_FAULT))
    assert found(journal) == {}
    once_more(journal, message, document([("K", "8")]))
    assert found(journal)[ACTIVE] == Counter(seen=1, hit=1)
    once_more(journal, message, document([("K", "9")], 2))
    assert found(journal)[ACTIVE] == Counter(seen=1, hit=1)


def test_two_documents_of_one_message_are_decided_about_apart(journal: Journal) -> None:
    message = first(journal, 1, document([("K", "8")]), document([("NA", "9")], 2))
    with journal.snapshot() as execute:
        one, two = [row[0] for row in execute("SELECT id FROM delivery ORDER BY id")]
    journal.run_alone(lambda batch: hold_queue.release(batch, [one], **BY))
    assert found(journal)[ACTIVE] == Counter(seen=2, hit=2, overturned=1)
    journal.run_alone(lambda batch: hold_queue.reject(batch, [two], **BY))
    assert found(journal)[ACTIVE] == Counter(seen=2, hit=2, overturned=1, confirmed=1)
    with journal.snapshot() as execute:
        assert execute("SELECT count(*) FROM rule_hit").fetchone() == (0,), message


def test_another_text_is_another_version_and_each_day_is_its_own(journal: Journal) -> None:
    first(journal, 1, document([("K", "8")]), at_us=NOW_US - 3 * DAY_US)
    changed = rules("=value > 5", name=ACTIVE)
    facts = changed.facts(MESSAGE, [Result(codes=(("", "K"),), value=Decimal("6"))])
    first(journal, 2, replace(routed(b"{2}"), hold=changed.about(facts)))
    rows = [one for one in reading.list_rules(journal, "2000-01-01") if one.rule == ACTIVE]
    assert [(one.version, one.hit) for one in rows] == [
        (changed.rules[0].version, 1), (HOLDING.rules[0].version, 1),
    ]  # fmt: skip
    assert rows[0].day > rows[1].day
    assert [one.rule for one in reading.list_rules(journal, rows[0].day)] == [ACTIVE]
    days = reading.list_days(journal, "2000-01-01", "chem", ACTIVE)
    assert [(one.day, one.version) for one in days] == [(one.day, one.version) for one in rows]
    assert reading.list_days(journal, "2000-01-01", "other") == []


def test_noise_makes_no_end_of_tests(journal: Journal) -> None:
    first(journal, 1, document([(f"T{place}", "1") for place in range(TESTS + 20)]))
    rows = reading.list_untouched(journal, "2000-01-01")
    assert len(rows) == TESTS + 1
    assert {one.test: one.results for one in rows}[""] == 20


def test_counts_go_after_two_years_and_hits_with_their_message(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = opened(tmp_path, clock=clock)
    first(journal, 1, document([("K", "8")]))
    clock.advance(900 * 86_400)
    first(journal, 2, document([("K", "4")]), at_us=clock.now_us())
    assert found(journal)[ACTIVE] == Counter(seen=1)
    journal.close()


@pytest.mark.parametrize(("results", "untouched", "percent"), [(3, 2, "66.6"), (2000, 1999, "99.9"), (7, 7, "100.0")])
def test_a_share_is_rounded_down(results: int, untouched: int, percent: str) -> None:
    assert reading.UntouchedView("2026-03", "lab", "K", results, untouched).percent == percent
