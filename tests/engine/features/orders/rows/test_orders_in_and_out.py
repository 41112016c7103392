"""The worklist on a real journal: orders in, questions, results, cancels, one rule after the other."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import holding, order_questions, reading
from engine.model.errors import RefusedError
from engine.model.orders import (
    MOST_LINES,
    MOST_TUBES,
    Asked,
    Confirmation,
    ItemReason,
    ItemState,
    NoOrder,
    OrderedPatient,
    OrderLine,
    Question,
    item_id,
)
from engine.model.process.clock import ManualClock
from engine.model.values import changed
from engine.model.worklist import Answered, AskSettings, LineOutcome, ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import append
from tests.support.journals import received

CODES = {"GLU": "10", "UREA": "20", "NA": "30"}
TAKE = TakeSettings(known_channels={"chem": frozenset(CODES), "chem2": frozenset(CODES), "sero": frozenset({"HIV"})})
ASHA = OrderedPatient(number="P1", family="SHARMA", given="ASHA", birth_date="19800101")
RAVI = OrderedPatient(number="P2", family="KHAN", given="RAVI", birth_date="19700101")


class Desk:
    """The operations of the worklist on one journal, with the row of a message for each."""

    def __init__(self, journal: Journal, clock: ManualClock) -> None:
        self.journal = journal
        self.clock = clock
        self.n = 0

    def wait(self, days: float) -> None:
        self.clock.advance(days * 86_400.0)

    async def message(self) -> int:
        self.n += 1
        message = received(b"order %d" % self.n, channel="his", at_us=self.clock.now_us())
        return (await self.journal.run(append.store_message, message, repeat_window_s=0.0)).id

    async def take(
        self, *lines: OrderLine, settings: TakeSettings = TAKE, message: int | None = None, source: str = "his"
    ) -> list[LineOutcome]:
        number = await self.message() if message is None else message
        return await self.journal.run(worklist.take_orders, number, source, lines, settings)

    async def ask(self, *specimens: str, channel: str = "chem", **more: Any) -> Answered:
        question = Question(kind="specimens", asked=tuple(Asked(specimen=one) for one in specimens))
        return await self.ask_for(question, channel, **more)

    async def ask_for(self, question: Question, channel: str = "chem", **more: Any) -> Answered:
        settings = AskSettings(**{"channel": channel, "codes": CODES, **more})
        return await self.journal.run(worklist.answer, await self.message(), question, settings)

    async def send(self, answered: Answered, channel: str = "chem") -> list[int]:
        """The answer is written, and the link confirms it; the items that come back."""
        return await self.journal.run(worklist.offered, answered.query, numbers(answered), channel, 1)

    async def tell(self, *specimens: str, channel: str = "chem") -> list[int]:
        answered = await self.ask(*specimens, channel=channel)
        assert await self.send(answered, channel) == []
        return numbers(answered)

    async def result(
        self, specimen: str, *tests: ResultOf, patient: str = "", channel: str = "chem"
    ) -> list[tuple[int, bool]]:
        return await self.journal.run(worklist.result, await self.message(), channel, specimen, patient, tests)

    def state(self, number: int) -> tuple[str, str]:
        found = reading.item(self.journal, number)
        assert found is not None
        last = found.history[-1]
        assert (last.state, last.reason) == (found.item.state, found.item.reason)
        assert [one.n for one in found.history] == list(range(1, len(found.history) + 1))
        return str(found.item.state), str(found.item.reason)

    def states(self) -> list[str]:
        return [str(one.state) for one in reversed(reading.items(self.journal, reading.ItemFilter()))]


def numbers(answered: Answered) -> list[int]:
    return [one.number for tube in answered.tubes for one in tube.items]


def order(test: str = "GLU", specimen: str = "S1", placer: str = "O1", **more: Any) -> OrderLine:
    return OrderLine(**{"test": test, "specimen": specimen, "placer": placer, "patient": ASHA, **more})


async def test_an_order_is_taken_asked_for_sent_and_resulted(desk: Desk) -> None:
    taken = await desk.take(order(), order("UREA"))
    assert [(one.number, one.state, one.repeat) for one in taken] == [(1, "waiting", False), (2, "waiting", False)]
    answered = await desk.ask("S1")
    (tube,) = answered.tubes
    assert [(one.item_id, one.code, one.line) for one in tube.items] == [
        ("W1", "10", order()),
        ("W2", "20", order("UREA")),
    ]
    assert desk.states() == ["waiting", "waiting"]  # nothing is offered before the link has confirmed it
    assert await desk.send(answered) == []
    assert desk.states() == ["offered", "offered"]
    assert await desk.result("S1", ResultOf(code="10")) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]
    assert numbers(await desk.ask("S1")) == [2]  # a second question gets what has no result yet, once more
    assert await desk.result("S1", ResultOf(test="UREA", final=False)) == [(2, False)]
    assert desk.states() == ["resulted", "in_progress"]
    assert await desk.result("S1", ResultOf(test="UREA")) == [(2, False)]
    (tube,) = (await desk.ask("S1")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.DONE)


@pytest.mark.parametrize("specimen", ["s1", "S01", "S1 ", " S1", "S", "S11", "\uff331"])
async def test_only_the_exact_specimen_number_is_found(desk: Desk, specimen: str) -> None:
    await desk.take(order())
    (tube,) = (await desk.ask(specimen)).tubes
    unread = specimen != specimen.strip()  # a number has no blanks around it
    assert (tube.items, tube.none) == ((), NoOrder.UNREAD if unread else NoOrder.UNKNOWN)
    assert await desk.result(specimen, ResultOf(test="GLU")) == []


@pytest.mark.parametrize("specimen", ["", "@", "@12"])
async def test_an_unread_number_matches_nothing(desk: Desk, specimen: str) -> None:
    await desk.take(order(specimen=specimen))
    (tube,) = (await desk.ask(specimen)).tubes
    assert (tube.items, tube.none) == ((), NoOrder.UNREAD)


async def test_one_number_with_two_patients_holds_both_orders(desk: Desk) -> None:
    await desk.take(order())
    (second,) = await desk.take(order("HIV", placer="O2", patient=RAVI, targets=("sero",)))  # of another group
    assert (second.state, second.reason) == (ItemState.HELD, ItemReason.SPECIMEN_CONFLICT)
    assert desk.state(1) == ("held", "SPECIMEN_CONFLICT")
    for channel in ("chem", "sero"):
        (tube,) = (await desk.ask("S1", channel=channel)).tubes
        assert (tube.items, tube.none) == ((), NoOrder.CONFLICT)
    (third,) = await desk.take(order("UREA"))  # one of the two again: still both are held
    assert third.reason == ItemReason.SPECIMEN_CONFLICT
    assert await desk.result("S1", ResultOf(test="GLU")) == [(1, False)]
    assert desk.state(1)[0] == "held"


@pytest.mark.parametrize("patient", [OrderedPatient(), OrderedPatient(number="P1", birth_date="19800102"),
                                     OrderedPatient(number="p1"), OrderedPatient(family="SHARMA")])  # fmt: skip
async def test_a_patient_who_is_not_certainly_the_same_is_another_one(desk: Desk, patient: OrderedPatient) -> None:
    await desk.take(order())
    (second,) = await desk.take(order("UREA", placer="O2", patient=patient))
    assert second.reason == ItemReason.SPECIMEN_CONFLICT


async def test_a_number_is_free_for_another_patient_some_time_after_its_result(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", ResultOf(test="GLU"))
    (early,) = await desk.take(order(placer="O2", patient=RAVI))
    assert early.reason == ItemReason.SPECIMEN_CONFLICT
    await desk.take(order(placer="O2", action="cancel"), order(placer="O2", action="cancel", patient=RAVI))
    assert desk.states() == ["resulted", "cancelled"]
    desk.clock.advance(31 * 86_400)
    (later,) = await desk.take(order(placer="O3", patient=RAVI))
    assert later.state is ItemState.WAITING
    assert numbers(await desk.ask("S1")) == [3]


async def test_the_same_order_again_is_one_item(desk: Desk) -> None:
    (first,) = await desk.take(order())
    again = await desk.take(order(), order(requested="20260101", comment="x"))
    assert [(one.number, one.repeat) for one in again] == [(1, True), (1, True)]
    assert first.repeat is False
    assert desk.states() == ["waiting"]


async def test_the_same_order_with_other_content_is_held(desk: Desk) -> None:
    await desk.take(order())
    (other,) = await desk.take(order(dilution="1:10"))
    assert (other.number, other.state, other.reason) == (2, ItemState.HELD, ItemReason.ORDER_CONFLICT)
    assert numbers(await desk.ask("S1")) == [1]


async def test_a_change_takes_the_place_of_an_order(desk: Desk) -> None:
    await desk.take(order())
    (other,) = await desk.take(order(priority="stat", action="change"))
    assert (other.number, other.state, other.replaced) == (2, ItemState.WAITING, 1)
    assert desk.state(1) == ("superseded", "")
    assert numbers(await desk.ask("S1")) == [2]


async def test_a_change_waits_until_the_analyzer_has_given_up_the_order(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    (other,) = await desk.take(order(priority="stat", action="change"))
    assert (other.state, other.reason, other.replaced) == (ItemState.WAITING, ItemReason.AFTER_CANCEL, 1)
    assert desk.state(1) == ("cancel_pending", "")
    (tube,) = (await desk.ask("S1")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.HELD)
    said = Confirmation(of="", accepted=True, items=(("W1", True, "CR", ""),))
    done = await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said, cancels=True)
    assert done == [1]
    assert desk.state(1) == ("cancelled", "")
    assert numbers(await desk.ask("S1")) == [2]


async def test_a_cancelled_order_is_not_answered(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    await desk.take(order("UREA", action="cancel"))
    assert numbers(await desk.ask("S1")) == [1]
    assert desk.states() == ["waiting", "cancelled"]


async def test_a_cancel_of_an_offered_order_waits_for_the_analyzer_and_a_late_result_is_noted(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    await desk.tell("S1")
    cancelled = await desk.take(order("", action="cancel"))
    assert [(one.number, one.state) for one in cancelled] == [
        (1, ItemState.CANCEL_PENDING),
        (2, ItemState.CANCEL_PENDING),
    ]
    assert await desk.result("S1", ResultOf(code="10")) == [(1, True)]
    assert desk.states() == ["resulted", "cancel_pending"]
    assert desk.state(1)[0] == "resulted"


async def test_an_order_that_is_cancelled_while_its_answer_goes_out_comes_back(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    answered = await desk.ask("S1")
    await desk.take(order(action="cancel"))
    assert desk.states() == ["cancel_pending", "waiting"]
    assert await desk.send(answered) == [1]
    assert desk.states() == ["cancel_pending", "offered"]


async def test_an_order_that_is_cancelled_while_its_answer_is_thrown_away_is_cancelled(desk: Desk) -> None:
    await desk.take(order())
    answered = await desk.ask("S1")
    await desk.take(order(action="cancel"))
    await desk.journal.run(worklist.not_offered, answered.query, [1], "contention", maybe=False)
    assert desk.states() == ["cancelled"]


async def test_a_preliminary_result_shows_that_the_analyzer_has_an_order_whose_answer_is_thrown_away(
    desk: Desk,
) -> None:
    await desk.take(order())
    answered = await desk.ask("S1")
    await desk.take(order(action="cancel"))
    assert await desk.result("S1", ResultOf(test="GLU", final=False)) == [(1, False)]
    await desk.journal.run(worklist.not_offered, answered.query, [1], "cut", maybe=False)
    assert desk.state(1) == ("cancel_pending", "")  # and not cancelled: the analyzer measures it


async def test_an_order_that_an_analyzer_got_before_its_tube_was_held_is_marked_when_it_is_released(
    desk: Desk,
) -> None:
    await desk.take(order())
    assert await desk.tell("S1") == [1]
    await desk.take(order(placer="O2", patient=RAVI))
    await act(desk, worklist.cancel, 2)
    await act(desk, worklist.release, 1)
    assert desk.state(1) == ("waiting", "MAYBE_KNOWN")
    assert await desk.tell("S1", channel="chem2") == [1]
    assert desk.state(1) == ("offered", "MAYBE_KNOWN")


async def test_what_was_perhaps_sent_waits_again_and_is_known(desk: Desk) -> None:
    await desk.take(order())
    answered = await desk.ask("S1")
    await desk.journal.run(worklist.not_offered, answered.query, [1], "no-answer", maybe=True)
    assert desk.state(1) == ("waiting", "MAYBE_KNOWN")
    await desk.tell("S1")
    said = Confirmation(of="x", accepted=False, code="UA")
    await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said, [1])
    assert desk.state(1) == ("offered", "")  # it refuses a number that it has
    await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said, [1])
    assert desk.state(1) == ("offered", "")  # and so it has


async def test_what_was_sent_once_and_refused_is_refused(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    said = Confirmation(of="x", accepted=False, code="UA")
    await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said, [1])
    assert desk.state(1) == ("refused", "ANALYZER_REFUSED")


async def test_a_crash_leaves_what_was_under_way_perhaps_sent(desk: Desk) -> None:
    await desk.take(order())
    await desk.ask("S1")
    assert await desk.journal.run(worklist.recover) == 1
    assert desk.state(1) == ("waiting", "MAYBE_KNOWN")
    assert await desk.journal.run(worklist.recover) == 0


async def test_an_answer_without_an_order_ends_as_sent_or_says_why_not(desk: Desk) -> None:
    await desk.take(order())
    sent, late, crash, with_order = [await desk.ask(one) for one in ("S7", "S8", "S9", "S1")]
    await desk.journal.run(worklist.told, sent.query, "sent")
    await desk.journal.run(worklist.told, late.query, "late")
    await desk.journal.run(worklist.told, with_order.query, "late")
    await desk.send(with_order)
    await desk.journal.run(worklist.recover)
    await desk.journal.run(worklist.told, crash.query, "sent")  # by a process that has ended

    found = {one.number: one.outcome for one in order_questions.queries(desk.journal)}
    assert found == {
        sent.query: "sent", late.query: "late", crash.query: "interrupted", with_order.query: "sent",
    }  # fmt: skip


async def test_one_channel_of_a_group_has_an_order_at_a_time(desk: Desk) -> None:
    await desk.take(order())
    answered = await desk.ask("S1", channel="chem")
    (tube,) = (await desk.ask("S1", channel="chem2")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.ELSEWHERE)  # while the answer is under way, too
    await desk.send(answered)
    (tube,) = (await desk.ask("S1", channel="chem2")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.ELSEWHERE)
    assert numbers(await desk.ask("S1", channel="chem")) == [1]


async def test_an_order_for_other_channels_is_not_seen(desk: Desk) -> None:
    await desk.take(order(targets=("chem2",)))
    (tube,) = (await desk.ask("S1")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.ELSEWHERE)
    assert numbers(await desk.ask("S1", channel="chem2")) == [1]


async def test_a_result_of_another_patient_closes_nothing(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    assert await desk.result("S1", ResultOf(test="GLU"), patient="P2") == []
    assert await desk.result("S1", ResultOf(test="GLU", item_id="W1"), patient="P2") == []
    assert desk.states() == ["offered"]
    assert await desk.result("S1", ResultOf(test="GLU"), patient="P1") == [(1, False)]


async def test_an_item_number_closes_no_other_test_and_no_other_tube(desk: Desk) -> None:
    await desk.take(order(), order(specimen="S2", placer="O2"))
    await desk.tell("S1", "S2")
    assert await desk.result("S1", ResultOf(test="UREA", item_id="W1")) == []
    # Work step of one tube, number of the other: one of them is wrong, and a person has to see that.
    assert await desk.result("S1", ResultOf(test="GLU", item_id="W2")) == []
    assert desk.states() == ["offered", "offered"]
    # A number that this channel was never given says nothing.
    assert await desk.result("S1", ResultOf(test="GLU", item_id="W99")) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]


async def test_the_code_under_which_it_was_sent_counts(desk: Desk) -> None:
    """The table was turned round since: what the analyzer calls 10 is still glucose for what it was sent."""
    await desk.take(order(), order("UREA"))
    await desk.tell("S1")
    assert await desk.result("S1", ResultOf(code="10", test="UREA")) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]


async def test_a_late_result_of_a_cancelled_order_is_noted(desk: Desk) -> None:
    await desk.take(order())
    await desk.take(order(action="cancel"))
    assert await desk.result("S1", ResultOf(test="GLU")) == [(1, True)]
    assert desk.state(1) == ("cancelled", "")
    found = reading.item(desk.journal, 1)
    assert found is not None
    assert found.history[-1].late


async def test_after_its_result_only_a_rerun_is_answered(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", ResultOf(test="GLU"))
    (again,) = await desk.take(order())
    assert (again.number, again.repeat) == (1, True)
    assert numbers(await desk.ask("S1")) == []
    (rerun,) = await desk.take(order(action="rerun"))
    assert (rerun.number, rerun.state) == (2, ItemState.WAITING)
    answered = await desk.ask("S1")
    assert [(one.number, one.run, one.parent) for one in answered.tubes[0].items] == [(2, 2, 1)]


async def test_a_result_that_is_processed_again_closes_no_later_order(desk: Desk) -> None:
    first, result = await desk.take(order()), await desk.message()

    async def process(message: int, edited_from: int | None = None) -> list[tuple[int, bool]]:
        test = [ResultOf(test="GLU")]
        return await desk.journal.run(worklist.result, message, "chem", "S1", "", test, edited_from=edited_from)

    assert await process(result) == [(first[0].number, False)]
    (rerun,) = await desk.take(order(action="rerun"))
    await desk.tell("S1")
    assert await process(result) == [(first[0].number, False)]
    assert await process(await desk.message(), edited_from=result) == [(first[0].number, False)]
    assert desk.state(rerun.number)[0] == "offered"
    assert await process(await desk.message()) == [(rerun.number, False)]


async def test_more_lines_than_a_message_may_have_are_refused(desk: Desk) -> None:
    lines = [order(placer=f"O{n}") for n in range(MOST_LINES + 1)]
    taken = await desk.take(*lines)
    assert {(one.number, one.state, one.reason) for one in taken} == {
        (0, ItemState.REJECTED, ItemReason.TOO_MANY_LINES)
    }
    assert len(taken) == len(lines)
    assert desk.states() == []


async def test_a_question_for_many_tubes_is_cut(desk: Desk) -> None:
    await desk.take(order(specimen=f"S{MOST_TUBES}"))
    answered = await desk.ask(*(f"S{n}" for n in range(MOST_TUBES + 1)))
    assert (len(answered.tubes), answered.cut) == (MOST_TUBES, True)
    assert numbers(answered) == []


async def test_a_question_for_all_is_paged_with_the_urgent_ones_first(desk: Desk) -> None:
    await desk.take(*(order(specimen=f"S{n}", placer=f"O{n}") for n in range(5)))
    await desk.take(order(specimen="S9", placer="O9", priority="stat"))
    await desk.take(order("HIV", specimen="S8", placer="O8"))
    answered = await desk.ask_for(Question(kind="all"), limit=3)
    assert ([tube.asked.specimen for tube in answered.tubes], answered.cut) == (["S9", "S4", "S3"], True)
    await desk.send(answered)
    rest = await desk.ask_for(Question(kind="all"), again=False)
    assert ([tube.asked.specimen for tube in rest.tubes], rest.cut) == (["S2", "S1", "S0"], False)
    assert (await desk.ask_for(Question(kind="all"), channel="empty", codes={})).query > 0


async def test_a_question_for_patients_finds_their_tubes(desk: Desk) -> None:
    await desk.take(order(), order("UREA", specimen="S2"), order(specimen="S3", placer="O3", patient=RAVI))
    answered = await desk.ask_for(Question(kind="patients", patients=("P1", "p1", "")))
    assert [tube.asked.specimen for tube in answered.tubes] == ["S1", "S2"]


@pytest.mark.parametrize(("line", "reason"), [
    (order(specimen=""), ItemReason.NO_SPECIMEN), (order(specimen="S" * 81), ItemReason.NO_SPECIMEN),
    (order("XYZ"), ItemReason.UNKNOWN_TEST), (order(""), ItemReason.UNKNOWN_TEST),
    (order("HIV", targets=("chem",)), ItemReason.UNKNOWN_TEST), (order(targets=("x",)), ItemReason.UNKNOWN_CHANNEL),
    (order(specimen="QC1"), ItemReason.CONTROL_NUMBER), (order(action="unknown"), ItemReason.UNKNOWN_ACTION),
])  # fmt: skip
async def test_an_order_that_cannot_run_is_rejected(desk: Desk, line: OrderLine, reason: ItemReason) -> None:
    settings = TakeSettings(known_channels=TAKE.known_channels, is_control=lambda number: number.startswith("QC"))
    for repeat in (False, True):
        (one,) = await desk.take(line, settings=settings)
        assert (one.number, one.state, one.reason, one.repeat) == (1, ItemState.REJECTED, reason, repeat)
    assert numbers(await desk.ask(line.specimen)) == []


async def test_a_panel_is_taken_apart_unless_an_analyzer_has_a_code_for_it(desk: Desk) -> None:
    panels = {"BMP": ("GLU", "UREA"), "GLU": ("NA",)}
    settings = TakeSettings(known_channels=TAKE.known_channels, panels=panels)
    taken = await desk.take(order("BMP"), order("GLU", placer="O2"), settings=settings)
    assert [(one.line_index, one.number) for one in taken] == [(0, 1), (0, 2), (1, 3)]
    cancelled = await desk.take(order("BMP", action="cancel"), settings=settings)
    assert [(one.number, one.state) for one in cancelled] == [(1, ItemState.CANCELLED), (2, ItemState.CANCELLED)]


async def test_hold_and_release(desk: Desk) -> None:
    await desk.take(order())
    await desk.take(order(action="hold"))
    assert desk.state(1) == ("held", "HELD_BY_LIS")
    (tube,) = (await desk.ask("S1")).tubes
    assert tube.none is NoOrder.HELD
    await desk.take(order(action="release"))
    assert numbers(await desk.tell("S1") and await desk.ask("S1")) == [1]
    (late,) = await desk.take(order(action="hold"))
    assert late.reason == ItemReason.TOO_LATE


async def test_a_hold_is_about_the_version_that_goes_on(desk: Desk) -> None:
    """The version before it is at the analyzer, and is given up: of that no hold and no release is refused."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.take(order(action="change", priority="stat"))
    assert (desk.state(1), desk.state(2)) == (("cancel_pending", ""), ("waiting", "AFTER_CANCEL"))
    held = await desk.take(order(action="hold"))
    assert [(one.number, one.state, one.reason) for one in held] == [(2, "held", "HELD_BY_LIS")]
    released = await desk.take(order(action="release"))
    assert [(one.number, one.state, one.reason) for one in released] == [(2, "waiting", "AFTER_CANCEL")]
    assert (await desk.ask("S1")).tubes[0].items == ()
    await desk.result("S1", ResultOf(code="10", final=True))
    assert (desk.state(1), desk.state(2)) == (("resulted", ""), ("waiting", ""))


async def test_a_message_that_is_taken_again_changes_nothing(desk: Desk) -> None:
    first, second, third = [await desk.message() for _ in range(3)]
    await desk.take(order(), order("UREA", placer=""), message=first)
    await desk.take(order(priority="stat", action="change"), message=second)
    await desk.take(order("UREA", action="cancel", placer="", filler="F"), order(action="cancel"), message=third)
    before = desk.states()
    assert before == ["superseded", "waiting", "cancelled"]
    for message, line in ((first, order()), (second, order(priority="stat", action="change"))):
        (one,) = await desk.take(line, message=message)
        assert one.repeat
    assert desk.states() == before


async def test_a_cancel_names_what_it_cancels(desk: Desk) -> None:
    await desk.take(order(filler="F1"))
    for wrong in (
        order(placer="O2"), order(placer="", filler="F2"), order("UREA"), order(specimen="S2"), order(patient=RAVI),
        OrderLine(specimen="S1", test="GLU"),
    ):  # fmt: skip
        (one,) = await desk.take(OrderLine(action="cancel", placer=wrong.placer, filler=wrong.filler, test=wrong.test,
                                           specimen=wrong.specimen, patient=wrong.patient))  # fmt: skip
        assert (one.number, one.reason) == (0, ItemReason.NO_SUCH_ORDER)
    (one,) = await desk.take(OrderLine(action="cancel", filler="F1"))
    assert (one.number, one.state) == (1, ItemState.CANCELLED)
    (one,) = await desk.take(OrderLine(action="cancel", placer="O1"))
    assert (one.state, one.repeat) == (ItemState.CANCELLED, True)


async def test_two_laboratory_systems_may_give_the_same_order_number(desk: Desk) -> None:
    theirs = order(specimen="S9", patient=RAVI)
    await desk.take(order())

    (other,) = await desk.take(theirs, source="his2")
    assert (desk.state(other.number), desk.states()) == (("waiting", ""), ["waiting", "waiting"])

    await desk.take(changed(theirs, action="change", specimen="S8"), source="his2")
    assert desk.states() == ["waiting", "superseded", "waiting"]

    nameless = OrderLine(action="cancel", placer="O1")
    await desk.take(nameless, source="his2")
    assert desk.states() == ["waiting", "superseded", "cancelled"]

    (none,) = await desk.take(nameless, source="his2", message=await desk.message())
    assert (none.reason, desk.states()[0]) == (ItemReason.NONE, "waiting")
    await desk.take(nameless)
    assert desk.states() == ["cancelled", "superseded", "cancelled"]


async def test_an_order_of_another_laboratory_system_is_cancelled_by_its_number_and_patient(desk: Desk) -> None:
    await desk.take(order())
    (none,) = await desk.take(order(action="cancel", patient=RAVI), source="his2")
    assert none.reason is ItemReason.NO_SUCH_ORDER
    (none,) = await desk.take(OrderLine(action="cancel", placer="O1"), source="his2")
    assert none.reason is ItemReason.NO_SUCH_ORDER
    await desk.take(order(action="cancel"), source="his2")
    assert desk.states() == ["cancelled"]


async def test_a_cancel_by_its_tube_alone_needs_a_setting(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    line = OrderLine(action="cancel", specimen="S1")
    assert (await desk.take(line))[0].reason == ItemReason.NO_SUCH_ORDER
    settings = TakeSettings(known_channels=TAKE.known_channels, cancel_by_specimen=True)
    assert [one.state for one in await desk.take(line, settings=settings)] == [ItemState.CANCELLED] * 2


async def test_a_cancel_after_the_result_is_too_late(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", ResultOf(test="GLU"))
    (one,) = await desk.take(order(action="cancel"))
    assert (one.state, one.reason) == (ItemState.RESULTED, ItemReason.TOO_LATE)
    (one,) = await desk.take(order(action="change", priority="stat"))
    assert (one.number, one.reason) == (1, ItemReason.TOO_LATE)


async def test_time_ends_what_waits_and_much_later_what_an_analyzer_has(desk: Desk) -> None:
    await desk.take(order(), order("UREA", specimen="S2", placer="O2"))
    await desk.tell("S2")
    desk.wait(6)
    assert await desk.journal.run(worklist.expire) == 0
    desk.wait(2)
    assert await desk.journal.run(worklist.expire) == 1
    assert desk.states() == ["expired", "offered"]
    (tube,) = (await desk.ask("S1")).tubes
    assert tube.none is NoOrder.EXPIRED
    desk.wait(30)
    assert await desk.journal.run(worklist.expire) == 1
    assert await desk.result("S2", ResultOf(code="20")) == [(2, True)]


async def test_a_clock_that_is_set_ahead_ends_no_order_and_frees_no_specimen_number(desk: Desk) -> None:
    await desk.take(order(), order("UREA"))
    await desk.tell("S1")
    await desk.result("S1", ResultOf(test="GLU"))
    await desk.result("S1", ResultOf(test="UREA"))
    await desk.take(order(specimen="S2", placer="O2"))
    desk.clock._now += timedelta(days=400)
    assert await desk.journal.run(worklist.expire) == 0
    (one,) = await desk.take(order(placer="O3", patient=RAVI))
    assert (one.state, one.reason) == (ItemState.HELD, ItemReason.SPECIMEN_CONFLICT)
    assert numbers(await desk.ask("S2")) == [3]


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=3), timedelta(days=400)], ids=str)
async def test_an_order_that_is_sent_again_waits_as_long_as_a_new_one_each_time(desk: Desk, ahead: timedelta) -> None:
    """Also where the clock was ahead when it was made."""
    desk.clock._now += ahead
    await desk.take(order())
    desk.clock._now -= ahead
    for _ in range(3):
        desk.wait(6)
        assert await desk.journal.run(worklist.expire) == 0
        desk.wait(2)
        assert await desk.journal.run(worklist.expire) == 1
        assert await act(desk, worklist.resend, 1) == "waiting"


async def test_an_order_that_an_analyzer_has_no_code_for_waits(desk: Desk) -> None:
    await desk.take(order(targets=("chem",)), order("UREA", targets=("chem",)))
    answered = await desk.ask("S1", codes={"GLU": "10"})
    assert numbers(answered) == [1]
    assert desk.state(2) == ("waiting", "UNMAPPED_CODE")
    (tube,) = (await desk.ask("S1", codes={"X": "1"})).tubes
    assert tube.none is NoOrder.UNMAPPED


async def test_the_way_of_a_tube_can_be_read(desk: Desk) -> None:
    await desk.ask("S1")
    await desk.take(order())
    await desk.tell("S1")
    timeline = reading.tube(desk.journal, "S1")
    assert [(one.channel, one.items, one.none) for one in timeline.questions] == [
        ("chem", 0, "unknown"),
        ("chem", 1, ""),
    ]
    assert [one.event for one in timeline.items[0].history] == ["taken", "sent"]
    newest, oldest = order_questions.queries(desk.journal, order_questions.QueryFilter(channel="chem"))
    assert (newest.items, newest.open, newest.outcome) == ((1,), 0, "sent")
    assert (oldest.items, oldest.open) == ((), 0)
    for wanted in (
        reading.ItemFilter(specimen="S1", open=True), reading.ItemFilter(patient="p1"),
        reading.ItemFilter(placer="O1", channel="chem"), reading.ItemFilter(states=(ItemState.OFFERED,)),
    ):  # fmt: skip
        assert [one.item_id for one in reading.items(desk.journal, wanted)] == [item_id(1)]
    assert reading.items(desk.journal, reading.ItemFilter(reasons=(ItemReason.MAYBE_KNOWN,))) == []
    assert reading.items(desk.journal, reading.ItemFilter(), after=1) == []


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("refused_before", [False, True])
async def test_an_order_is_at_the_analyzer_that_measures_it_also_where_it_was_never_given(
    desk: Desk, held: bool, refused_before: bool
) -> None:
    """Another analyzer asked before, and its answer did not go out."""
    await desk.take(order())
    if refused_before:
        answered = await desk.ask("S1", channel="chem2")
        await desk.journal.run(worklist.not_offered, answered.query, [1], "no-answer", maybe=False)
    measured = ResultOf(code="10", test="GLU", final=held)
    await desk.journal.run(worklist.result, await desk.message(), "chem", "S1", "", (measured,), held=held)
    assert desk.states() == ["in_progress"]
    (tube,) = (await desk.ask("S1", channel="chem2")).tubes
    assert (tube.items, tube.none) == ((), NoOrder.ELSEWHERE)
    assert numbers(await desk.ask("S1")) == [1]


@pytest.mark.parametrize("given", [1, 2])
async def test_a_late_result_is_of_the_order_that_was_given_up_last(desk: Desk, given: int) -> None:
    """The analyzer may have had the one or the other."""
    for number in (1, 2):
        await desk.take(order(placer=f"O{number}"))
        if number == given:
            await desk.tell("S1")
        await act(desk, worklist.cancel, number)
        if number == given:
            await act(desk, worklist.cancel, number)
    assert desk.states() == ["cancelled", "cancelled"]
    assert await desk.result("S1", ResultOf(code="10", test="GLU")) == [(2, True)]


@pytest.mark.parametrize("given", [1, 2])
async def test_a_correction_is_of_the_order_that_had_its_result_last(desk: Desk, given: int) -> None:
    for number in (1, 2):
        await desk.take(order(placer=f"O{number}"))
        if number == given:
            await desk.tell("S1")
        await desk.result("S1", ResultOf(test="GLU"))
    assert desk.states() == ["resulted", "resulted"]
    assert await desk.result("S1", ResultOf(code="10", test="GLU")) == [(2, False)]


async def test_no_number_and_no_name_stands_in_the_tables_in_clear(desk: Desk, tmp_path: Path) -> None:
    await desk.take(order(specimen="SPECIMEN-77", placer="PLACER-77", test="GLU", targets=("chem", "SECRET-77")))
    await desk.ask("SPECIMEN-77")
    said = Confirmation(of="", accepted=False, items=(("W1", False, "E1", "of SHARMA"),))
    await desk.journal.run(worklist.confirmed, "chem", await desk.message(), said)
    assert desk.state(1) == ("refused", "ANALYZER_REFUSED")
    content = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("journal*"))
    for secret in (b"SPECIMEN-77", b"PLACER-77", b"SHARMA", b"P1\0", b"SECRET-77", b"19800101"):
        assert secret not in content


async def act(desk: Desk, what: Any, number: int, **more: Any) -> str:
    return str(await desk.journal.run(what, number, actor="asha", reason="looked", **more))


@pytest.mark.parametrize(("when", "patient", "after"), [
    ("held before the conflict", "", "resulted"),
    ("held before the conflict, and rejected", "", "waiting"),
    ("held in the conflict", "", "waiting"),  # of which of the two patients it is, is not known
    ("in the conflict", "", "waiting"),
    ("in the conflict", "P1", "resulted"),
    ("in the conflict, and given up", "P1", "waiting"),
    ("preliminary", "P1", "waiting"),
])  # fmt: skip
async def test_an_order_whose_result_went_out_while_its_tube_was_of_two_patients_is_not_measured_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str, patient: str, after: str
) -> None:
    standing = ["held"]
    monkeypatch.setattr(holding, "standing", lambda *_: standing[0])
    await desk.take(order())
    await desk.tell("S1")
    message, measured = await desk.message(), [ResultOf(test="GLU", final=when != "preliminary")]

    async def come() -> None:
        held = when.startswith("held")
        await desk.journal.run(worklist.result, message, "chem", "S1", patient, measured, held=held)

    if "before" in when:
        await come()
    await desk.take(order("UREA", placer="O2", patient=RAVI))
    assert desk.state(1) == ("held", "SPECIMEN_CONFLICT")
    if "before" not in when:
        await come()
    standing[0] = "gone" if when.endswith(("rejected", "given up")) else "on its way"
    if when.startswith("held"):
        await desk.journal.run(decided, message)

    await act(desk, worklist.cancel, 2)
    assert await act(desk, worklist.release, 1) == after
    assert numbers(await desk.ask("S1")) == ([] if after == "resulted" else [1])


@operation(priority=Priority.SETTLE)
def decided(batch: Batch, message_id: int) -> None:
    holding.moved(batch, message_id)


async def test_a_person_releases_the_order_of_the_tubes_patient(desk: Desk) -> None:
    await desk.take(order())
    await desk.take(order("UREA", placer="O2", patient=RAVI))
    assert await act(desk, worklist.release, 1) == "waiting"
    with pytest.raises(RefusedError, match="another patient"):
        await act(desk, worklist.release, 2)
    assert numbers(await desk.ask("S1")) == [1]
    assert await act(desk, worklist.cancel, 2) == "cancelled"
    for number in (1, 9):
        with pytest.raises(RefusedError):
            await act(desk, worklist.release, number)


@pytest.mark.parametrize("known_by", [{}, {"placer": "", "filler": "F1"}, {"placer": ""}])
async def test_a_person_decides_between_two_versions_of_an_order(desk: Desk, known_by: dict[str, str]) -> None:
    await desk.take(order(**known_by))
    await desk.take(order(dilution="1:5", **known_by))
    with pytest.raises(RefusedError, match="W1 has the same order number"):
        await act(desk, worklist.release, 2)
    await act(desk, worklist.cancel, 1)
    assert await act(desk, worklist.release, 2) == "waiting"
    assert numbers(await desk.ask("S1")) == [2]


async def test_an_order_of_another_system_with_the_same_number_is_no_other_version(desk: Desk) -> None:
    await desk.take(order())
    await desk.take(order(dilution="1:5"))
    await desk.take(order(specimen="S2", patient=RAVI), source="his2")
    await act(desk, worklist.cancel, 1)
    assert await act(desk, worklist.release, 2) == "waiting"


async def test_an_order_that_the_lis_has_ordered_again_is_not_sent_beside_it(desk: Desk) -> None:
    await desk.take(order())
    desk.wait(8)
    await desk.journal.run(worklist.expire)
    await desk.take(order())
    with pytest.raises(RefusedError, match="W2 has the same order number"):
        await act(desk, worklist.resend, 1)
    await act(desk, worklist.cancel, 2)
    assert await act(desk, worklist.resend, 1) == "waiting"


async def test_a_person_cancels_sends_again_and_closes(desk: Desk) -> None:
    await desk.take(order(), order("UREA"), order("NA"))
    await desk.tell("S1")
    assert [await act(desk, worklist.cancel, 1) for _ in range(2)] == ["cancel_pending", "cancelled"]
    assert await act(desk, worklist.resend, 2) == "waiting"
    assert await desk.result("S1", ResultOf(code="99")) == []
    (without,) = reading.without_order(desk.journal)
    assert await act(desk, worklist.match, 3, message_id=without.message_id) == "resulted"
    with pytest.raises(RefusedError, match="W3 is resulted"):
        await act(desk, worklist.resend, 3)
    assert desk.states() == ["cancelled", "waiting", "resulted"]
    desk.wait(8)
    await desk.journal.run(worklist.expire)
    assert await act(desk, worklist.resend, 2) == "waiting"
