"""The priority of a process beside the others of its machine."""

import os
from contextlib import suppress

LOWEST = 19


def give_way(by: int = LOWEST) -> None:
    """Let other work go first. Where the system refuses that (a filter of system calls), the work is done as it is.

    Args:
        by: steps of ``nice(2)`` below the usual priority; a process that gives way already gives way no further.
    """
    with suppress(OSError):
        os.nice(max(0, by - os.nice(0)))
