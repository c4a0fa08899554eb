"""Facts about the host and this process that go beside the samples."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

_MAXERROR_US, _TIME_ERROR = 3, 5  # adjtimex(2): the word of struct timex, and the state of a clock that nobody keeps


def host_facts(proc_root: str = "/proc") -> dict[str, Any]:
    """Who this host is: names, identity, processor and memory. What can't be read is None."""
    uname = os.uname()
    return {
        "hostname": uname.nodename,
        "boot_id": host_identity(proc_root),
        "kernel": f"{uname.sysname} {uname.release}",
        "machine": uname.machine,
        "logical_cpus": os.cpu_count(),
        "cpu_model": _field(f"{proc_root}/cpuinfo", "model name"),
        "memory_b": _kib(_field(f"{proc_root}/meminfo", "MemTotal")),
    }


def host_identity(proc_root: str = "/proc") -> str:
    """What tells this host from others, whatever they are called."""
    named = os.environ.get("PERUN_HOST_ID") or _line(f"{proc_root}/sys/kernel/random/boot_id")
    return named or os.uname().nodename


def clocks() -> dict[str, int]:
    """The host's clocks at one instant, in ns: what times of different hosts are compared by."""
    monotonic_ns = time.monotonic_ns()
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return {"monotonic_ns": monotonic_ns, "realtime_ns": time.time_ns(), "boottime_ns": time.clock_gettime_ns(boottime)}


def clock_error_ns() -> int | None:
    """How far real time may be off, as told to the kernel by what keeps it right (adjtimex); None if nothing does."""
    import ctypes  # 5 ms: for who has the time

    words = (ctypes.c_long * 64)()  # struct timex; no mode is set, so that nothing is changed
    try:
        state = ctypes.CDLL(None).adjtimex(words)
    except (OSError, AttributeError):  # not Linux
        return None
    return words[_MAXERROR_US] * 1000 if 0 <= state < _TIME_ERROR else None


def peak_memory_b(proc_root: str = "/proc") -> int | None:
    """Largest resident set of this process so far."""
    return _kib(_field(f"{proc_root}/self/status", "VmHWM"))


def detach(kept: int = 0) -> None:
    """Stop being part of the application's surroundings: its signals, its descriptors, its CPUs.

    Args:
        kept: How many descriptors from 3 on stay open.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the monitor's pipe says when to end, whoever is killed
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by who started us, we couldn't wait for a process of ours
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        if int(name) > 2 + kept:
            _close_quietly(int(name))
    for fd in range(3, 3 + kept):
        os.set_inheritable(fd, False)  # a process of ours that outlived us must not seem to be us
    if hasattr(os, "sched_setaffinity"):
        # The kernel keeps only the CPUs that the cpuset allows, and refuses if it allows none of these: in a container
        # CPUs needn't be numbered from 0. Where we run then is of no consequence.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
    _be_punctual()


def _be_punctual() -> None:
    """Ask for wake-ups within 1 us of the time wanted rather than 50 us: threads started later inherit it."""
    # Not Linux, or forbidden: sweeps are a little later, and their times say so.
    with contextlib.suppress(OSError), open("/proc/self/timerslack_ns", "w") as file:
        file.write("1")


def _close_quietly(fd: int) -> None:
    with contextlib.suppress(OSError):  # the listing's own descriptor has been closed
        os.close(fd)


def _line(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def _field(path: str, name: str) -> str | None:
    try:
        with open(path) as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return None


def _kib(text: str | None) -> int | None:
    return None if text is None else int(text.split()[0]) * 1024
