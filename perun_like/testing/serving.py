"""The process that serves a simulated powercap tree, from mount to unmount."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading

from perun_like.testing.fuse import Server
from perun_like.testing.machine import Machine
from perun_like.testing.mount import FuseUnavailableError, mount, unmount
from perun_like.testing.powercap_tree import powercap_tree

READY = "ready\n"


def serve(machine: Machine, mountpoint: str, greeting: str, parent_pid: int | None = None) -> None:
    """Serve a machine's powercap tree until it is unmounted or this process is told to end, then unmount it.

    SIGINT, SIGTERM and SIGHUP tell it to end.

    Args:
        machine: With the origin that its counters count from.
        mountpoint: An empty directory.
        greeting: Written to standard output when the tree can be read.
        parent_pid: End also when this process does, or when standard input is closed.

    Raises:
        FuseUnavailableError: it can't be mounted.
    """
    descriptor = mount(mountpoint)
    try:
        server = Server(descriptor, powercap_tree(machine), os.getuid())
        unmounted, closed_at_unmount = os.pipe()
        threading.Thread(target=_serve_until_unmounted, args=(server, closed_at_unmount), daemon=True).start()
        sys.stdout.write(greeting)
        sys.stdout.flush()
        parent = [] if parent_pid is None else [sys.stdin.fileno(), *_process(parent_pid)]
        select.select([unmounted, _signals(), *parent], [], [])
    finally:
        unmount(mountpoint)


def serve_parent(mountpoint: str) -> int:
    """Serve the machine on the first line of standard input as long as the parent wants it; an exit code.

    Answers ``ready`` on standard output, or the reason and remedy of :class:`FuseUnavailableError` as JSON.
    """
    parent_pid = os.getppid()
    machine = Machine.from_json(sys.stdin.readline())
    try:
        serve(machine, mountpoint, READY, parent_pid)
    except FuseUnavailableError as error:
        sys.stdout.write(json.dumps({"reason": error.reason, "remedy": error.remedy}) + "\n")
        return 1
    os.rmdir(mountpoint)
    return 0


def _serve_until_unmounted(server: Server, closed_at_unmount: int) -> None:
    try:
        server.serve()
    finally:
        os.close(closed_at_unmount)


def _process(pid: int) -> list[int]:
    """A descriptor that is readable once a process has ended; none where the system doesn't have that.

    The end of standard input tells the same, unless the parent's own children have inherited the pipe to us.
    """
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def _signals() -> int:
    """A descriptor that is readable once a signal has asked us to end."""
    asked, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _let_the_descriptor_tell)
    return asked


def _let_the_descriptor_tell(_number: int, _frame: object) -> None:
    """Do nothing, in place of ending at once with the tree still mounted."""
