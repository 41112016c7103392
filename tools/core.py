"""The durable core: from a byte on the wire to its acknowledgement, and from the journal to a delivery that is settled.

What stands here is held to more than the rest: every line and every branch is reached by a test (`make coverage`, which
is this file run), and a sample of mutants is tried (`make mutants MUTANTS="--group core"`). `docs/quality.md` has the
figures.

    python tools/core.py            fails below 100 %, and says which lines and branches no test reached
    python tools/core.py -k mllp    other arguments are pytest's; with fewer tests less is reached
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CORE_MODULES = (
    "engine/store/journal/__init__.py",
    "engine/store/journal/keys.py",
    "engine/store/journal/opening.py",
    "engine/store/journal/starting.py",
    "engine/store/operations/append.py",
    "engine/store/operations/record_outcome.py",
    "engine/store/core/batch.py",
    "engine/store/core/writer.py",
    "engine/store/core/operation.py",
    "engine/store/operations/outbox/moving.py",
    "engine/store/operations/outbox/queueing.py",
    "engine/store/operations/outbox/claims.py",
    "engine/store/operations/outbox/attempts.py",
    "engine/store/operations/outbox/decisions.py",
    "engine/store/core/anchor.py",
    "engine/store/core/durable.py",
    "engine/store/core/chain.py",
    "engine/delivery/lane.py",
    "engine/receiving/channel.py",
    "engine/receiving/channel_parts.py",
    "engine/receiving/link_monitor.py",
    "engine/receiving/unstored.py",
    "engine/store/operations/dismissal.py",
    "engine/store/operations/superseding.py",
    "adapters/codecs/hl7v2/mllp.py",
    "adapters/codecs/astm/answers.py",
    "adapters/codecs/astm/link.py",
    "adapters/codecs/astm/frames.py",
    "adapters/codecs/astm/sender.py",
    "adapters/codecs/astm/messages.py",
    "adapters/codecs/astm/options.py",
    "adapters/codecs/astm/session.py",
    "adapters/codecs/text/link.py",
    "adapters/codecs/text/framing.py",
    "adapters/codecs/text/whole_link.py",
    "adapters/codecs/auto_link.py",
    "adapters/codecs/link_options.py",
    "adapters/codecs/hl7v2/acknowledgement.py",
)

# In one process, with a real SQLite and a real event loop: what a child reaches before it is killed does not count.
CORE_TESTS = (
    "tests/adapters/codecs/astm/test_astm_both_sides.py",
    "tests/adapters/codecs/astm/test_astm_link.py",
    "tests/adapters/codecs/astm/test_astm_sender.py",
    "tests/adapters/codecs/astm/test_astm_whole_frames.py",
    "tests/adapters/codecs/test_auto_link.py",
    "tests/adapters/codecs/hl7v2/test_hl7v2_ack.py",
    "tests/adapters/codecs/test_links_of_channels.py",
    "tests/adapters/codecs/hl7v2/test_mllp_link.py",
    "tests/adapters/codecs/text/test_text_link.py",
    "tests/adapters/codecs/text/test_whole_link.py",
    "tests/adapters/transports/test_gate.py",
    "tests/engine/store/operations/test_appended_messages.py",
    "tests/engine/store/core/test_anchor_and_lock.py",
    "tests/engine/store/operations/test_number_bearers.py",
    "tests/engine/store/operations/test_decisions.py",
    "tests/engine/store/core/test_durable.py",
    "tests/engine/store/operations/test_held_deliveries.py",
    "tests/engine/store/journal/test_journal_core.py",
    "tests/engine/delivery/test_lanes.py",
    "tests/engine/store/journal/test_opening.py",
    "tests/engine/store/operations/test_order_and_claims.py",
    "tests/engine/store/operations/test_outbox_states.py",
    "tests/engine/store/operations/test_overtaken.py",
    "tests/engine/store/operations/test_pauses.py",
    "tests/engine/store/queries/test_reading.py",
    "tests/engine/store/lifecycle/test_key_rotation.py",
    "tests/engine/store/operations/test_short_memories.py",
    "tests/engine/store/core/test_writer.py",
    "tests/engine/actions/test_actions.py",
    "tests/engine/actions/test_attempts_under_way.py",
    "tests/engine/receiving/test_channel.py",
    "tests/engine/actions/test_replay.py",
    "tests/engine/runtime/test_seen_on_a_bad_morning.py",
    "tests/engine/receiving/test_unstored.py",
    "tests/engine/runtime/test_rolled_back.py",
    "tests/engine/runtime/test_who_is_who.py",
    "tests/faults/test_overlong.py",
    "tests/faults/test_store_disk.py",
    "tests/faults/test_store_pinned_reader.py",
    "tests/results/test_late_refusals.py",
    "tests/results/test_numbers_used_again.py",
    "tests/results/test_order_moved.py",
    "tests/results/test_results_issued_again.py",
    "tests/results/test_repeats.py",
    "tests/results/test_critical_held.py",
    "tests/results/test_documents_in_succession.py",
    "tests/results/test_lists_in_succession.py",
    "tests/results/test_results_in_succession.py",
    "tests/results/test_results_in_succession_hl7.py",
    "tests/site/test_set_aside.py",
    "tests/results/test_two_persons.py",
)


def measure(more: list[str]) -> int:
    """Runs the tests and reports; 0 where all is reached and nothing fails."""
    import coverage
    import pytest

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    cov = coverage.Coverage(data_file=None, branch=True, include=list(CORE_MODULES), config_file=False)
    cov.start()
    # Without examples that are drawn: what is reached does not depend on chance.
    failed = pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not hypothesis", *CORE_TESTS, *more])
    cov.stop()
    reached = cov.report(show_missing=True, skip_covered=True, precision=2)
    if failed:
        return int(failed)
    if reached < 100:
        print("A line or branch of the durable core is reached by no test: write one, or take the line out.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(measure(sys.argv[1:]))
