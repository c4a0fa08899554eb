"""Processes of one trial, found by what they have inherited: never by their names alone."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TOKEN = "FAULT_TRIAL"


class Seen(NamedTuple):
    """A living process of a trial.

    Attributes:
        pid: Its id.
        command: Its command line, words separated by blanks.
        watched: Whether it is the application or something that the application has started.
    """

    pid: int
    command: str
    watched: bool

    @property
    def role(self) -> str:
        """``app``, ``sampler``, ``saver``, ``profiler``, or ``launcher``, which is none of ours."""
        if "perun_like.sampling" in self.command:
            return "sampler"
        if self.watched:
            return "app"
        if "perun_like.inplace" in self.command:
            return "saver"
        return "launcher" if Path(self.command.split()[0]).name.startswith(("mpi", "hydra")) else "profiler"


def of_trial(token: str) -> Iterator[Seen]:
    """All living processes that have inherited a trial's token.

    Raises:
        ValueError: it is empty, which is what processes have that are nobody's.
    """
    if not token:
        raise ValueError("an empty token is what processes have that are nobody's: no trial's is empty")
    mine = f"{TOKEN}={token}".encode()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError):  # it has ended
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if mine in variables:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # else it is ending
                    yield Seen(pid, command, any(name.startswith(b"PERUN_RUN=") for name in variables))


def await_end(pid: int, limit_s: float) -> bool:
    """Wait for anybody's process; whether it has ended in time."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([end], [], [], max(0.0, limit_s))[0])
    finally:
        os.close(end)


def left_over(token: str, app: int | None, limit_s: float) -> list[Seen]:
    """What is ours, or is the application itself, and lives on for longer than that."""
    until = time.monotonic() + limit_s
    while left := [seen for seen in of_trial(token) if seen.role not in ("app", "launcher") or seen.pid == app]:
        await_end(left[0].pid, until - time.monotonic())
        if time.monotonic() > until:
            return left
    return []


def kill_all(token: str) -> None:
    """End everything that a trial has started."""
    while seen := list(of_trial(token)):
        for process in seen:
            send(process.pid, signal.SIGKILL)
        for process in seen:
            await_end(process.pid, 5)


def send(pid: int, number: int) -> None:
    """Send a signal; one that has ended is none the worse for it."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
