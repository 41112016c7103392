"""How many examples a test draws, or how often it does a thing: its own number, or in the fast set a part of it."""

import hypothesis

PART = 8  # of the fast set: one in so many
LEAST = 5
USUAL = 100  # of a test that names no number; hypothesis' own

_fewer = False


def fewer() -> None:
    """From now on modules of tests are imported for the fast set."""
    global _fewer
    _fewer = True
    hypothesis.settings.register_profile("fast", parent=hypothesis.settings(), max_examples=examples(USUAL))
    hypothesis.settings.load_profile("fast")


def examples(number: int, *, least: int = LEAST) -> int:
    """``number`` in a whole run; in the fast set a part of it, and ``least`` of them."""
    return min(number, max(least, number // PART)) if _fewer else number
