"""The memory of a process once its configuration is built.

Reading YAML and compiling mappings leaves a heap full of holes, and some hundred thousand objects that live as long as
the configuration. The holes go back to the system (about 10 MiB for a small site); the objects are put where the
collector does not walk them again and again, which would stop the event loop for tens of milliseconds each time.

A message makes some thousand objects and leaves no cycle behind, so the collector has little to find and comes seldom.
"""

import gc

from engine.model import allocator

_YOUNG_OBJECTS = 20_000  # more than were let go since the last look; a message makes twice the 700 of Python's default


def settle() -> None:
    """Call after every build. Takes some tens of milliseconds."""
    gc.unfreeze()  # what an earlier configuration left can be collected now
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    allocator.trim()
