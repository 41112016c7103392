"""Complaints of users of other integration engines, and for each the tests that show how it is here.

The numbers are those of the list of complaints that the project began with. A test that moves or gets another name
takes its line here with it.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.support.packages import PACKAGES

CHECKOUT = Path(__file__).parents[3]
MLLP_OUT = "tests/adapters/destinations/test_mllp_out.py"
DAY = "tests/e2e/day.py::test_a_day_of_three_people"

# The complaint -> file::test.
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "1: a late acknowledgement is credited to the next message": (
        f"{MLLP_OUT}::test_a_late_answer_is_never_credited_to_the_next_message",
        f"{MLLP_OUT}::test_a_second_answer_is_not_credited_to_a_message_with_the_same_control_id",
    ),
    "2: the control id in an acknowledgement is not looked at": (
        f"{MLLP_OUT}::test_crossed_answers_are_not_credited",
        f"{MLLP_OUT}::test_control_ids_in_other_sets_are_matched",
    ),
    "17: a refused event is dropped, and there is no list of them": (
        "tests/engine/actions/test_actions.py::test_a_dismissal_names_who_and_why_and_needs_both",
        "tests/engine/store/lifecycle/test_retention.py::test_only_what_has_ended_and_is_old_enough_goes",
        "tests/engine/web/pages/test_letter_pages.py::test_a_list_of_dead_letters_has_what_fits",
        DAY,
    ),
    "26: a text search takes half an hour; lists wait for bodies": (
        "tests/engine/store/queries/test_reading.py::test_no_list_scans_a_table_that_grows",
        "tests/engine/store/queries/test_reading.py::test_no_list_reads_what_a_message_or_a_document_says",
        "tests/engine/web/pages/test_messages_page.py::test_a_search_that_takes_too_long_says_so",
    ),
    "34: logs fill the disk": (
        "tests/engine/monitoring/test_logs.py::test_repeats_are_counted_and_told_once_at_the_end",
        "tests/engine/web/test_complaints.py::test_the_log_of_the_service_has_a_rate_limit",
        "tests/engine/monitoring/test_logs.py::test_no_patient_gets_into_the_log",
    ),
    "35: the console is a program to install": (
        "tests/engine/web/test_status_page.py::test_nothing_comes_from_elsewhere_and_nothing_is_inline",
        "tests/e2e/walk.py::test_each_page_with_scripts_off",
    ),
    "36: the overview does not say when the last message came": (
        "tests/engine/web/test_status_page.py::test_channels_stand_worst_first_and_say_what_a_technician_needs",
    ),
    "37: no resending to one destination, no link to the original, no edit and resend, no retry of all": (
        "tests/engine/web/pages/test_replay_page.py::test_one_message_is_sent_again_from_its_page",
        "tests/engine/web/pages/test_edit_page.py::test_a_dead_message_is_corrected_and_delivered",
        "tests/engine/commands/test_dlq_edit.py::test_an_edited_message_is_a_new_one_and_the_original_stays",
        "tests/engine/web/pages/test_acts_of_pages.py::test_an_act_is_what_its_confirmation_says",
    ),
    "38: a second press acts twice": (
        "tests/engine/web/pages/test_switching_page.py::test_an_order_is_shown_then_done_once_and_can_be_taken_back",
        "tests/engine/web/pages/test_edit_page.py::test_the_act_does_what_was_shown_or_nothing",
    ),
    "39: retry all is gone, takes a page only, or takes what came later": (
        "tests/engine/web/pages/test_acts_of_pages.py::test_what_fails_later_is_left_alone",
        "tests/engine/web/pages/test_acts_of_pages.py::test_nothing_selected_is_never_everything",
        "tests/engine/web/pages/test_acts_of_pages.py::test_all_who_look_see_an_operation_and_those_who_act_cancel_it",
    ),
    "41: the history is empty after a restart": (
        "tests/engine/web/pages/test_lately.py::test_what_passed_before_the_start_is_below_a_row_that_says_so",
        "tests/engine/store/journal/test_journal_core.py::test_what_was_stored_is_read_back_after_a_restart",
        "tests/engine/store/operations/test_hour_counts.py::test_the_hours_of_a_day_add_up_to_its_counters_whatever_is_restarted",
    ),
    "42: which revision is in force, and which made this message": (
        "tests/engine/web/pages/test_trace_page.py::test_the_mapping_and_its_configuration_are_named",
        "tests/engine/web/pages/test_trace_page.py::test_another_mapping_since_is_said_and_its_document_compared",
        "tests/engine/runtime/test_corrections.py::test_the_system_page_names_files_that_are_not_reloaded",
    ),
    "45: a default password that scanners try": (
        "tests/engine/access/test_accounts.py::test_the_set_up_link_makes_one_admin_once",
        "tests/engine/web/test_listener.py::test_beyond_this_machine_it_listens_once_there_is_a_user",
    ),
    "46: TLS is an extra that costs money": (
        "tests/adapters/transports/test_tcp.py::test_tls_and_a_client_certificate_of_the_right_authority",
        f"{MLLP_OUT}::test_tls_with_a_client_certificate",
        "tests/engine/web/test_listener.py::test_a_client_without_a_certificate_gets_nothing_where_one_is_demanded",
    ),
    "48: external entities of XML, weak ciphers, any password": (
        "tests/engine/web/test_complaints.py::test_nothing_reads_xml",
        "tests/engine/web/test_listener.py::test_old_protocols_of_tls_are_refused",
        "tests/engine/access/test_accounts.py::test_a_weak_password_is_refused",
        "tests/engine/web/test_attacks.py::test_brute_force_is_delayed_also_for_the_right_password",
    ),
    "56: a connection that is gone looks open": (
        "tests/adapters/transports/test_tcp.py::test_a_vanished_peer_is_found_by_the_system",
        "tests/faults/test_half_open.py::test_analyzers_that_vanished_free_their_places",
        "tests/engine/web/pages/test_destination_page.py::test_an_analyzers_page_has_both_ends_of_its_line",
    ),
    "57: validation of rules takes hours for each analyzer": (
        "tests/engine/commands/test_evidence_report.py::test_it_says_what_was_tested_and_how_it_went",
        "tests/engine/commands/test_evidence_report.py::test_the_same_tests_give_the_same_record_elsewhere",
    ),
}


@cache
def functions_of(file: Path) -> frozenset[str]:
    found = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(one.name for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("complaint", SHOWN_BY)
def test_each_complaint_has_the_tests_that_are_named(complaint: str) -> None:
    for named in SHOWN_BY[complaint]:
        file, _, test = named.partition("::")
        assert test in functions_of(CHECKOUT / file), named
    assert any(Path(named.partition("::")[0]).name.startswith("test_") for named in SHOWN_BY[complaint])  # each run


def test_the_log_of_the_service_has_a_rate_limit() -> None:
    unit = (CHECKOUT / "systemd" / "labrelay.service").read_text(encoding="utf-8")
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert int(settings["LogRateLimitBurst"]) <= 2000
    assert settings["LogRateLimitIntervalSec"] == "30s"


def test_nothing_reads_xml() -> None:
    """A reader of XML that expands entities can be made to read files; here one verb writes XML, and none reads it."""
    for folder in PACKAGES:
        for file in (CHECKOUT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
                names = {one.name for one in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
                if module is not None and module.startswith("xml."):
                    assert names <= {"Element", "SubElement", "tostring"}, file
                else:
                    assert not any(name.partition(".")[0] in {"xml", "lxml"} for name in names | {module or ""}), file
