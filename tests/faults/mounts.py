"""Mounts of this process's namespace, made by the kernel's own calls."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

READ_ONLY, REMOUNT, BIND = 1, 32, 4096
_DETACH = 2
_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}


class Mount(NamedTuple):
    """A line of ``/proc/self/mountinfo``.

    Attributes:
        path: Where it is.
        flags: What holds for this mount alone, as :func:`mount` takes it.
        shares: Whether others see what is mounted below it, or we what they mount there.
    """

    path: str
    flags: int
    shares: bool


def mounts() -> list[Mount]:
    """All there are, those on top of others last."""
    return [_of_line(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _of_line(line: str) -> Mount:
    fields, _, _ = line.partition(" - ")
    _, _, _, _, path, options, *shares = fields.split()
    path = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), path)
    return Mount(path, sum(_FLAGS.get(option, 0) for option in options.split(",")), bool(shares))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    words = [os.fsencode(word) for word in (source, target, kind)]
    _check(libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options)), target)


def unmount(target: str) -> None:
    """Take away what was mounted last there, in use or not.

    Raises:
        OSError: the kernel refuses, or nothing is mounted there.
    """
    _check(ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(target), _DETACH), target)


def protect(paths: Iterable[str]) -> None:
    """Make mounts read-only, for this namespace alone: ``BIND`` has the kernel leave their file systems as they are.

    Raises:
        OSError: the kernel refuses.
    """
    flags = {found.path: found.flags for found in mounts()}
    for path in paths:
        mount("", path, "", REMOUNT | BIND | READ_ONLY | flags[path])


def is_read_only(path: str) -> bool:
    """Whether nothing below a mount can be written, as the kernel says."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _check(result: int, target: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)
