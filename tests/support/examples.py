"""How many examples a test draws, or how often it does a thing: its own number, or in the fast set a part of it."""

from hypothesis import settings

PART = 8  # of the fast set: one in so many
LEAST = 5
USUAL = 100  # of a test that names no number; hypothesis' own

# No deadline: it measures the machine, and a busy one makes good tests fail. Each test bounds its examples instead.
settings.register_profile("whole", deadline=None, print_blob=True)
settings.register_profile("fast", parent=settings.get_profile("whole"), max_examples=USUAL // PART)
settings.load_profile("whole")

_fewer = False


def fewer() -> None:
    """From now on modules of tests are imported for the fast set."""
    global _fewer
    _fewer = True
    settings.load_profile("fast")


def examples(number: int, *, least: int = LEAST) -> int:
    """``number`` in a whole run; in the fast set a part of it, and ``least`` of them."""
    return min(number, max(least, number // PART)) if _fewer else number
