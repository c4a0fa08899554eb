"""The processes we descend from, nearest first, as Linux's process file system has them; elsewhere there are none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple


class Ancestor(NamedTuple):
    """A process.

    Attributes:
        directory: Its directory in the process file system.
        name: Its name, at most 15 characters.
        parent: Its parent's pid.
        start_ticks: When it was started, in the kernel's ticks since boot.
    """

    directory: str
    name: str
    parent: int
    start_ticks: str

    @property
    def pid(self) -> int:
        """Its pid."""
        return int(self.directory.rpartition("/")[2])

    def has(self, variable: str) -> bool:
        """Whether it was started with a variable in its environment. Of another user's process: no."""
        try:
            with open(f"{self.directory}/environ", "rb") as file:
                return any(entry.startswith(variable.encode() + b"=") for entry in file.read().split(b"\0"))
        except OSError:
            return False

    def option(self, name: str) -> str | None:
        """What follows an option on its command line; None if it hasn't got it, or can't be read."""
        try:
            with open(f"{self.directory}/cmdline", "rb") as file:
                words = file.read().decode(errors="surrogateescape").split("\0")
        except OSError:
            return None
        return words[words.index(name) + 1] if name in words[:-1] else None

    @property
    def started_unix_s(self) -> float:
        """When it was started."""
        ago_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(self.start_ticks) / os.sysconf("SC_CLK_TCK")
        return time.time() - ago_s

    @property
    def identity(self) -> str:
        """Boot, pid and start time: no other process ever has the same."""
        proc, _, pid = self.directory.rpartition("/")
        return f"{_boot_id(proc)} {pid} {self.start_ticks}"


def ancestors(proc: str, pid: int | None = None) -> Iterator[Ancestor]:
    """Ancestors of a process as far as they can be seen from here.

    Args:
        proc: Where the process file system is mounted.
        pid: The process; None: this one.
    """
    ours = None if pid is None else _read(proc, pid)
    parent = os.getppid() if pid is None else ours.parent if ours else 0
    while parent > 0 and (ancestor := _read(proc, parent)):
        yield ancestor
        parent = ancestor.parent


def _read(proc: str, pid: int) -> Ancestor | None:
    try:
        with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            before, _, after = file.read().rpartition(")")  # a name may have brackets
    except OSError:
        return None
    fields = after.split()
    return Ancestor(f"{proc}/{pid}", before.partition("(")[2], int(fields[1]), fields[19])


def _boot_id(proc: str) -> str:
    try:
        with open(f"{proc}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
