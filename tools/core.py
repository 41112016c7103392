"""The durable core: from a byte on the wire to its acknowledgement, and from the journal to a delivery that is settled.

What stands here is held to more than the rest: every line and every branch is reached by a test (`make coverage`), and
a sample of mutants is tried (`make mutants MUTANTS="--group core"`). `docs/quality.md` has the figures.
"""

CORE_MODULES = (
    "engine/journal.py",
    "engine/batch.py",
    "engine/writer.py",
    "engine/outbox.py",
    "engine/anchor.py",
    "engine/chain.py",
    "engine/lane.py",
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

# Quick, in one process, with a real SQLite: what a killed child reaches does not count.
CORE_TESTS = (
    "tests/adapters/codecs/test_astm_both_sides.py",
    "tests/adapters/codecs/test_astm_link.py",
    "tests/adapters/codecs/test_astm_sender.py",
    "tests/adapters/codecs/test_astm_sizes.py",
    "tests/adapters/codecs/test_astm_whole_frames.py",
    "tests/adapters/codecs/test_auto_link.py",
    "tests/adapters/codecs/test_hl7v2_ack.py",
    "tests/adapters/codecs/test_links_of_channels.py",
    "tests/adapters/codecs/test_mllp_link.py",
    "tests/adapters/codecs/test_text_link.py",
    "tests/adapters/codecs/test_whole_link.py",
    "tests/engine/store",
)
