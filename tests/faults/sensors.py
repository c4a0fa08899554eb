"""Sensors that fail half-way, and what they show then; the truth is known all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.testing import Fault as Failure
from perun_like.testing import Machine

from .fault import Fault, Unavailable
from .machines import MACHINE, MS
from .trial import Trial

_S = 10**9
_LATE_S = 0.5


def failing(kind: str, *texts: str, back: bool = False, delay_ns: int = 0) -> Callable[[Random], Machine]:
    """A machine of which a counter fails from a random moment on, and comes back after a random time perhaps."""

    def machine(random: Random) -> Machine:
        start_ns = int(random.uniform(0.5, 1.0) * _S)
        stop_ns = start_ns + int(random.uniform(0.02, 0.5) * _S) if back else None
        text = random.choice(texts or ("",))
        zone = random.choice(MACHINE.zones)
        return MACHINE.with_faults(zone.path, Failure(kind, start_ns, stop_ns, text=text, delay_ns=delay_ns))

    return machine


def in_time(trial: Trial) -> None:
    """Counters that fail before they were found aren't known to be there.

    Raises:
        Unavailable: they have.
    """
    if trial.powercap is not None and not trial.bare:
        machine = trial.powercap.machine
        first_ns = min(failure.start_ns for zone in machine.zones for failure in zone.faults)
        if time.monotonic_ns() > machine.origin_ns + first_ns:
            raise Unavailable("it took so long to start the program that the counter had failed before")


def others_go_on(tree: DataNode, recording: Recording) -> Iterator[str]:
    """What other backends read must not wait for one that blocks."""
    for stream in recording.hosts[0].streams:
        late_s = (recording.window_ns[1] - int(stream.t1_ns[-1])) / 1e9
        if stream.backend != "rapl" and late_s > stream.period_ns / 1e9 + _LATE_S:
            yield f"{stream.backend} has no samples of the last {late_s:.3f} s"


NONSENSE = ("", "\n", "nan\n", "-5\n", "0x10\n", "1e9\n", "\x00\x00\x00", "9" * 30 + "\n", "12 34\n", "\xff\xfe\n")
LOWER = ("0\n", "17\n", "1000000\n")


def counter(name: str, machine: Callable[[Random], Machine], **expected: Any) -> Fault:
    """A counter that fails while a program runs."""
    return Fault(f"counter: {name}", in_time, machine=machine, **{"length_s": (1.0, 1.5), **expected})


FAULTS = [
    counter("permission lost", failing("forbidden")),
    counter("permission lost and given back", failing("forbidden", back=True)),
    counter("device vanishes", failing("vanished")),
    counter("device vanishes and returns", failing("vanished", back=True)),
    counter("reads fail for a while", failing("dropped", back=True)),
    counter("garbage", failing("garbage", *NONSENSE)),
    counter("garbage for a while", failing("garbage", *NONSENSE, back=True)),
    counter("jumps back", failing("garbage", *LOWER)),
    counter("jumps back and forth", failing("garbage", *LOWER, back=True)),
    counter("a read blocks for seconds", failing("blocked", delay_ns=4000 * MS), look=others_go_on, length_s=(1.5, 2)),
    counter("reads are slow for a while", failing("blocked", back=True, delay_ns=150 * MS), look=others_go_on),
]
