"""Questions that name no tube: for all, for a range of numbers, for a range of times. Each looks at a bounded part of
the worklist, and its answer and the query log say where there is more.

from .. to              tubes
T0098 .. T0102          these five numbers, to the letter: leading zeros, and what is before the counter
T1 .. T1                this one
T2 .. T1, T1 .. S2,     none, and the log says "not_supported": nothing tells which numbers are between them
T8 .. T10, TA .. TC
"""

import pytest

from engine.features.orders.rows import answering, order_questions
from engine.model.orders import Asked, NoOrder, Question
from engine.model.worklist import Answered
from tests.engine.features.orders.rows.test_orders_in_and_out import CODES, Desk, numbers, order

FEW = 4


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MOST_READ", FEW)


def tubes(answered: Answered) -> list[str]:
    return [tube.asked.specimen for tube in answered.tubes]


def logged(desk: Desk) -> tuple[int, bool, tuple[str, ...]]:
    """What the query log says of the newest question: orders, cut, why there were none."""
    newest = order_questions.queries(desk.journal, limit=1)[0]
    return len(newest.items), newest.cut, newest.none


async def filled(desk: Desk, *specimens: str, test: str = "GLU") -> None:
    await desk.take(*(order(test, specimen=one, placer=f"O-{one}-{test}") for one in specimens))


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("T0098", "T0102", ["T0099", "T0100", "T0101"]),
        ("T0099", "T0100", ["T0099", "T0100"]),
        ("T0100", "T0100", ["T0100"]),
        ("0099", "0101", ["0100"]),
        ("TX", "TX", ["TX"]),
        ("T1 098", "T1 102", ["T1 099"]),
    ],
)
async def test_a_range_of_counters_gets_these_numbers_to_the_letter(
    desk: Desk, since: str, until: str, found: list[str]
) -> None:
    await filled(desk, "T0101", "T0099", "T0100", "T100", "T00100", "t0100", "0100", "100", "TX", "T1 099", "T0A00")
    answered = await desk.ask_for(Question(kind="numbers", since=since, until=until))
    assert tubes(answered) == found
    assert logged(desk) == (len(found), False, ())


@pytest.mark.parametrize(
    ("since", "until"),
    [("T2", "T1"), ("T1", "S2"), ("T8", "T10"), ("TA", "TC"), ("T1A", "T2A"), ("T1", "T\u0663"), ("", ""), ("", "T1")],
)
async def test_ends_that_are_no_range_of_counters_get_nothing_and_the_log_says_so(
    desk: Desk, since: str, until: str
) -> None:
    await filled(desk, "T1", "T2", "T8", "T9", "T10", "TA", "TB", "T1A", "T2A", "S2")
    answered = await desk.ask_for(Question(kind="numbers", since=since, until=until))
    assert tubes(answered) == []
    assert logged(desk) == (0, False, (NoOrder.NOT_SUPPORTED,))


async def test_a_range_of_counters_without_an_order_says_that_there_is_none(desk: Desk) -> None:
    await filled(desk, "T1")
    await desk.ask_for(Question(kind="numbers", since="T5", until="T7"))
    assert logged(desk) == (0, False, (NoOrder.UNKNOWN,))


@pytest.mark.usefixtures("few")
async def test_a_range_of_more_numbers_than_are_looked_up_is_cut(desk: Desk) -> None:
    await filled(desk, "T0", "T9")
    answered = await desk.ask_for(Question(kind="numbers", since="T0", until="T9"))
    assert (tubes(answered), answered.cut, logged(desk)) == (["T0"], True, (1, True, ()))
    answered = await desk.ask_for(Question(kind="numbers", since="T1", until="T9"))
    assert (tubes(answered), answered.cut, logged(desk)) == ([], True, (0, True, (NoOrder.UNKNOWN,)))
    answered = await desk.ask_for(Question(kind="numbers", since="T6", until="T9"))
    assert (tubes(answered), answered.cut) == (["T9"], False)


async def test_the_widest_range_there_is_ends(desk: Desk) -> None:
    await filled(desk, "0" * 80)
    answered = await desk.ask_for(Question(kind="numbers", since="0" * 80, until="9" * 80))
    assert (tubes(answered), answered.cut) == (["0" * 80], True)


@pytest.mark.usefixtures("few")
async def test_a_question_for_all_is_cut_where_too_many_orders_are_to_be_looked_at(desk: Desk) -> None:
    """All but one are at another analyzer, and each must be looked at to know that."""
    await filled(desk, "S1")
    await filled(desk, "A1", "A2", "A3")
    await desk.tell("A1", "A2", "A3", channel="chem2")
    answered = await desk.ask_for(Question(kind="all"))
    assert (tubes(answered), answered.cut, logged(desk)) == ([], True, (0, True, (NoOrder.UNKNOWN,)))


@pytest.mark.usefixtures("few")
async def test_orders_of_other_tests_channels_and_times_are_not_counted(desk: Desk) -> None:
    await filled(desk, "S1")
    desk.wait(1)
    since_us = desk.clock.now_us()
    await filled(desk, "S2")
    until_us = desk.clock.now_us()
    desk.wait(1)
    await filled(desk, *(f"S{n}" for n in range(10, 20)))
    await filled(desk, *(f"N{n}" for n in range(10)), test="NA")
    await desk.take(*(order(specimen=f"C{n}", placer=f"C{n}", targets=("chem2",)) for n in range(10)))
    answered = await desk.ask_for(Question(kind="range"), between_us=(since_us, until_us))
    assert (tubes(answered), answered.cut) == (["S2"], False)
    answered = await desk.ask_for(Question(kind="all"), codes={"UREA": "20"})
    assert (tubes(answered), answered.cut) == ([], False)
    await filled(desk, "U1", test="UREA")
    answered = await desk.ask_for(Question(kind="all"), codes={"UREA": "20"})
    assert (tubes(answered), answered.cut, logged(desk)) == (["U1"], False, (1, False, ()))


@pytest.mark.usefixtures("few")
async def test_a_question_that_names_its_tubes_is_not_cut_by_that(desk: Desk) -> None:
    names = [f"S{n}" for n in range(3 * FEW)]
    await filled(desk, *names)
    question = Question(kind="specimens", asked=tuple(Asked(specimen=one) for one in names))
    answered = await desk.ask_for(question, codes=CODES)
    assert (tubes(answered), answered.cut, len(numbers(answered))) == (names, False, 3 * FEW)
