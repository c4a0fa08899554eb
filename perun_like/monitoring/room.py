"""Room for the libraries that make results: OpenBLAS ends the process that has none, with an exit code of its own."""

from __future__ import annotations

import os
import sys
from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

from perun_like.errors import PerunError

_LIBRARIES_B = 120 << 20  # of address space, for numpy and h5py
_THREAD_B = 40 << 20  # and for each thread of OpenBLAS, of which there is one for each CPU
_MOST_THREADS = 64


def check_room() -> None:
    """See whether numpy and h5py can be imported under this process's limit on address space.

    Raises:
        PerunError: they might not.
    """
    limit_b, _ = getrlimit(RLIMIT_AS)
    if limit_b == RLIM_INFINITY or "numpy" in sys.modules:
        return
    needed_b, used_b = _LIBRARIES_B + _THREAD_B * min(os.cpu_count() or 1, _MOST_THREADS), _used_b()
    if used_b is not None and (left_b := limit_b - used_b) < needed_b:
        raise PerunError(
            f"the limit on address space (ulimit -v) leaves {left_b >> 20} MiB for numpy and h5py, which may need"
            f" {needed_b >> 20}: recover where it is higher"
        )


def _used_b() -> int | None:
    """Address space that this process has taken; None where the system doesn't tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
