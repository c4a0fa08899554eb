"""Sensors that fail half-way, and what they show then; the truth is known all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.testing import Fault as Failure
from perun_like.testing import Machine

from .fault import Fault
from .machines import MACHINE, MS

_S = 10**9
_LATE_S = 0.5


def failing(kind: str, *texts: str, back: bool = False, delay_ns: int = 0) -> Callable[[Random], Machine]:
    """A machine of which a counter fails from a random moment on, and comes back after a random time perhaps."""

    def machine(random: Random) -> Machine:
        start_ns = int(random.uniform(0.3, 0.9) * _S)
        stop_ns = start_ns + int(random.uniform(0.02, 0.5) * _S) if back else None
        text = random.choice(texts or ("",))
        zone = random.choice(MACHINE.zones)
        return MACHINE.with_faults(zone.path, Failure(kind, start_ns, stop_ns, text=text, delay_ns=delay_ns))

    return machine


def others_go_on(tree: DataNode, recording: Recording) -> Iterator[str]:
    """What other backends read must not wait for one that blocks."""
    for stream in recording.hosts[0].streams:
        late_s = (recording.window_ns[1] - int(stream.t1_ns[-1])) / 1e9
        if stream.backend != "rapl" and late_s > stream.period_ns / 1e9 + _LATE_S:
            yield f"{stream.backend} has no samples of the last {late_s:.3f} s"


NONSENSE = ("", "\n", "nan\n", "-5\n", "0x10\n", "1e9\n", "\x00\x00\x00", "9" * 30 + "\n", "12 34\n", "\xff\xfe\n")
LOWER = ("0\n", "17\n", "1000000\n")

FAULTS = [
    Fault("counter: permission lost", machine=failing("forbidden"), length_s=(0.8, 1.4)),
    Fault("counter: permission lost and given back", machine=failing("forbidden", back=True), length_s=(0.8, 1.4)),
    Fault("counter: device vanishes", machine=failing("vanished"), length_s=(0.8, 1.4)),
    Fault("counter: device vanishes and returns", machine=failing("vanished", back=True), length_s=(0.8, 1.4)),
    Fault("counter: reads fail for a while", machine=failing("dropped", back=True), length_s=(0.8, 1.4)),
    Fault("counter: garbage", machine=failing("garbage", *NONSENSE), length_s=(0.8, 1.4)),
    Fault("counter: garbage for a while", machine=failing("garbage", *NONSENSE, back=True), length_s=(0.8, 1.4)),
    Fault("counter: jumps back", machine=failing("garbage", *LOWER), length_s=(0.8, 1.4)),
    Fault("counter: jumps back and forth", machine=failing("garbage", *LOWER, back=True), length_s=(0.8, 1.4)),
    Fault(
        "counter: a read blocks for seconds",
        machine=failing("blocked", delay_ns=4000 * MS),
        look=others_go_on,
        length_s=(1.5, 2.0),
    ),
    Fault(
        "counter: reads are slow for a while",
        machine=failing("blocked", back=True, delay_ns=150 * MS),
        look=others_go_on,
        length_s=(0.8, 1.4),
    ),
]
