"""The memory of a process once its configuration is built.

Reading YAML and compiling mappings leaves a heap full of holes, and some hundred thousand objects that live as long as
the configuration. The holes go back to the system (about 10 MiB for a small site); the objects are put where the
collector does not walk them again and again, which would stop the event loop for tens of milliseconds each time.
"""

import ctypes
import gc


def settle() -> None:
    """Call after every build. Takes some tens of milliseconds."""
    gc.unfreeze()  # what an earlier configuration left can be collected now
    gc.collect()
    gc.freeze()
    trim()


def trim() -> None:
    """Give the holes back to the system. Takes milliseconds; any thread may call it, and others run meanwhile."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it; elsewhere there is nothing to do
    if malloc_trim is not None:
        malloc_trim(0)
