"""From the plan's table to today's: names of section 2 alone, and what is new or gone since. Kept for the record."""
import sys
from pathlib import Path

OLD, OUT = Path(sys.argv[1]), Path(sys.argv[2])
GONE = ("saved_views", "engine/web/saved_lists.py", "engine/web/pages/saved.py")
F = "engine/features/"
OTHER = {  # target of the plan -> target by the names of section 2
    "abdm/destination.py": "abdm/client/destination.py",
    "orders/lists.py": "orders/lists/orders.py",
    "orders/worklists.py": "orders/lists/worklists.py",
    "results/decided.py": "results/lists/decided.py",
    "results/moved_results.py": "results/lists/moved_results.py",
    "results/hold_decisions.py": "results/acts/hold_decisions.py",
    "results/tell_apart.py": "results/acts/tell_apart.py",
    "results/questions.py": "results/service.py",
    "alerts/config.py": "alerts/config/alerts.py",
    "alerts/sinks.py": "alerts/config/sinks.py",
    "alerts/machine.py": "alerts/rules/machine.py",
    "alerts/rules.py": "alerts/rules/causes.py",
    "alerts/settings.py": "alerts/rules/settings.py",
    "alerts/wording.py": "alerts/rules/wording.py",
    "reports/shifts.py": "reports/config.py",
    "reports/turnaround.py": "reports/rules.py",
    "reports/downtime_watch.py": "reports/service.py",
    "reports/lists.py": "reports/lists/reports.py",
    "reports/shift_lists.py": "reports/lists/shift.py",
    "access/config.py": "access/config/access.py",
    "access/oidc_config.py": "access/config/oidc.py",
    "access/model.py": "access/rules/accounts.py",
    "access/provider_words.py": "access/rules/provider_words.py",
    "access/accounts.py": "access/service/accounts.py",
    "access/directory.py": "access/service/directory.py",
    "access/identity_provider.py": "access/service/identity_provider.py",
    "access/own_account.py": "access/service/own_account.py",
    "access/passwords.py": "access/service/passwords.py",
    "access/proving.py": "access/service/proving.py",
    "access/second_factor.py": "access/service/second_factor.py",
    "access/set_up_link.py": "access/service/set_up_link.py",
    "access/tokens.py": "access/service/tokens.py",
    "access/users.py": "access/service/users.py",
    "access/oidc/__init__.py": "access/client/__init__.py",
    "access/oidc/examine.py": "access/examine.py",
    "access/oidc/flow.py": "access/client/flow.py",
    "access/oidc/id_token.py": "access/client/id_token.py",
    "access/oidc/log_out.py": "access/client/log_out.py",
    "access/oidc/provider.py": "access/client/provider.py",
    "events/model.py": "events/rules.py",
    "events/service.py": "events/service/webhooks.py",
    "events/watch.py": "events/service/state_events.py",
    "events/stream.py": "events/pages.py",
    "codes/rules.py": "codes/service/corrections.py",
    "traces/rules.py": "traces/service/spans.py",
    "traces/service.py": "traces/service/sending.py",
    "codes/service.py": "codes/service/correcting.py",
    "codes/missing_codes.py": "codes/service/missing_codes.py",
    "codes/lists.py": "codes/lists/corrections.py",
    "codes/gaps.py": "codes/lists/gaps.py",
    "codes/suggestions.py": "codes/lists/suggestions.py",
    "rework/affected_look.py": "rework/acts/affected_look.py",
    "rework/affected_results.py": "rework/acts/affected_results.py",
    "rework/bulk_acts.py": "rework/acts/bulk_acts.py",
    "rework/edit.py": "rework/acts/edit.py",
    "rework/edit_text.py": "rework/acts/edit_text.py",
    "rework/replay.py": "rework/acts/replay.py",
    "rework/reprocess.py": "rework/acts/reprocess.py",
    "rework/retry.py": "rework/acts/retry.py",
    "rework/set_aside.py": "rework/acts/set_aside.py",
    "rework/acts.py": "rework/acts/replays.py",
    "rework/affected.py": "rework/lists/affected.py",
    "rework/lists.py": "rework/lists/dead_letters.py",
    "rework/edited.py": "rework/lists/edited.py",
    "rework/operations_list.py": "rework/lists/operations.py",
    "todo/service.py": "todo/service/todo_list.py",
    "todo/looks.py": "todo/service/looks.py",
    "todo/rows_shown.py": "todo/pages/rows_shown.py",
    "todo/pages.py": "todo/pages/todo.py",
}
ADDED = """
engine/devtools workbench
engine/store/operations/abdm/set_back.py engine/features/abdm/rows/set_back.py
engine/store/operations/access/__init__.py engine/features/access/rows/__init__.py
tests/engine/abdm tests/engine/features/abdm
tests/engine/ordering/test_sheets.py tests/engine/features/orders/rules/test_sheets.py
tests/engine/ordering/test_codes_of_table.py tests/engine/features/orders/rules/test_codes_of_table.py
tests/engine/ordering tests/engine/features/orders/exchange
tests/engine/access/test_gateway.py tests/engine/features/abdm/rules/test_gateway.py
tests/engine/access tests/engine/features/access/service
tests/engine/monitoring/alerting tests/engine/features/alerts/rules
tests/engine/store/operations/worklist tests/engine/features/orders/rows
tests/engine/web/access/test_oidc_examined.py tests/engine/features/access/test_oidc_examined.py
tests/engine/web/access tests/engine/features/access/pages
tests/engine/devtools tests/workbench
tests/adapters/codecs/abdm tests/engine/features/abdm/wire
tests/adapters/codecs/hl7v2/test_shared_profile.py tests/engine/features/abdm/wire/test_shared_profile.py
tests/adapters/clients/abdm tests/engine/features/abdm/client
tests/engine/config/test_alerts.py tests/engine/features/alerts/config/test_alerts.py
tests/engine/config/test_destination_abdm.py tests/engine/features/abdm/config/test_destination_abdm.py
tests/engine/config/test_lis_keys.py tests/engine/features/orders/config/test_lis_keys.py
tests/engine/config/test_orders_keys.py tests/engine/features/orders/config/test_orders_keys.py
tests/engine/config/test_traces.py tests/engine/features/traces/test_keys_of_traces.py
tests/engine/monitoring/test_traces.py tests/engine/features/traces/test_traces.py
tests/engine/runtime/test_traces.py tests/engine/features/traces/test_traces_of_a_site.py
tests/engine/model/test_abdm_links.py tests/engine/features/abdm/rules/test_abdm_links.py
tests/engine/model/test_abha.py tests/engine/features/abdm/rules/test_abha.py
tests/engine/model/test_abha_places.py tests/engine/features/abdm/rules/test_abha_places.py
tests/engine/model/test_care_contexts.py tests/engine/features/abdm/rules/test_care_contexts.py
tests/engine/model/test_consent_rules.py tests/engine/features/abdm/rules/test_consent_rules.py
tests/engine/model/test_accounts.py tests/engine/features/access/rules/test_accounts.py
tests/engine/model/test_order_rules.py tests/engine/features/orders/rules/test_order_rules.py
tests/engine/model/test_usual_times.py tests/engine/features/orders/rules/test_usual_times.py
tests/engine/model/test_turnaround.py tests/engine/features/reports/test_turnaround.py
tests/engine/monitoring/test_todo.py tests/engine/features/todo/test_todo.py
tests/engine/runtime/test_alerting.py tests/engine/features/alerts/test_alerting.py
tests/engine/runtime/test_corrections.py tests/engine/features/codes/service/test_corrections.py
tests/engine/runtime/test_state_events.py tests/engine/features/events/service/test_state_events.py
tests/engine/runtime/test_webhooks.py tests/engine/features/events/service/test_webhooks.py
tests/engine/runtime/test_events_of_a_site.py tests/engine/features/events/service/test_events_of_a_site.py
tests/engine/web/api/test_event_stream.py tests/engine/features/events/test_event_stream.py
tests/engine/runtime/test_who_is_who.py tests/engine/features/results/test_who_is_who.py
tests/engine/runtime/test_todo_looks.py tests/engine/features/todo/service/test_todo_looks.py
tests/engine/runtime/test_log_in_of_a_site.py tests/engine/features/access/service/test_log_in_of_a_site.py
tests/engine/store/operations/test_abdm_rows.py tests/engine/features/abdm/rows/test_abdm_rows.py
tests/engine/store/operations/test_corrections_store.py tests/engine/features/codes/rows/test_corrections_store.py
tests/engine/store/operations/test_downtime.py tests/engine/features/reports/rows/test_downtime.py
tests/engine/store/operations/test_result_counts.py tests/engine/features/reports/rows/test_result_counts.py
tests/engine/store/operations/test_number_bearers.py tests/engine/features/results/rows/test_number_bearers.py
tests/engine/store/operations/test_held_deliveries.py tests/engine/features/results/rows/test_held_deliveries.py
tests/engine/store/operations/test_overtaken.py tests/engine/features/results/rows/test_overtaken.py
tests/engine/store/operations/test_todo_store.py tests/engine/features/todo/rows/test_todo_store.py
tests/engine/store/queries/test_abdm_lists.py tests/engine/features/abdm/rows/test_abdm_lists.py
tests/engine/store/queries/test_abdm_undecided.py tests/engine/features/abdm/rows/test_abdm_undecided.py
tests/engine/store/queries/test_events.py tests/engine/features/events/rows/test_events.py
tests/engine/store/queries/test_letter_groups.py tests/engine/features/rework/rows/test_letter_groups.py
tests/engine/store/queries/test_order_tabs.py tests/engine/features/orders/rows/test_order_tabs.py
tests/engine/views/test_edited.py tests/engine/features/rework/lists/test_edited.py
tests/engine/views/test_moved_results.py tests/engine/features/results/lists/test_moved_results.py
tests/engine/views/test_reports.py tests/engine/features/reports/lists/test_reports.py
tests/engine/diagnostics/test_examine_orders.py tests/engine/features/orders/test_examine_orders.py
tests/engine/actions/test_edit_text.py tests/engine/features/rework/acts/test_edit_text.py
tests/engine/actions/test_replay.py tests/engine/features/rework/acts/test_replay.py
tests/engine/actions/test_reprocessing_cut.py tests/engine/features/rework/acts/test_reprocessing_cut.py
tests/engine/commands/test_abdm_acts.py tests/engine/features/abdm/commands/test_abdm_acts.py
tests/engine/commands/test_abdm_reading.py tests/engine/features/abdm/commands/test_abdm_reading.py
tests/engine/commands/test_alert_command.py tests/engine/features/alerts/commands/test_alert_command.py
tests/engine/commands/test_dlq_edit.py tests/engine/features/rework/commands/test_dlq_edit.py
tests/engine/commands/test_dlq_groups.py tests/engine/features/rework/commands/test_dlq_groups.py
tests/engine/commands/test_orders_command.py tests/engine/features/orders/commands/test_orders_command.py
tests/engine/commands/test_replay_command.py tests/engine/features/rework/commands/test_replay_command.py
tests/engine/commands/test_report_command.py tests/engine/features/reports/commands/test_report_command.py
tests/engine/commands/test_shift_command.py tests/engine/features/reports/commands/test_shift_command.py
tests/engine/commands/test_tables_command.py tests/engine/features/codes/commands/test_tables_command.py
tests/engine/commands/test_todo_command.py tests/engine/features/todo/commands/test_todo_command.py
tests/engine/commands/test_user_command.py tests/engine/features/access/commands/test_user_command.py
tests/engine/commands/test_log_in_commands.py tests/engine/features/access/commands/test_log_in_commands.py
tests/engine/web/pages/test_abdm_acts.py tests/engine/features/abdm/pages/test_abdm_acts.py
tests/engine/web/pages/test_abdm_page.py tests/engine/features/abdm/pages/test_abdm_page.py
tests/engine/web/pages/test_affected_page.py tests/engine/features/rework/pages/test_affected_page.py
tests/engine/web/pages/test_edit_page.py tests/engine/features/rework/pages/test_edit_page.py
tests/engine/web/pages/test_letter_pages.py tests/engine/features/rework/pages/test_letter_pages.py
tests/engine/web/pages/test_replay_page.py tests/engine/features/rework/pages/test_replay_page.py
tests/engine/web/pages/test_set_aside_page.py tests/engine/features/rework/pages/test_set_aside_page.py
tests/engine/web/pages/test_alerts_page.py tests/engine/features/alerts/test_alerts_page.py
tests/engine/web/pages/test_correct_page.py tests/engine/features/codes/pages/test_correct_page.py
tests/engine/web/pages/test_orders_pages.py tests/engine/features/orders/pages/test_orders_pages.py
tests/engine/web/pages/test_reports_page.py tests/engine/features/reports/pages/test_reports_page.py
tests/engine/web/pages/test_shift_page.py tests/engine/features/reports/pages/test_shift_page.py
tests/engine/web/pages/test_todo_page.py tests/engine/features/todo/pages/test_todo_page.py
"""
lines = ["old\tnew"]
for line in OLD.read_text().splitlines()[1:]:
    old, new = line.split()
    if old.startswith("engine/devtools/"):
        continue  # the folder has one row
    if any(part in old for part in GONE):
        continue
    name = new.removeprefix(F)
    lines.append(f"{old}\t{F + OTHER.pop(name) if name in OTHER else new}")
assert not OTHER, OTHER
lines += ["\t".join(line.split()) for line in ADDED.strip().splitlines()]
OUT.write_text("\n".join(lines) + "\n")
