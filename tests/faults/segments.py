"""Shared memory that has no name in any file system, as the kernel and its tools tell of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .fault import harmless
from .isolation import has_memory_of_its_own


def left() -> list[str]:
    """What there is in this worker's namespace, a line each."""
    return Path("/proc/sysvipc/shm").read_text().splitlines()[1:]


def remove_all() -> None:
    """Remove it.

    Raises:
        Harmful: it might be somebody's.
    """
    harmless(has_memory_of_its_own(), "shared memory would be removed that is somebody's")
    subprocess.run(["ipcrm", "--all=shm"], check=True)
