"""Memory that is free and still counts: giving it back to the kernel.

glibc keeps freed blocks in its heap, between arrays that stay, and plans would take them for
memory in use. Where MPI or arrays below its threshold of 32 MiB keep it from mapping large
blocks apart, such holes grow to GiB in hours.
"""

import ctypes
import gc
import sys


def give_back_freed_memory() -> bool:
    """Free what only cycles hold, then `trim_heap`: before a plan is compared with the node."""
    gc.collect()
    return trim_heap()


def trim_heap() -> bool:
    """Return what the C library keeps of freed arrays to the kernel; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return False
    return True
