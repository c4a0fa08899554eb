"""A place apart, in which faults do no harm: nothing of this machine can be written there, or is seen to be killed.

A worker is started by :data:`COMMAND` in namespaces of its own and calls :func:`enter` before anything else. From then
on only fresh directories in memory can be written, ``/tmp``, ``/dev/shm`` and its control groups; all the rest of the
machine is read-only, and its processes aren't there. What a fault mounts ends with the worker.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from .mounts import BIND, is_read_only, mount, mounts, protect, unmount

WRITABLE = ("/tmp", "/dev/shm")
_OUTSIDE = "FAULTS_OUTSIDE"  # the namespaces of who has started a worker: of mounts, and of shared memory
_GROUPS = "FAULTS_GROUPS"  # the control groups that a worker may use
_MARK = "perun-apart-"
_AS_ROOT = () if os.getuid() == 0 else ("--user", "--map-root-user")
# The first process of its namespace has to wait for those whose parents die: a shell does.
COMMAND = (
    *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--propagation", "private", *_AS_ROOT),
    *("sh", "-c", '"$@"; exit $?', "sh"),
)


class NotApart(Exception):  # noqa: N818 - not a fault of anybody's: this machine doesn't allow it
    """Faults can't be kept away from this machine, for a reason."""


def environ(groups: list[str]) -> dict[str, str]:
    """What :func:`enter` has to be told by who starts a worker."""
    return {_OUTSIDE: " ".join(_namespaces()), _GROUPS: os.pathsep.join(groups)}


def enter() -> None:
    """Go apart, and see that it is so.

    Raises:
        NotApart: it can't be had here; nothing may be tried then that could do harm.
    """
    try:
        _check_alone()
        _go_apart()
        check()
    except OSError as error:
        raise NotApart(f"this process can't be kept apart from the machine: {error}") from error
    tempfile.tempdir = WRITABLE[0]


def check() -> None:
    """See that nothing of the machine can be written.

    Raises:
        NotApart: something can.
    """
    allowed = {*WRITABLE, *_groups()}
    for path in {found.path for found in mounts()} - allowed:
        with suppress(FileNotFoundError):  # another mount hides it
            if not is_read_only(path):
                raise NotApart(f"{path} can be written")
    for path in {"/etc", "/var/tmp", str(Path.home()), sys.prefix, str(_repository())} - allowed:
        if os.path.isdir(path):
            _check_refuses(path)


def groups() -> list[str]:
    """The control groups that this worker may use, as paths."""
    return _groups()


def has_memory_of_its_own() -> bool:
    """Whether no process outside sees the System V segments that this one sees."""
    outside = os.environ.get(_OUTSIDE, "").split()
    return bool(outside) and not set(_namespaces()).intersection(outside)


def _namespaces() -> list[str]:
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "ipc")]


def _groups() -> list[str]:
    return [path for path in os.environ.get(_GROUPS, "").split(os.pathsep) if path]


def _repository() -> Path:
    return Path(__file__).resolve().parents[2]


def _check_alone() -> None:
    if not has_memory_of_its_own():
        raise NotApart("this process shares its mounts or its memory with the one that has started it")
    if shared := [found.path for found in mounts() if found.shares]:
        raise NotApart(f"mounts are shared with other processes: {', '.join(shared)}")


def _go_apart() -> None:
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in _needed()}
    for group in _groups():
        mount(group, group, flags=BIND)
    _hide_what_is_mounted_in(*WRITABLE)
    mount("proc", "/proc", "proc")
    protect({found.path for found in mounts()} - set(_groups()))
    for path in WRITABLE:
        mount(f"{_MARK}tmpfs", path, "tmpfs", options="mode=1777,size=2g")
    for path, fd in kept.items():
        if path.startswith(tuple(f"{place}/" for place in WRITABLE)):
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{fd}", path, flags=BIND)
            protect([path])
        os.close(fd)
    os.chdir("/")


def _needed() -> list[str]:
    """Directories that a worker has to see, wherever they are: what it is made of; those around others first."""
    paths = {*sys.path, sys.prefix, sys.base_prefix, str(_repository())}
    return sorted(os.path.realpath(path) for path in paths if path and os.path.isdir(path))


def _hide_what_is_mounted_in(*places: str) -> None:
    """Others' mounts there must neither stay in use by us nor be looked at: who serves them may be gone.

    (In a user namespace they can't be taken away one by one. What is mounted over them hides them all the same.)
    """
    inside = tuple(f"{place}/" for place in places)
    for found in reversed(mounts()):
        if found.path.startswith(inside):
            with suppress(OSError):
                unmount(found.path)


def _check_refuses(directory: str) -> None:
    path = os.path.join(directory, f"{_MARK}{os.urandom(8).hex()}")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno != errno.EROFS:
            raise NotApart(f"{directory} is not known to be read-only: {error}") from error
        return
    with suppress(OSError):
        os.unlink(path)
    raise NotApart(f"{directory} can be written")
