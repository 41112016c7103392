"""The C library's allocator: memory that a large message or a build has freed goes back to the system."""

import ctypes

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
