"""Each rule of the analyzers that ask over HL7 v2, and the test that holds it.

Of IHE LAW these are the assertions of its test tools that concern the side of LabRelay; of the makers each line of
their tables. The printed dialogues are compared byte for byte, their questions as they are read and the answers as they
are written, once as texts and once over a real socket.
"""

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
DIALOGUES = CHECKOUT / "tests/adapters/codecs/hl7v2/dialogues/test_hl7_dialogues.py"
FILES = (
    CHECKOUT / "tests/engine/ordering/test_law.py",
    CHECKOUT / "tests/engine/ordering/test_law_answers.py",
    CHECKOUT / "tests/engine/ordering/test_law_cancels.py",
    CHECKOUT / "tests/engine/ordering/test_hl7_questions.py",
    CHECKOUT / "tests/engine/store/operations/worklist/test_orders_in_and_out.py",
    DIALOGUES,
)

RULES = {
    "LAW: QPD-1 is compared by component 1, and all of it is echoed": (
        "test_qpd_1_is_compared_by_its_first_component_and_echoed_whole",
    ),
    "LAW: WOS_ALL is all that is open, in several OML, capped": (
        "test_wos_all_is_everything_open_in_several_oml_each_after_the_answer_to_the_one_before",
        "test_wos_all_is_capped_by_the_setting_and_marked",
        "test_wos_all_without_work_has_one_negative_oml",
        "test_law_wos_all_has_everything_open_in_several_oml",
    ),
    "LAW: by rack or tray only if the LIS gave positions, else no work": (
        "test_by_rack_or_tray_is_answered_only_if_the_lis_gave_positions",
        "test_a_place_that_the_lis_gave_yesterday_is_no_work",
        "test_two_tubes_at_one_place_are_no_work",
        "test_law_by_rack_or_tray_is_answered_only_if_the_lis_gave_positions_else_no_work",
    ),
    "LAW: after RSP one OML follows; RSP carries no orders": (
        "test_a_query_gets_a_response_without_orders_and_then_one_oml",
        "test_law_response_and_work_are_as_printed",
    ),
    "LAW: a query that cannot be read is AE": ("test_a_query_that_cannot_be_read_is_ae_and_no_order_follows",),
    "LAW: for one specimen asked only that specimen, with its rack": (
        "test_for_one_specimen_asked_only_that_specimen_is_sent",
        "test_rack_and_position_of_the_query_are_echoed",
        "test_law_for_one_specimen_asked_only_that_specimen_and_its_rack_and_profile_are_echoed",
    ),
    "LAW: the form of no work": (
        "test_no_work_is_a_negative_oml_and_changes_nothing",
        "test_law_no_work_is_ok_and_a_negative_answer_for_the_specimen_asked",
    ),
    "LAW: the answer to no work is MSH and MSA, AA or AR": (
        "test_the_answer_to_no_work_is_msh_and_msa_alone_ar_where_the_tube_is_unknown_and_changes_no_order",
        "test_law_the_answer_to_no_work_has_msa_alone_and_changes_no_item",
    ),
    "LAW: a cancel is ORC-1 CA with the same OBR-2, answered CR or UC for each work step": (
        "test_law_cancel_has_ca_and_the_same_obr_2",
        "test_law_a_cancel_is_answered_by_cr_and_uc_alone_and_an_order_by_ok_and_ua",
        "test_an_order_that_the_analyzer_has_is_taken_back_with_the_same_id",
        "test_a_cancel_that_nothing_answered_is_sent_again_on_the_next_connection",
        "test_only_cr_to_its_own_number_ends_a_pending_cancel",
        "test_an_order_is_taken_back_on_the_connection_of_its_question",
    ),
    "LAW: OK or UA for each work step; without ORC-2 by place, only if the counts agree": (
        "test_each_work_step_is_accepted_or_refused_by_itself",
        "test_an_answer_without_work_step_ids_counts_by_place_only_if_the_counts_agree",
        "test_law_an_empty_orc_2_is_read_by_position_only_if_the_counts_agree",
        "test_an_answer_changes_only_what_it_answers",
        "test_an_answer_that_comes_twice_counts_once",
        "test_the_answer_to_a_message_of_a_connection_that_is_gone_changes_nothing",
    ),
    "LAW: a work step that is sent again keeps its id, and UA to it means known already": (
        "test_a_work_step_that_is_sent_again_has_the_same_id_and_ua_means_known_already",
        "test_ua_to_a_work_step_after_a_lost_connection_means_known_already",
        "test_law_answers_name_each_step_and_ua_to_a_repeat_means_known_already",
        "test_what_was_perhaps_sent_waits_again_and_is_known",
        "test_what_was_sent_once_and_refused_is_refused",
    ),
    'LAW: a result with OBR-2 "" is filed by specimen': (
        "test_a_result_that_was_ordered_at_the_analyzer_has_an_order_of_its_own_and_is_listed_without_one",
        "test_a_result_of_a_pool_is_no_patients_and_no_order_is_invented",
    ),
    "LAW: a reflex of the analyzer": (
        "test_a_reflex_of_the_analyzer_has_an_order_of_its_own_that_names_its_parent",
        "test_a_reflex_whose_parent_is_not_known_on_this_very_tube_stays_without_an_order",
        "test_a_reflex_that_is_sent_again_or_measured_again_makes_no_second_order",
        "test_a_reflex_closes_no_order_but_that_of_its_own_test",
        "test_a_reflex_repeats_the_test_of_an_order_that_has_its_result",
        "test_a_preliminary_reflex_is_in_progress_and_its_final_result_ends_it",
    ),
    "LAW: ORC-5 IP, CA and ER": ("test_the_status_of_a_work_step_without_a_result_is_acknowledged_and_closes_nothing",),
    "all: never without its dilution": ("test_an_order_with_a_dilution_is_refused_and_never_left_out_unseen",),
    "LAW: a repeated result message is AA again": (
        "test_a_result_closes_its_work_step_and_the_repeated_message_is_acknowledged_aa_again",
    ),
    "LAW: the first result cancels the twin on another analyzer, where redundant": (
        "test_the_first_result_cancels_the_twin_on_the_other_analyzer_only_where_redundant_is_set",
    ),
    "LAW: each side opens its own connection": ("test_each_side_opens_its_own_connection_for_what_it_starts",),
    "BS: the printed dialogue": (
        "test_bs_answers_as_the_maker_prints_it",
        "test_mindray_bs_asks_gets_its_tests_and_accepts_them",
    ),
    "BS: NF, and nothing follows": (
        "test_bs_no_order_is_nf_and_nothing_follows",
        "test_mindray_bs_of_an_unknown_tube_hears_nf_and_nothing_more",
    ),
    "BS: QRD-4 counts up, and is not unique over days": (
        "test_mindray_bs_counts_its_questions_anew_each_day_and_the_same_number_is_answered_anew",
    ),
    "BS: QRD-8 empty is all samples between QRF-2 and QRF-3": (
        "test_mindray_bs_without_a_bar_code_gets_the_tubes_of_a_time_and_no_more_than_the_limit",
    ),
    "BS: QRD-9 CAN takes the question back": ("test_mindray_bs_takes_its_question_back_and_hears_that_once",),
    "BS: DSC-1 names the next sample, after the ACK^Q03 of this one": (
        "test_bs_a_cancel_a_range_and_several_samples",
        "test_of_several_tubes_the_next_follows_the_acknowledgement_of_the_one_before",
    ),
    "BS: ACK^Q03 accepts or refuses": (
        "test_bs_acknowledgement_confirms_or_refuses",
        "test_mindray_bs_refuses_and_the_order_shows_its_words",
    ),
    "BS: look-alikes are tables": ("test_bs_look_alikes_have_their_own_lines_and_triggers",),
    "BS: an unasked DSR": (
        "test_bs_a_download_is_a_dsr_without_a_question_and_says_msh_15_as_the_model_wants_it",
        "test_mindray_bs_gets_its_orders_unasked_and_confirms_them",
    ),
    "BC: the printed dialogue, and AR for no order": (
        "test_bc_answers_as_the_maker_prints_it",
        "test_bc_no_order_and_modes_of_which_none_contains_the_others_are_ar",
        "test_mindray_bc_asks_with_an_order_message",
    ),
    "BC: within 2 s": ("test_bc_the_answer_is_due_within_its_2_seconds", "test_an_answer_that_is_late_is_not_given"),
    "BC: ORC-1 decides between order and question": ("test_an_order_of_a_laboratory_system_is_no_question",),
    "A19: the name behind a number, never by name, none or AE where it is not found": (
        "test_demographics_say_who_a_patient_is_and_offer_nothing",
        "test_demographics_are_never_answered_by_name_nor_where_two_share_a_number",
        "test_demographics_of_an_unknown_patient_are_ae_where_the_setting_says_so_and_nothing_where_they_are_kept",
    ),
    "GeneXpert: the printed dialogue, and none": (
        "test_genexpert_answers_as_the_maker_prints_it",
        "test_genexpert_asks_for_a_specimen",
    ),
    "GeneXpert: Z01 ALL": ("test_genexpert_asks_for_everything",),
    "GeneXpert: several specimens, only those with orders; SPM last": (
        "test_genexpert_of_several_specimens_only_those_with_orders_are_listed_and_spm_is_last",
        "test_genexpert_orders_of_another_patient_than_it_names_are_not_sent",
    ),
    "GeneXpert: QCN^J01": ("test_genexpert_takes_its_question_back_and_hears_ca",),
    "GeneXpert: SSU^U03 and the refusal ORU^R32": (
        "test_genexpert_a_cancel_is_answered_ca_and_a_refusal_names_specimen_and_assay",
        "test_genexpert_names_its_own_number_and_then_refuses",
    ),
    "GeneXpert: no blank patient number beside others": (
        "test_genexpert_gets_none_of_a_specimen_whose_orders_name_a_patient_and_none",
    ),
    "all: nothing of the patient without demographics": (
        "test_nothing_of_the_patient_goes_out_without_demographics_but_the_number_to_a_genexpert",
    ),
    "all: no reply with another tube's tests": ("test_no_reply_has_the_tests_of_another_tube_or_of_two_patients",),
}


def names_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


TESTS = set().union(*map(names_of, FILES))


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_a_test_of_its_name(rule: str) -> None:
    assert [name for name in RULES[rule] if name not in TESTS] == []
