"""Lists of orders by harm: which order is in which list, as a table; each count is the length of its list."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.features.orders import rows as worklist
from engine.features.orders.rows import items, order_questions, reading
from engine.features.orders.rows.order_questions import (
    AFTER_ALL_US,
    REFUSED_US,
    TABS,
    UNANSWERED_US,
    UNSENT_AFTER_US,
    QueryFilter,
)
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rules.order_rules import DEFAULT_LATE_US, ENOUGH, ItemEvent
from engine.model.link_events import NOT_SENT
from engine.model.orders import AT_ANALYZER, Confirmation, ItemReason, ItemState
from engine.model.worklist import ResultOf
from engine.store.core.writing.batch import Batch
from tests.engine.features.orders.rows.test_orders_in_and_out import Desk, numbers, order
from tests.support.examples import examples
from tests.support.journals import opened

MOST = 1000
LATE_AFTER_US = (DEFAULT_LATE_US, DEFAULT_LATE_US // 2)  # without a history; the second of a stat order
S = ItemState
# State, reason, stat or not, microseconds since its last change -> the lists that have it.
WHERE: list[tuple[ItemState, ItemReason, bool, int, set[str]]] = [
    (S.WAITING, ItemReason.NONE, False, UNSENT_AFTER_US[0] * 9, {"waiting"}),
    (S.WAITING, ItemReason.NONE, True, UNSENT_AFTER_US[1], {"waiting"}),
    (S.WAITING, ItemReason.NONE, True, UNSENT_AFTER_US[1] + 1, {"waiting", "urgent"}),
    (S.WAITING, ItemReason.UNMAPPED_CODE, False, UNSENT_AFTER_US[0], {"waiting"}),
    (S.WAITING, ItemReason.UNMAPPED_CODE, False, UNSENT_AFTER_US[0] + 1, {"waiting", "unsent"}),
    (S.WAITING, ItemReason.MAYBE_KNOWN, True, UNSENT_AFTER_US[1], {"waiting"}),
    (S.WAITING, ItemReason.MAYBE_KNOWN, True, UNSENT_AFTER_US[1] + 1, {"waiting", "unsent"}),
    (S.WAITING, ItemReason.AFTER_CANCEL, False, UNSENT_AFTER_US[0] + 1, {"waiting", "unsent"}),
    (S.HELD, ItemReason.SPECIMEN_CONFLICT, False, 0, {"held"}),
    (S.HELD, ItemReason.HELD_BY_LIS, True, REFUSED_US * 9, {"held"}),
    (S.OFFERED, ItemReason.NONE, False, LATE_AFTER_US[0], {"analyzer"}),
    (S.OFFERED, ItemReason.NONE, False, LATE_AFTER_US[0] + 1, {"analyzer", "late"}),
    (S.ACCEPTED, ItemReason.NONE, True, LATE_AFTER_US[1], {"analyzer"}),
    (S.ACCEPTED, ItemReason.NONE, True, LATE_AFTER_US[1] + 1, {"analyzer", "late"}),
    (S.IN_PROGRESS, ItemReason.NONE, False, 0, {"analyzer"}),
    (S.CANCEL_PENDING, ItemReason.NONE, False, LATE_AFTER_US[0] + 1, {"analyzer", "late"}),
    (S.REFUSED, ItemReason.ANALYZER_REFUSED, False, REFUSED_US, {"refused"}),
    (S.REFUSED, ItemReason.ANALYZER_REFUSED, False, REFUSED_US + 1, set()),
    (S.REJECTED, ItemReason.UNKNOWN_TEST, False, 0, {"rejected"}),
    (S.RESULTED, ItemReason.NONE, False, 0, {"done"}),
    (S.CANCELLED, ItemReason.NONE, False, 0, {"done"}),
    (S.EXPIRED, ItemReason.NONE, False, 0, {"done"}),
    (S.SUPERSEDED, ItemReason.NONE, False, 0, {"done"}),
]
NOW_US = 1_800_000_000_000_000


def planted(batch: Batch, rows: list[tuple[ItemState, ItemReason, bool, int, set[str]]]) -> None:
    for number, (state, reason, stat, age_us, _) in enumerate(rows, start=1):
        line = order(placer=f"O{number}", priority="stat" if stat else "routine")
        at_us = NOW_US - age_us
        kept = items.Kept(
            number=number, message_id=1, place=0, last_id=1, source="his", state=state, reason=reason,
            targets=frozenset(), channel="", code="", query=0, sent=False, after=0, run=1, parent=0, created_us=at_us,
            changed_us=at_us, expires_us=NOW_US, waits_us=0, reuse_us=0, events=1, line=line,
            given_us=at_us if state in AT_ANALYZER else 0,
        )  # fmt: skip
        items.put(batch, kept)


def test_each_order_is_in_the_lists_of_the_table(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.run_alone(lambda batch: planted(batch, WHERE))
    for name, make in TABS.items():
        if name == "after_all":
            continue  # by its history: a test of its own
        expected = [number for number, row in enumerate(WHERE, start=1) if name in row[-1]]
        wanted = make(NOW_US)
        assert [one.number for one in reading.items(journal, wanted)] == expected[::-1], name
        count, oldest_us = reading.count_items(journal, wanted, most=MOST)
        assert count == len(expected), name
        assert oldest_us == NOW_US - max(WHERE[number - 1][3] for number in expected), name
        first, *rest = expected[::-1]
        assert [one.number for one in reading.items(journal, wanted, limit=1)] == [first]
        assert [one.number for one in reading.items(journal, wanted, after=first)] == rest
    assert reading.count_items(journal, ItemFilter(), most=2)[0] == 2
    assert {state for state, *_ in WHERE} == set(ItemState), "a state without a line of the table"
    journal.close()


# Minutes since an order was asked for in vain, stat or not, by which analyzer -> on the list.
OWN = {"slow": 3600.0, "quick": 60.0}
UNSENT = [
    (31, False, "chem", True), (29, False, "chem", False), (6, True, "chem", True), (4, True, "chem", False),
    (61, False, "slow", True), (59, False, "slow", False), (11, True, "slow", True), (9, True, "slow", False),
    (2, False, "quick", True), (0, False, "quick", False), (1, True, "quick", True),
    (31, False, "", True), (29, False, "", False),
]  # fmt: skip


@pytest.mark.parametrize("by", ["its history", "the order before it"])
def test_an_analyzer_has_its_own_time_until_an_order_is_unsent(tmp_path: Path, by: str) -> None:
    """`MAYBE_KNOWN` by its own history; `AFTER_CANCEL` by the order that the analyzer must give up."""
    journal, before = opened(tmp_path), len(UNSENT) if by != "its history" else 0

    def plant(batch: Batch) -> None:
        states = [
            (S.WAITING, ItemReason.MAYBE_KNOWN, stat, age * order_questions.MINUTE_US, set[str]())
            for age, stat, *_ in UNSENT
        ]
        planted(batch, [*states[:before], *states])
        for number, (*_, channel, _) in enumerate(UNSENT, start=1):
            if before:
                batch.execute(
                    "UPDATE order_item SET channel = ?, state = 'offered' WHERE number = ?", (channel, number)
                )
                batch.execute("UPDATE order_item SET after = ? WHERE number = ?", (number, before + number))
                continue
            for n, concerned in enumerate((channel, ""), start=2):  # a later event names no analyzer
                batch.execute(
                    "INSERT INTO order_event (item, n, at_us, event, state, reason, late, channel, message_id, query,"
                    " cause, detail, own_us) VALUES (?, ?, 0, 'unmapped', 'waiting', '', 0, ?, 0, 0, '', x'', 0)",
                    (number, n, concerned),
                )

    journal.run_alone(plant)
    wanted = order_questions.filter_of("unsent", NOW_US, OWN)
    expected = [before + number for number, row in enumerate(UNSENT, start=1) if row[-1]]
    assert [one.number for one in reading.items(journal, wanted)] == expected[::-1]
    assert reading.count_items(journal, wanted, most=MOST)[0] == len(expected)
    told = {one.kind: one.count for one in order_questions.troubles(journal, NOW_US, OWN)}
    assert told["unsent"] == len(expected)
    journal.close()


ROWS = st.lists(st.tuples(st.sampled_from(WHERE), st.integers(0, 2).map(lambda n: n * UNSENT_AFTER_US[0])), max_size=12)


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_a_count_is_always_the_length_of_its_list(
    rows: list[tuple[tuple[ItemState, ItemReason, bool, int, set[str]], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = opened(tmp_path_factory.mktemp("journal"))
    made = [(state, reason, stat, age + more, lists) for (state, reason, stat, age, lists), more in rows]
    journal.run_alone(lambda batch: planted(batch, made))
    for wanted in (*(make(NOW_US) for make in TABS.values()), ItemFilter(open=True), ItemFilter(channel="chem")):
        found = reading.items(journal, wanted, limit=MOST)
        assert reading.count_items(journal, wanted, most=MOST)[0] == len(found)
        assert [one.number for one in found] == sorted((one.number for one in found), reverse=True)
    journal.close()


def unanswered(desk: Desk) -> list[int]:
    wanted = order_questions.unanswered(desk.clock.now_us())
    found = order_questions.queries(desk.journal, wanted)
    assert order_questions.count_queries(desk.journal, wanted, most=MOST) == len(found)
    return [one.number for one in found]


async def test_a_question_is_unanswered_until_the_tube_is_asked_for_again(desk: Desk) -> None:
    await desk.ask("S1")
    assert unanswered(desk) == [1]  # no order has this number
    await desk.take(order())
    answered = await desk.ask("S1")
    assert unanswered(desk) == []  # under way
    await desk.journal.run(worklist.not_offered, answered.query, numbers(answered), "late", maybe=False)
    assert unanswered(desk) == [2]  # it got nothing
    assert await desk.send(await desk.ask("S1")) == []
    assert unanswered(desk) == []
    assert await desk.result("S1", ResultOf(test="GLU")) == [(1, False)]
    await desk.ask("S1")
    assert unanswered(desk) == []  # all is done
    await desk.ask("S2")
    desk.clock.advance(UNANSWERED_US / 1_000_000 + 1)
    assert unanswered(desk) == []  # a day ago


async def test_the_log_says_how_long_an_answer_took_and_which_tests_it_had(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    answered = await desk.ask("S1")
    desk.clock.advance(0.25)
    await desk.send(answered)
    (one,) = order_questions.queries(desk.journal, QueryFilter(channel="chem"))
    assert (one.took_ms, sorted(one.codes), one.outcome, one.none) == (250, ["10", "20"], "sent", ())
    await desk.ask("S2", "S3")
    none, _ = order_questions.queries(desk.journal)
    assert (none.codes, none.none, none.asked) == ((), ("unknown",), 2)


async def test_a_result_without_an_order_is_noted_and_leads_to_its_tube(desk: Desk) -> None:
    await desk.take(order())
    assert await desk.result("S1", ResultOf(test="GLU"), ResultOf(test="UREA"), ResultOf(test="NA")) == [(1, False)]
    assert await desk.result("S9", ResultOf(test="GLU")) == []
    await desk.result("QC1", ResultOf(test="GLU"))
    newest = desk.n
    await desk.journal.run(
        worklist.result, newest, "chem", "QC1", "", [ResultOf(test="GLU")], control=True
    )  # processed anew, as one of a control
    assert [one.results for one in reading.without_order(desk.journal)] == [1, 2]
    assert reading.count_without(desk.journal, most=MOST) == 2
    assert reading.without_order(desk.journal, channel="other") == []
    (tube,) = reading.tubes_of_message(desk.journal, newest - 2)
    timeline = reading.tube_of(desk.journal, tube)
    assert ([one.item.number for one in timeline.items], [one.results for one in timeline.without]) == ([1], [2])
    assert reading.tube(desk.journal, "S9").without[0].results == 1
    assert reading.tube_of(desk.journal, b"") == reading.TubeTimeline(items=(), questions=())


async def test_what_waits_for_a_person_is_counted_worst_first(desk: Desk) -> None:
    assert order_questions.troubles(desk.journal, desk.clock.now_us(), {}) == []
    await desk.take(order())
    await desk.tell("S1")
    said = Confirmation(of="", accepted=False, items=(("W1", False, "E1", ""),))
    await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said)
    await desk.ask("S7")
    await desk.take(order(placer="O2", specimen="S2", action="hold"))
    kinds = [(one.kind, one.count) for one in order_questions.troubles(desk.journal, desk.clock.now_us(), {})]
    assert kinds == [("refused", 1), ("questions", 1), ("held", 1)]
    assert await desk.journal.run(worklist.cancel, 1, actor="asha", reason="measured elsewhere") == S.CANCELLED
    kinds = [(one.kind, one.count) for one in order_questions.troubles(desk.journal, desk.clock.now_us(), {})]
    assert kinds == [("questions", 1), ("held", 1)]
    assert reading.item(desk.journal, 1).history[-1].event == ItemEvent.CLOSE  # type: ignore[union-attr]


async def given_to_analyzer(desk: Desk, tube: str, placer: str, **more: str) -> None:
    await desk.take(order(specimen=tube, placer=placer, **more))
    answered = await desk.ask(tube)
    await desk.journal.run(worklist.offered, answered.query, numbers(answered), "chem", desk.clock.now_us())


def late(desk: Desk) -> list[int]:
    wanted = TABS["late"](desk.clock.now_us())
    found = reading.items(desk.journal, wanted)
    assert reading.count_items(desk.journal, wanted, most=MOST)[0] == len(found)
    return sorted(one.number for one in found)


async def test_an_order_is_late_by_the_history_of_its_test_on_its_analyzer(desk: Desk) -> None:
    for n in range(ENOUGH):
        await given_to_analyzer(desk, f"S{n}", f"O{n}")
        desk.clock.advance(18 * 60)
        await desk.result(f"S{n}", ResultOf(test="GLU"))
    await given_to_analyzer(desk, "T", "T")
    await given_to_analyzer(desk, "U", "U", priority="stat")
    await given_to_analyzer(desk, "V", "V", test="UREA")  # no history of its own
    glu, stat, urea = ENOUGH + 1, ENOUGH + 2, ENOUGH + 3
    seen = []
    for minutes in (17, 2, 16, 2, 83, 1):  # from the order on: 17, 19, 35, 37, 120, 121
        desk.clock.advance(minutes * 60)
        seen.append(late(desk))
    assert seen == [[], [stat], [stat], [glu, stat], [glu, stat], [glu, stat, urea]]
    kinds = {one.kind: one.count for one in order_questions.troubles(desk.journal, desk.clock.now_us(), {})}
    assert kinds == {"late": 3}
    items_of = reading.items(desk.journal, TABS["late"](desk.clock.now_us()))
    learned = reading.usual_times(desk.journal, items_of)
    assert {key: (one.usual_us, one.late_us) for key, one in learned.items()} == {
        ("chem", "10"): (18 * 60_000_000, 36 * 60_000_000),
        ("chem", "20"): (0, DEFAULT_LATE_US),
    }
    await desk.result("T", ResultOf(test="GLU"))
    assert late(desk) == [stat, urea]  # it ends with its cause


async def test_a_tube_that_is_loaded_again_does_not_make_its_order_young(desk: Desk) -> None:
    await given_to_analyzer(desk, "S1", "O1")
    desk.clock.advance(DEFAULT_LATE_US / 1_000_000 - 1)
    answered = await desk.ask("S1")
    await desk.journal.run(worklist.offered, answered.query, numbers(answered), "chem", desk.clock.now_us())
    assert late(desk) == []
    desk.clock.advance(2)
    assert late(desk) == [1]
    assert await desk.journal.run(worklist.resend, 1, actor="asha", reason="the analyzer was restarted") == S.WAITING
    assert late(desk) == []
    answered = await desk.ask("S1")
    await desk.journal.run(worklist.offered, answered.query, numbers(answered), "chem", desk.clock.now_us())
    assert late(desk) == []  # a new time begins


async def test_a_match_by_a_person_teaches_nothing(desk: Desk) -> None:
    for n in range(ENOUGH):
        await given_to_analyzer(desk, f"S{n}", f"O{n}")
        await desk.result(f"S{n}", ResultOf(code="99"))
        without = reading.without_order(desk.journal)[0]
        await desk.journal.run(worklist.match, n + 1, without.message_id, actor="asha", reason="same tube")
    await given_to_analyzer(desk, "T", "T")
    (usual,) = reading.usual_times(desk.journal, reading.items(desk.journal, ItemFilter(open=True))).values()
    assert usual.usual_us == 0


async def test_the_time_that_a_result_was_held_teaches_nothing(desk: Desk) -> None:
    for n in range(ENOUGH):
        await given_to_analyzer(desk, f"S{n}", f"O{n}")
        tests = (ResultOf(test="GLU"),)
        message = await desk.message()
        await desk.journal.run(worklist.result, message, "chem", f"S{n}", "", tests, held=True)
        desk.clock.advance(3 * 86_400)
        await desk.journal.run(worklist.result, message, "chem", f"S{n}", "", tests, again=True)
        assert desk.state(n + 1)[0] == S.RESULTED
    await given_to_analyzer(desk, "T", "T")
    (usual,) = reading.usual_times(desk.journal, reading.items(desk.journal, ItemFilter(open=True))).values()
    assert usual.usual_us == 0


async def test_an_order_that_was_cancelled_and_measured_is_told_to_a_person(desk: Desk) -> None:
    await desk.take(order())
    await desk.journal.run(worklist.cancel, 1, actor="asha", reason="wrong tube")
    await desk.take(order(placer="O2", specimen="S2"))
    await desk.result("S1", ResultOf(test="GLU"))
    wanted = TABS["after_all"](desk.clock.now_us())
    assert [one.number for one in reading.items(desk.journal, wanted)] == [1]
    (told,) = order_questions.troubles(desk.journal, desk.clock.now_us(), {})
    assert (told.kind, told.count) == ("after_all", 1)
    desk.clock.advance(AFTER_ALL_US / 1_000_000 + 1)
    assert order_questions.troubles(desk.journal, desk.clock.now_us(), {}) == []


async def test_a_question_is_unanswered_also_where_the_line_was_busy(desk: Desk) -> None:
    for n, reason in enumerate(sorted(NOT_SENT), start=1):
        await desk.take(order(specimen=f"S{n}", placer=f"O{n}"))
        answered = await desk.ask(f"S{n}")
        await desk.journal.run(worklist.not_offered, answered.query, numbers(answered), reason, maybe=False)
    assert unanswered(desk) == [*range(len(NOT_SENT), 0, -1)]
