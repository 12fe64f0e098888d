"""What the C library does with freed memory: glibc gives large blocks back at once, and training asks for them again.

Every step makes the same large tensors, and each page of a block that was given back is faulted in and cleared anew.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc: malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the pages it frees, for its later blocks; whether that worked (glibc alone knows how).

    Exact: only where a block lies changes. The process stays as large as it was at its largest.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    thresholds = ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, (1 << 31) - 1))  # bytes
    return all(library.mallopt(which, size) for which, size in thresholds)
