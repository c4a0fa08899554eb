"""Whole runs on the simulated machine, and for each figure that came out of them what it should have been.

The machine's counters are files that our sampler and other tools read as they would read real ones; the truth is the
integral of the power that the counters are made from.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import MS, PYTHON, S, nvml_stub
from watching import watched

import perun_like
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording
from perun_like.testing import (
    Constant,
    Fault,
    Machine,
    Power,
    Ramp,
    RandomWalk,
    SimulatedPowercap,
    SquareWave,
    Sum,
    Zone,
    simulated_powercap,
)

RIGHT, AT_LEAST, MISSING, WRONG = "truth within the bounds", "at least, and it is", "said to be missing", "WRONG"


@dataclass(frozen=True)
class Outcome:
    """One figure and its truth.

    Attributes:
        kind: What was measured: the power's name, or the region's length.
        period: Time between reads, as given to the option.
        window_s: How long it lasted.
        truth_j: What it used.
        metric: What was said.
    """

    kind: str
    period: str
    window_s: float
    truth_j: float
    metric: Metric

    @property
    def error_percent(self) -> float | None:
        """How far the value is off; None if there is none."""
        value = self.metric.value
        return None if value is None else 100 * abs(value - self.truth_j) / self.truth_j

    @property
    def width_percent(self) -> float | None:
        """Distance of the bounds, of the truth."""
        lower, upper = self.metric.lower, self.metric.upper
        return None if lower is None or upper is None else 100 * (upper - lower) / self.truth_j

    @property
    def verdict(self) -> str:
        """Whether what was said is true."""
        said = self.metric
        if said.value is None:
            return MISSING if said.reason else WRONG
        if said.lower is None or said.lower > self.truth_j:
            return WRONG
        if said.upper is None:
            return AT_LEAST if said.reason or said.missing else WRONG
        return RIGHT if self.truth_j <= said.upper else WRONG


def powers(seed: int) -> dict[str, Power]:
    """Powers of all kinds, at other phases for each seed."""
    rng = random.Random(seed)

    def square(period_ms: int, lo_w: float, hi_w: float) -> Power:
        return SquareWave(lo_w, hi_w, period_ms * MS, rng.randrange(period_ms * MS))

    points = [(second * S + rng.randrange(S), rng.uniform(10, 200)) for second in range(0, 64, 2)]
    return {
        "constant": Constant(rng.uniform(20, 200)),
        "square wave of 1 ms": square(1, 10, 250),
        "square wave of 3 ms": square(3, 5, 300),
        "square wave of 30 ms": square(30, 20, 180),
        "square wave of 130 ms": square(130, 20, 180),
        "square wave of 1 s": square(1000, 40, 160),
        "ramp": Ramp(points),
        "random walk of 3 ms": RandomWalk(15, 230, 3 * MS, seed),
        "random walk of 70 ms": RandomWalk(15, 230, 70 * MS, seed, stride_w=60),
        "all of them": Sum([Constant(10), square(2, 0, 40), square(170, 0, 60), RandomWalk(5, 60, 11 * MS, seed)]),
    }


def wrapping(seed: int) -> list[Zone]:
    """Zones whose registers wrap every 256 J, the first time early."""
    rng = random.Random(seed)
    return [
        Zone(
            f"intel-rapl:{n}",
            f"package-{n}",
            power,
            register_bits=22,
            start_uj=rng.randrange(150_000_000, 255_000_000),
            max_power_w=300,
        )
        for n, power in enumerate(powers(seed).values())
    ]


def failing(seed: int, seconds: float) -> list[tuple[str, Zone]]:
    """What can go wrong with a zone, and zones with which it does."""
    rng = random.Random(seed)
    end_ns = int(seconds * 1e9)

    def at() -> int:
        return rng.randrange(200 * MS, end_ns + 300 * MS)

    def times(kind: str, longest_ms: int, count: int = 5) -> list[Fault]:
        starts = sorted(at() for _ in range(count))
        delay_ns = rng.randrange(5 * MS, 60 * MS) if kind == "blocked" else 0
        return [Fault(kind, t, t + rng.randrange(1, longest_ms) * MS, delay_ns=delay_ns) for t in starts]

    faults: dict[str, Sequence[Fault]] = {
        "single reads dropped": times("dropped", 12, 9),
        "reads dropped for up to 0.4 s": times("dropped", 400),
        "texts that are no numbers": times("garbage", 50),
        "forbidden for a while": times("forbidden", 300, 2),
        "blocked reads": times("blocked", 100, 3),
        "vanished": [Fault("vanished", at())],
        "vanished for a while": times("vanished", 300, 1),
        "forbidden from the start": [Fault("forbidden", 0)],
    }
    walks = [RandomWalk(15, 230, 40 * MS, seed + n, stride_w=60) for n in range(len(faults))]
    plain = [
        (what, Zone(f"intel-rapl:{n}", f"package-{n}", walks[n], faults=some))
        for n, (what, some) in enumerate(faults.items())
    ]
    small: dict[str, Any] = {"register_bits": 22, "max_power_w": 300}
    wraps = [
        (f"{what}, wrapping", replace(zone, path=f"intel-rapl:{n}", name=f"package-{n}", **small))
        for n, (what, zone) in enumerate(plain[:4], len(plain))
    ]
    return plain + wraps


def whole_runs(zones: Sequence[tuple[str, Zone]], period: str, seconds: float) -> Iterator[Outcome]:
    """A program of some length; a figure for each zone."""
    with simulated_powercap(Machine([zone for _, zone in zones])) as powercap:
        tree, recording = _profile(["sleep", str(seconds)], period, powercap.environ)
        nodes = {node.id: node for node in tree.find(NodeType.SENSOR)}
        a_ns, b_ns = recording.window_ns
        for kind, zone in zones:
            true_j = powercap.truth_j(zone.path, a_ns, b_ns)
            node = nodes.get(f"rapl:{zone.name}")
            metric = node.metrics["energy_j"] if node is not None else _absent(recording, zone)
            yield Outcome(kind, period, (b_ns - a_ns) / 1e9, true_j, metric)


def _absent(recording: Recording, zone: Zone) -> Metric:
    """What the run says of a zone that isn't among its sensors: a reason, or nothing at all."""
    reasons = [entry.reason for entry in recording.hosts[0].missing if zone.name in entry.what]
    return Metric(None, "J", provenance=Provenance.MISSING, reason=reasons[0] if reasons else None)


# Regions within regions, each with a name of its own: each is a window. Lengths in ms; the clock is the sleep's.
REGIONS = """
import random, sys, time
from perun_like import region
random.seed(int(sys.argv[1]))
stop, number = time.monotonic() + float(sys.argv[2]), 0
def window(length_ms, *inner):
    global number
    number += 1
    end = time.monotonic() + length_ms / 1e3
    with region(f"{length_ms} ms {number}"):
        for other in inner:
            window(*other) if isinstance(other, tuple) else window(other)
        time.sleep(max(end - time.monotonic(), 0))
    time.sleep(random.uniform(0, 2e-3))
while time.monotonic() < stop:
    window(1000, (100, 10, 1, 3, 30), (100, 30, 1), 1, (300, (100, 3), (100, 10, 10)), (100, 1, 3, 10), 3)
"""
MANY_CALLS = """
import random, sys, time
from perun_like import region
random.seed(int(sys.argv[1]))
functions = [region(f"2 ms {number}")(lambda: time.sleep(random.uniform(0.0015, 0.0022))) for number in range(10)]
stop = time.monotonic() + float(sys.argv[2])
while time.monotonic() < stop:
    random.choice(functions)()
    time.sleep(random.uniform(0, 0.002))
"""
# The same, but the power goes up with each call: calls are made when the machine's power is known to be high.
FOLLOWED_CALLS = """
import json, sys, time
from perun_like import region
origin_ns = int(sys.argv[1])
with open(sys.argv[2]) as file:
    calls = json.load(file)
def wait(until_ns):
    time.sleep(max(until_ns - time.monotonic_ns(), 0) / 1e9)
functions = [region(f"2 ms {number}")(wait) for number in range(2)]
for number, (start_ns, stop_ns) in enumerate(calls):
    if time.monotonic_ns() < origin_ns + start_ns:
        wait(origin_ns + start_ns)
        functions[number % 2](origin_ns + stop_ns)
"""


def followed_calls(period: str, seconds: float, seed: int) -> Iterator[Outcome]:
    """Functions of 2 ms that draw four times the power of what is between them."""
    rng = random.Random(seed)
    t_ns, calls = 600 * MS, list[tuple[int, int]]()
    while t_ns < seconds * 1e9:
        calls.append((t_ns, t_ns + rng.randrange(1_600_000, 2_400_000)))
        t_ns = calls[-1][1] + rng.randrange(500_000, 5 * MS)
    points = [(0, 0.0), *((t, w) for a, b in calls for t, w in ((a, 0.0), (a, 120.0), (b, 120.0), (b, 0.0)))]
    power = Sum([Ramp(points), RandomWalk(20, 60, 20 * MS, seed, stride_w=10)])
    zone = Zone("intel-rapl:0", "package-0", power)
    with tempfile.TemporaryDirectory() as directory, simulated_powercap(Machine([zone])) as powercap:
        program, table = Path(directory, "program.py"), Path(directory, "calls.json")
        program.write_text(FOLLOWED_CALLS)
        table.write_text(json.dumps(calls))
        arguments = [str(powercap.machine.origin_ns), str(table)]
        yield from _regions([PYTHON, str(program), *arguments], period, powercap)


def regions(program: str, power: Power, period: str, seconds: float, seed: int) -> Iterator[Outcome]:
    """A program with regions; a figure for each region, of the time in all its calls."""
    zone = Zone("intel-rapl:0", "package-0", power)
    with tempfile.TemporaryDirectory() as directory, simulated_powercap(Machine([zone])) as powercap:
        path = Path(directory, "program.py")
        path.write_text(program)
        yield from _regions([PYTHON, str(path), str(seed), str(seconds)], period, powercap)


def _regions(program: Sequence[str], period: str, powercap: SimulatedPowercap) -> Iterator[Outcome]:
    (zone,) = powercap.machine.zones
    tree, recording = _profile(program, period, powercap.environ)
    (calls,) = recording.hosts[0].regions
    windows: dict[str, list[tuple[int, int]]] = {}
    for number, a_ns, b_ns in zip(calls.region.tolist(), calls.start_ns.tolist(), calls.stop_ns.tolist(), strict=True):
        windows.setdefault(calls.names[number], []).append((a_ns, b_ns))
    (whole,) = tree.find(NodeType.RUN)
    for region in whole.regions:
        mine = windows[region.name]
        true_j = sum(powercap.truth_j(zone.path, a_ns, b_ns) for a_ns, b_ns in mine)
        length_s = sum(b_ns - a_ns for a_ns, b_ns in mine) / 1e9
        yield Outcome(region.name.rpartition(" ")[0], period, length_s, true_j, region.metrics["energy_j"])


def gauges(seed: int, seconds: float, period: str) -> Iterator[Outcome]:
    """GPUs that have no counter, or show only means: bounds are heuristic there. Needs a C compiler."""
    stub, rng = nvml_stub(), random.Random(seed)
    lacking = "energy,fields"
    made = [
        stub.StubGpu(
            f"GPU-{number:04d}1111",
            model="Stub",
            lacks=lacking,
            capability=60 if number % 2 else 89,
            wave=rng.choice(["square", "ramp"]),
            low_w=rng.uniform(30, 90),
            high_w=rng.uniform(150, 390),
            period_s=rng.choice([0.03, 0.11, 0.5, 1.7, 4.0]) * rng.uniform(0.9, 1.1),
            tick_s=rng.choice([0.02, 0.05, 0.1]),
        )
        for number in range(8)
    ]
    with tempfile.TemporaryDirectory() as directory:
        environ = {"LD_LIBRARY_PATH": str(stub.build(Path(directory))), **stub.configure(Path(directory, "gpus"), made)}
        tree, recording = _profile(["sleep", str(seconds)], period, environ, "nvml")
        nodes = {node.id: node for node in tree.find(NodeType.SENSOR)}
        a_ns, b_ns = recording.window_ns
        for number, gpu in enumerate(made):
            metric = nodes[f"nvml:gpu{number}/power"].metrics["energy_j"]
            kind = "power at an instant" if gpu.capability == 60 else "means over 1 s"
            yield Outcome(kind, period, (b_ns - a_ns) / 1e9, gpu.truth_j(a_ns, b_ns), metric)


def _profile(
    program: Sequence[str], period: str, environ: dict[str, str], backend: str = "rapl"
) -> tuple[DataNode, Recording]:
    with watched(program, "--backend", backend, "--period", period, "--python", PYTHON, environ=environ) as run:
        run.finish()
        return perun_like.load(run.file), read_recording(run.file)
