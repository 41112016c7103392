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
    "engine/journal/__init__.py",
    "engine/journal/submitting.py",
    "engine/journal/incoming.py",
    "engine/journal/outgoing.py",
    "engine/journal/decisions.py",
    "engine/journal/keys.py",
    "engine/journal/opening.py",
    "engine/batch.py",
    "engine/writer.py",
    "engine/outbox/moving.py",
    "engine/outbox/queueing.py",
    "engine/outbox/claims.py",
    "engine/outbox/attempts.py",
    "engine/outbox/decisions.py",
    "engine/anchor.py",
    "engine/durable.py",
    "engine/chain.py",
    "engine/lane.py",
    "engine/channel.py",
    "engine/channel_parts.py",
    "engine/unkept.py",
    "engine/superseding.py",
    "adapters/codecs/mllp.py",
    "adapters/codecs/astm_link.py",
    "adapters/codecs/astm_frames.py",
    "adapters/codecs/astm_sender.py",
    "adapters/codecs/astm_messages.py",
    "adapters/codecs/text_link.py",
    "adapters/codecs/text_framing.py",
    "adapters/codecs/whole_link.py",
    "adapters/codecs/auto_link.py",
    "adapters/codecs/hl7v2_ack.py",
)

# In one process, with a real SQLite and a real event loop: what a child reaches before it is killed does not count.
CORE_TESTS = (
    "tests/adapters/codecs/test_astm_both_sides.py",
    "tests/adapters/codecs/test_astm_link.py",
    "tests/adapters/codecs/test_astm_sender.py",
    "tests/adapters/codecs/test_astm_whole_frames.py",
    "tests/adapters/codecs/test_auto_link.py",
    "tests/adapters/codecs/test_hl7v2_ack.py",
    "tests/adapters/codecs/test_links_of_channels.py",
    "tests/adapters/codecs/test_mllp_link.py",
    "tests/adapters/codecs/test_text_link.py",
    "tests/adapters/codecs/test_whole_link.py",
    "tests/adapters/transports/test_gate.py",
    "tests/engine/store/test_anchor_and_lock.py",
    "tests/engine/store/test_bearers.py",
    "tests/engine/store/test_decisions.py",
    "tests/engine/store/test_durable.py",
    "tests/engine/store/test_held_deliveries.py",
    "tests/engine/store/test_journal_core.py",
    "tests/engine/store/test_lanes.py",
    "tests/engine/store/test_opening.py",
    "tests/engine/store/test_order_and_claims.py",
    "tests/engine/store/test_outbox_states.py",
    "tests/engine/store/test_overtaken.py",
    "tests/engine/store/test_pauses.py",
    "tests/engine/store/test_reading.py",
    "tests/engine/store/test_rotation.py",
    "tests/engine/store/test_short_memories.py",
    "tests/engine/store/test_writer.py",
    "tests/engine/test_acts.py",
    "tests/engine/test_attempts_under_way.py",
    "tests/engine/test_channel.py",
    "tests/engine/test_replaying.py",
    "tests/engine/test_seen_on_a_bad_morning.py",
    "tests/engine/test_unkept.py",
    "tests/engine/test_rolled_back.py",
    "tests/engine/test_who_is_who.py",
    "tests/faults/test_overlong.py",
    "tests/faults/test_store_disk.py",
    "tests/faults/test_store_pinned_reader.py",
    "tests/test_late_refusals.py",
    "tests/test_repeats.py",
    "tests/test_critical_held.py",
    "tests/test_documents_in_succession.py",
    "tests/test_lists_in_succession.py",
    "tests/test_results_in_succession.py",
    "tests/test_results_in_succession_hl7.py",
    "tests/test_set_aside.py",
    "tests/test_two_persons.py",
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
