"""The C library's allocator: return the memory that a large message or a build has freed to the system."""

import ctypes


def trim() -> None:
    """Give the holes back to the system. Takes milliseconds; any thread may call it, and others run meanwhile."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it; elsewhere there is nothing to do
    if malloc_trim is not None:
        malloc_trim(0)
