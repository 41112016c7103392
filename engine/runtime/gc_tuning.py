"""Garbage collection and heap of a process once its configuration is built.

Reading YAML and compiling mappings leaves a fragmented heap, and some hundred thousand objects that live as long as the
configuration. Free memory is returned to the system (about 10 MiB for a small site); the objects are frozen, so that
the collector does not scan them again and again, which would stop the event loop for tens of milliseconds each time.

A message creates some thousand objects without cycles, so the collector has little to find and runs seldom.
"""

import gc

from engine.model.process import allocator

_YOUNG_OBJECTS = 20_000  # net allocations before a collection; a message makes twice Python's default of 700


def settle(*, first: bool = False) -> None:
    """Call after every build. Takes some tens of milliseconds.

    Args:
        first: no configuration was in use before. Only modules are frozen then; they stay, and are not looked at.
    """
    if not first:
        gc.unfreeze()  # objects of an earlier configuration can be collected now
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    allocator.keep_large_apart()
    allocator.trim()
