"""Mounting a file system of ours on Linux: by ourselves if we may, else by ``fusermount3``."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import subprocess

from perun_like.errors import PerunError

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MNT_DETACH = 2
_DEVICE = "/dev/fuse"
_NAME = "perun-like"


class FuseUnavailableError(PerunError):
    """A file system can't be mounted here.

    Attributes:
        reason: Why not.
        remedy: What would help.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason
        self.remedy = remedy


def mount(mountpoint: str) -> int:
    """Mount a file system on a directory and return the ``/dev/fuse`` descriptor to serve it on.

    Raises:
        FuseUnavailableError: with the reason and a remedy.
    """
    if not os.path.exists(_DEVICE):
        reason = f"there is no {_DEVICE} (the kernel's module isn't loaded, or a container hides it)"
        remedy = "run 'modprobe fuse', or start the container with '--device /dev/fuse --cap-add SYS_ADMIN'"
        raise FuseUnavailableError(reason, remedy)
    try:
        return _mount_ourselves(mountpoint)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            reason = f"mounting on {mountpoint} failed ({error.strerror})"
            raise FuseUnavailableError(reason, "see what dmesg says about it") from error
    return _mount_by_helper(mountpoint)


def unmount(mountpoint: str) -> None:
    """Unmount, lazily if it is in use; nothing happens if it isn't mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(mountpoint)
    if libc.umount2(path, 0) == 0 or ctypes.get_errno() == errno.EINVAL:
        return
    if libc.umount2(path, _MNT_DETACH) == 0:
        return
    helper = _helper()
    if helper is not None:
        command = [helper, "-u", "-z", "-q", "--", mountpoint]
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def _mount_ourselves(mountpoint: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    ids = f"user_id={os.getuid()},group_id={os.getgid()}"
    options = f"fd={descriptor},rootmode=40000,{ids},allow_other".encode()
    flags = ctypes.c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if libc.mount(_NAME.encode(), os.fsencode(mountpoint), f"fuse.{_NAME}".encode(), flags, options) != 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(code, os.strerror(code))
    return descriptor


def _mount_by_helper(mountpoint: str) -> int:
    """Ask the set-uid helper: it mounts and passes the descriptor through a socket."""
    helper = _helper()
    if helper is None:
        remedy = "install fuse3, run as root, or start the container with '--cap-add SYS_ADMIN'"
        raise FuseUnavailableError("this user may not mount, and there is no fusermount3 to do it", remedy)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [helper, "-o", f"fsname={_NAME},subtype={_NAME},ro,nosuid,nodev", "--", mountpoint]
        environment = os.environ | {"_FUSE_COMMFD": str(theirs.fileno())}
        result = subprocess.run(
            command, env=environment, pass_fds=[theirs.fileno()], check=False, capture_output=True, text=True
        )
        if result.returncode != 0:
            reason = f"{helper} failed ({result.stderr.strip()})"
            raise FuseUnavailableError(reason, f"let this user read and write {_DEVICE}, or run as root")
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _helper() -> str | None:
    return shutil.which("fusermount3") or shutil.which("fusermount")
