"""Memory of a process: the C library's allocator, and the garbage collector once the configuration is built.

Memory that a large message or a build has freed goes back to the system.

Reading YAML and compiling mappings leaves a fragmented heap, and some hundred thousand objects that live as long as the
configuration. Free memory is returned to the system (about 10 MiB for a small site); the objects are frozen, so that
the collector does not scan them again and again, which would stop the event loop for tens of milliseconds each time.

A message creates some thousand objects without cycles, so the collector has little to find and runs seldom.
"""

import ctypes
import gc

LARGE_BYTES = 256 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_apart() -> None:
    """Map each block above `LARGE_BYTES` by itself, so that freeing it gives it back.

    Otherwise glibc puts blocks as large as one that was freed, up to 32 MiB, on the heap (mallopt(3)), and smaller
    ones between them keep their memory for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # as below
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Give the holes back to the system. Takes milliseconds; any thread may call it, and others run meanwhile."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it; elsewhere there is nothing to do
    if malloc_trim is not None:
        malloc_trim(0)


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
    keep_large_apart()
    trim()
