"""What can hurt a patient on the way of an order: the rules against it, each with its tests; some of these are here."""

import ast
import logging
import threading
from pathlib import Path

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import Question
from engine.model.worklist import Answered, AskSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.engine.features.orders.exchange.test_hl7_questions import line, ordered
from tests.engine.features.orders.exchange.test_questions import (
    ORDERS,
    added,
    becomes,
    cancelled,
    chemistry,
    states_now,
)
from tests.support.asking import asking, fields, question, result
from tests.support.ordering_lis import order, ordering
from tests.support.running import MLLP, astm_channel, channel, running_site
from tests.support.waiting import until

CHECKOUT = Path(__file__).parents[5]
WORKLIST = "tests/engine/features/orders/rows/test_orders_in_and_out.py"
HERE = "tests/engine/features/orders/exchange/test_rules_of_harm.py"
ASTM = "tests/engine/features/orders/exchange/test_questions.py"
HL7 = "tests/engine/features/orders/exchange/test_hl7_questions.py"
LAW = "tests/engine/features/orders/exchange/test_law.py"
DOWNLOADS = "tests/engine/features/orders/exchange/test_downloads.py"
LIS = "tests/engine/features/orders/exchange/test_orders_of_a_lis.py"

RULES: dict[str, tuple[str, ...]] = {
    "a tube's number is compared exactly, and an equal one after any change is none, with a warning": (
        f"{WORKLIST}::test_only_the_exact_specimen_number_is_found",
        f"{ASTM}::test_an_unknown_tube_gets_none_in_the_makers_form",
        "tests/engine/model/content/test_order_results.py::test_a_result_is_of_its_own_tube",
        "tests/engine/features/orders/rows/test_order_tabs.py::test_a_question_is_unanswered_until_the_tube_is_asked_for_again",
    ),
    "one number, two patients: both orders are held, and a question gets none": (
        f"{WORKLIST}::test_one_number_with_two_patients_holds_both_orders",
        f"{WORKLIST}::test_a_patient_who_is_not_certainly_the_same_is_another_one",
        f"{ASTM}::test_two_patients_with_one_tube_get_none",
        f"{DOWNLOADS}::test_orders_of_two_patients_with_one_number_do_not_go",
    ),
    "a number is another patient's only some time after the result": (
        f"{WORKLIST}::test_a_number_is_free_for_another_patient_some_time_after_its_result",
        f"{WORKLIST}::test_a_result_of_another_patient_closes_nothing",
    ),
    "a result that names an order of another tube than its own is of neither": (
        f"{LAW}::test_a_result_that_names_the_order_of_another_tube_closes_none_and_is_shown",
    ),
    "by position alone nothing is answered, unless the LIS said today which tube is there": (
        f"{LAW}::test_by_rack_or_tray_is_answered_only_if_the_lis_gave_positions",
        f"{LAW}::test_two_tubes_at_one_place_are_no_work",
        f"{WORKLIST}::test_an_unread_number_matches_nothing",
        f"{HERE}::test_a_rack_and_position_without_a_number_get_no_order",
    ),
    "a reply is to the question that its line asked last": (
        f"{ASTM}::test_a_newer_question_takes_the_place_of_an_older_one",
        f"{ASTM}::test_a_reconnect_amid_an_answer_is_asked_for_anew",
        f"{LAW}::test_for_one_specimen_asked_only_that_specimen_is_sent",
        f"{LAW}::test_a_second_query_takes_nothing_from_the_orders_of_the_first",
        "tests/interleavings/test_sample.py::test_no_tube_gets_the_orders_of_another_and_none_is_lost_doubled_or_silent",
    ),
    "an answer that a cancel or another message has overtaken is looked up anew, or thrown away": (
        f"{ASTM}::test_a_cancelled_order_is_not_offered",
        f"{ASTM}::test_a_question_that_is_taken_back_is_not_answered",
        f"{ASTM}::test_an_answer_that_waited_behind_a_result_is_looked_up_anew",
        f"{WORKLIST}::test_an_order_that_is_cancelled_while_its_answer_goes_out_comes_back",
        f"{LAW}::test_an_order_that_is_cancelled_before_our_connection_is_there_is_not_sent",
    ),
    "a patient's details go only where the channel says so, and no text becomes another field": (
        f"{ASTM}::test_a_name_goes_to_the_analyzer_only_where_the_channel_says_so",
        "tests/adapters/codecs/astm/test_dialogue_texts.py::test_a_name_cannot_bring_a_record",
        "tests/engine/features/orders/exchange/test_status_of_orders.py::test_no_text_of_an_order_can_add_a_field",
    ),
    "two tests never have one code of an analyzer": (
        "tests/engine/features/orders/config/test_orders_keys.py::test_two_tests_never_share_a_code_of_the_analyzer",
        "tests/engine/features/orders/rules/test_codes_of_table.py::test_a_table_that_does_not_say_which_test_is_refused",
        f"{WORKLIST}::test_the_code_under_which_it_was_sent_counts",
    ),
    "a test that the analyzer has no code for waits with its reason, and is on the list of what waits too long": (
        f"{WORKLIST}::test_an_order_that_an_analyzer_has_no_code_for_waits",
        f"{LIS}::test_other_orders_of_the_message_are_taken",
        "tests/engine/features/orders/rows/test_order_tabs.py::test_each_order_is_in_the_lists_of_the_table",
        "tests/engine/features/todo/test_todo.py::test_orders_that_wait_for_a_person_are_one_entry_for_each_list",
    ),
    "one analyzer has an order at a time; where two may have it, it is marked": (
        f"{WORKLIST}::test_one_channel_of_a_group_has_an_order_at_a_time",
        f"{WORKLIST}::test_what_was_perhaps_sent_waits_again_and_is_known",
        f"{WORKLIST}::test_an_order_that_an_analyzer_got_before_its_tube_was_held_is_marked_when_it_is_released",
        f"{DOWNLOADS}::test_downloads_go_on_after_a_restart_and_none_goes_twice",
        f"{LAW}::test_the_first_result_cancels_the_twin_on_the_other_analyzer_only_where_redundant_is_set",
    ),
    "where nothing can be looked up in time there is no answer, and no wrong none": (
        f"{HL7}::test_an_answer_that_is_late_is_not_given",
        f"{HERE}::test_over_astm_an_answer_that_is_late_is_not_given",
    ),
    "a result of a cancelled order is delivered, and noted as late": (
        f"{WORKLIST}::test_a_late_result_of_a_cancelled_order_is_noted",
        f"{HERE}::test_a_result_of_a_cancelled_order_is_delivered_and_noted_as_late",
    ),
    "the number of a control never gets a patient's order": (
        f"{LIS}::test_the_number_of_a_control_gets_no_order",
    ),
    "a question sees only the orders of its own channel and groups": (
        f"{WORKLIST}::test_an_order_for_other_channels_is_not_seen",
        f"{LIS}::test_a_lis_orders_from_its_own_analyzers_alone",
    ),
    "logs and tables have no patient in clear": (
        f"{WORKLIST}::test_no_number_and_no_name_stands_in_the_tables_in_clear",
        f"{HERE}::test_the_log_names_no_patient_tube_or_order_number",
    ),
}  # fmt: skip


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_tests_that_exist(rule: str) -> None:
    assert RULES[rule]
    for test in RULES[rule]:
        path, _, name = test.partition("::")
        assert name in names_in(CHECKOUT / path), test


async def test_a_rack_and_position_without_a_number_get_no_order(tmp_path: Path) -> None:
    """As a cobas e 411 asks for a tube whose number it could not read."""
    channels = {"chemistry": astm_channel(dialect="roche-cobas-e411", orders=ORDERS)}
    async with running_site(tmp_path, channels) as site, asking(site.port("chemistry")) as analyzer:
        await ordered(site, line("00042", "TSH", rack="2", position="5"))
        for unread in ("@587", ""):
            asked = (
                f"H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1\rQ|1|^^{unread}^587^2^5^^S1^SC||ALL||||||||O\rL|1|N\r"
            )
            assert [one[4] for one in fields(await analyzer.ask(asked.encode()), "O") if one[4]] == []
        assert states_now(site) == ["waiting"]
        assert {one.none for one in queries(site.journal)} == {("unread",)}


@pytest.mark.parametrize("tube", ["00042", "00099"])
async def test_over_astm_an_answer_that_is_late_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tube: str
) -> None:
    """The journal is busy until the deadline is over. The log says so, also where there was no order to give."""
    go_on, look_up = threading.Event(), worklist.answer

    @operation(priority=Priority.SETTLE)
    def busy(batch: Batch, message_id: int, question: Question, settings: AskSettings) -> Answered:
        go_on.wait(60.0)
        return look_up(batch, message_id, question, settings)

    async with running_site(tmp_path, chemistry(deadline="500ms")) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH")
        monkeypatch.setattr(worklist, "answer", busy)
        await analyzer.send(question(tube))
        try:
            await until(lambda: any(getattr(record, "reason", "") == "late" for record in caplog.records))
        finally:
            go_on.set()
        await until(lambda: [one.outcome for one in queries(site.journal)] == ["late"])
        assert (analyzer.answers, states_now(site)) == ([], ["waiting"])


async def test_a_result_of_a_cancelled_order_is_delivered_and_noted_as_late(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        await added(site, "00042", "TSH", more=("--placer", "LIS-1"))
        await cancelled(site, "LIS-1")
        await analyzer.send(result("00042", "P-17", "TSH3", "1.20"))
        await site.settled()
        assert site.ends("chemistry") == ["delivered"]
        assert [one["valueQuantity"]["value"] for one in site.sandbox.resources("Observation")] == [1.2]
        ran = await site.labrelay("orders", "show", "W1", "-o", "json")
        assert [one["late"] for one in ran.json["history"] if one["event"] == "final"] == [True]


async def test_the_log_names_no_patient_tube_or_order_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of all that an order goes through: taken, refused, asked for, sent, broken off, measured, cancelled."""
    caplog.set_level(logging.DEBUG)
    his = channel(MLLP, {"mapping": "orders-hl7"}, role="orders", settings={"order_specimen": "OBR-3"})
    async with running_site(tmp_path, {**chemistry(demographics=True), "his": his}) as site:
        async with ordering(site.port("his")) as lis, asking(site.port("chemistry")) as analyzer:
            lines = [("NW", "PLACER77", "TSH"), ("NW", "PLACER78", "FERR"), ("NW", "PLACER79", "LACT")]
            await lis.ask(order("M1", *lines, tube="TUBE4711", patient="MRN0815"))
            await analyzer.ask(question("TUBE4711"))
            await analyzer.send(result("TUBE4711", "MRN0815", "TSH3", "1.20"))
            await lis.ask(order("M2", ("CA", "PLACER78", "FERR"), tube="TUBE4711", patient="MRN0815"))
            await analyzer.send(question("TUBE4711"))
            assert await analyzer.byte() == b"\x05"
        await becomes(site, ["rejected", "cancel_pending", "resulted"])
        await site.settled()
        assert len(read_items(site.journal, ItemFilter(specimen="TUBE4711"))) == 3
    times = {"created", "msecs", "relativeCreated"}  # of the record: any digits may turn up in them
    said = [
        " ".join([record.getMessage(), *(f"{name}={of}" for name, of in vars(record).items() if name not in times)])
        for record in caplog.records
    ]
    assert any("answered" in one for one in said)
    planted = ("PLACER7", "TUBE4711", "MRN0815", "Rao", "Meera", "19800412", "1.20")
    assert [one for one in said if any(text in one for text in planted)] == []
