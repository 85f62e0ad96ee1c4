"""Freed memory stays with the process: a step's tensors are as large as those of the step before.

The C library of most Linux systems gives freed tensors back to the system at the end of every step, and
gets the next step's from it page by page, each page filled with zeros first: thousands of pages a step.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

#: Options of mallopt(3): what is kept free at the end of the heap, and from what size on a tensor is a
#: piece of memory of its own, which is always given back.
TRIM, OWN = -1, -3

#: Bytes; an older C library takes no more than the second as the size of a piece of its own.
KEPT, OLDER = 2**30, 2**25


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to `KEPT` bytes that it has freed; tried once, true where it took effect.

    Nothing is done where the C library is another one, nor where the environment says how it allocates.
    """
    if any(name.startswith("MALLOC_") or name in ("LD_PRELOAD", "GLIBC_TUNABLES") for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt, _ = library.mallopt, library.gnu_get_libc_version
    except (AttributeError, OSError, TypeError):  # no such function, or no such way to look for it
        return False
    return bool(mallopt(OWN, KEPT) or mallopt(OWN, OLDER)) and bool(mallopt(TRIM, KEPT))
