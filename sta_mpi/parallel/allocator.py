"""Memory that is free and still counts: giving it back before a plan is compared with the node."""

import ctypes
import gc
import sys


def give_back_freed_memory() -> bool:
    """Return what the C library keeps of freed arrays to the kernel.

    glibc keeps freed blocks in its heap, which plans would take for memory in use. Returns False
    where the C library is another one.
    """
    gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return False
    return True
