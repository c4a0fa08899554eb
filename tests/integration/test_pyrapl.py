"""pyRAPL on the simulated machine: as our backend against the truth, and by itself as another reader beside ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Run

import perun_like
from perun_like.analysis.counters import counters
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Recording, Stream
from perun_like.store.reader import read_recording
from perun_like.testing import (
    Constant,
    FuseUnavailableError,
    Machine,
    RandomWalk,
    SquareWave,
    Sum,
    Zone,
    simulated_powercap,
    two_socket_server,
)

MS = 1_000_000

pytestmark = pytest.mark.skipif(find_spec("pyRAPL") is None, reason="pyRAPL is not installed")


class Profiled(NamedTuple):
    """A run, what was recorded of it, the machine as it ran, and what the report said."""

    tree: DataNode
    recording: Recording
    machine: Machine
    report: str

    def metric(self, name: str) -> Metric:
        return self.tree.find(NodeType.RUN)[0].metrics[name]

    def stream(self, backend: str) -> Stream:
        (stream,) = [stream for stream in self.recording.hosts[0].streams if stream.backend == backend]
        return stream

    def truth_j(self, *zones: str) -> float:
        return sum(self.machine.truth_j(zone, *self.recording.window_ns) for zone in zones)


@pytest.fixture
def profile_on(perun: Run, tmp_path: Path) -> Callable[..., Profiled]:
    """Profile a script on a simulated machine. Its argument is where the machine's tree is."""

    def run(machine: Machine, source: str, *options: str) -> Profiled:
        (tmp_path / "script.py").write_text(source)
        try:
            with simulated_powercap(machine) as powercap:
                ended = perun("profile", *options, "--powercap-root", powercap.root, "script.py", powercap.root)
                assert ended.returncode == 0, ended.stderr
                (path,) = tmp_path.glob("perun_results/script/*.h5")
                recording = read_recording(str(path))
                return Profiled(perun_like.load(str(path)), recording, powercap.machine, ended.stderr)
        except FuseUnavailableError as error:
            pytest.skip(f"the simulated powercap tree needs FUSE: {error}")

    return run


def wrapping(socket: int) -> Zone:
    """A package whose counter wraps every 1024 J, some 1.9 s after the machine's start."""
    power = Sum([Constant(40), SquareWave(0, 60 + 30 * socket, (90 + 20 * socket) * MS)])
    start_uj = 891_000_000 - 28_000_000 * socket
    return Zone(f"intel-rapl:{socket}", f"package-{socket}", power, start_uj, register_bits=24, max_power_w=300)


MACHINES = {
    "square wave": Machine([Zone("intel-rapl:0", "package-0", SquareWave(20, 180, 130 * MS))]),
    "random walk": Machine([Zone("intel-rapl:0", "package-0", RandomWalk(15, 230, 7 * MS, seed=4))]),
    "wrap on one socket": Machine([wrapping(0)]),
    "wraps on two sockets": Machine([wrapping(0), wrapping(1)]),
}


@pytest.mark.parametrize("kind", MACHINES)
def test_the_truth_of_two_seconds(profile_on: Callable[..., Profiled], kind: str):
    options = ("--backend", "pyrapl", "--period", "10ms")
    profiled = profile_on(MACHINES[kind], "import time; time.sleep(2)", *options)
    true_j = profiled.truth_j(*(zone.path for zone in profiled.machine.zones))
    for energy in (profiled.metric("cpu_energy_j"), profiled.metric("energy_j")):
        assert energy.provenance is Provenance.MEASURED
        assert energy.lower <= true_j <= energy.upper
        assert energy.value == pytest.approx(true_j, rel=0.005)
    stream = profiled.stream("pyrapl")
    assert stream.valid.all()
    for raw in stream.raw:
        assert (raw[1:] < raw[:-1]).sum() == (1 if "wrap" in kind else 0)


def test_beside_rapl_a_zone_counts_once(profile_on: Callable[..., Profiled]):
    options = ("--backend", "pyrapl", "--backend", "rapl", "--period", "10ms")
    profiled = profile_on(two_socket_server(seed=5), "import time; time.sleep(1)", *options)
    true_j = profiled.truth_j("intel-rapl:0", "intel-rapl:0:2", "intel-rapl:1", "intel-rapl:1:2")
    energy = profiled.metric("energy_j")
    assert energy.lower <= true_j <= energy.upper
    assert energy.value == pytest.approx(true_j, rel=0.01)
    not_added = {node.id: node.metadata.get("not_added", "") for node in profiled.tree.find(NodeType.SENSOR)}
    for name in ("package-0", "package-0/dram", "package-1", "package-1/dram"):
        assert not_added[f"pyrapl:{name}"] == f"repeats rapl:{name}"
        assert not not_added[f"rapl:{name}"]


def test_unless_it_is_named_no_run_knows_of_it(profile_on: Callable[..., Profiled]):
    profiled = profile_on(MACHINES["square wave"], "import time; time.sleep(0.2)")
    (host,) = profiled.recording.hosts
    assert "rapl" in {stream.backend for stream in host.streams}
    assert "pyrapl" not in {stream.backend for stream in host.streams}
    assert "pyrapl" not in {missing.backend for missing in host.missing}
    assert "pyrapl" not in profiled.report.lower()


# ---- pyRAPL by itself

# What its users write, but for the tree that it is made to read and the sockets that the tree has.
PLAIN = """
import json, logging, os, sys, time, types
logging.disable()
import pyRAPL
from pyRAPL import device_api

def there(path):
    return path.replace("/sys/class/powercap", sys.argv[1])

device_api.open = lambda path, mode: open(there(path), mode)
device_api.os = types.SimpleNamespace(path=types.SimpleNamespace(exists=lambda path: os.path.exists(there(path))))
device_api.get_socket_ids = lambda: [0, 1]
pyRAPL.setup()
measurement = pyRAPL.Measurement("plain")
time.sleep(0.2)
before_ns = time.monotonic_ns()
measurement.begin()
begun_ns = time.monotonic_ns()
time.sleep(1.5)
ending_ns = time.monotonic_ns()
measurement.end()
after_ns = time.monotonic_ns()
time.sleep(0.2)
used_j = {f"package-{n}": value / 1e6 for n, value in enumerate(measurement.result.pkg)}
used_j.update({f"package-{n}/dram": value / 1e6 for n, value in enumerate(measurement.result.dram)})
with open("plain.json", "w") as file:
    json.dump([before_ns, begun_ns, ending_ns, after_ns, used_j], file)
"""


def measured(profiled: Profiled, backend: str, identity: str, a_ns: int, b_ns: int) -> Increase:
    """What was recorded of a zone in a window."""
    counter = next(c for c in counters(profiled.stream(backend)) if c.sensor.identity == identity)
    (increase,) = increases([counter], Windows.one(a_ns, b_ns))
    return increase


@pytest.mark.parametrize("backend", ["rapl", "pyrapl"])
def test_pyrapl_by_itself_agrees_with_us(profile_on: Callable[..., Profiled], tmp_path: Path, backend: str):
    machine = two_socket_server(seed=8)
    profiled = profile_on(machine, PLAIN, "--backend", backend, "--period", "10ms")
    before_ns, begun_ns, ending_ns, after_ns, used_j = json.loads((tmp_path / "plain.json").read_text())
    paths = {"package-0": "intel-rapl:0", "package-1": "intel-rapl:1"}
    paths |= {f"{package}/dram": f"{path}:2" for package, path in paths.items()}
    assert used_j.keys() == paths.keys()
    sensors = {sensor.identity: sensor for sensor in profiled.stream(backend).sensors}
    for identity, used in used_j.items():
        sensor = sensors[identity]
        old_ns, unit_j = sensor.tick_ns + sensor.lag_ns, sensor.resolution * sensor.scale + 1e-6
        # It reads at some instant of begin() and of end(), a value up to a tick and a lag old: the energy that it
        # tells is more than that of the inner window and less than that of the outer one.
        inner, outer = (begun_ns, ending_ns - old_ns), (before_ns - old_ns, after_ns)
        truth_j = [profiled.machine.truth_j(paths[identity], *window) for window in (inner, outer)]
        assert truth_j[0] - unit_j <= used <= truth_j[1] + unit_j
        ours = [measured(profiled, backend, identity, *window) for window in (inner, outer)]
        assert ours[0].lower[0] - unit_j <= used <= ours[1].upper[0] + unit_j
        assert ours[1].upper[0] - ours[0].lower[0] < 0.2 * used  # bounds that anything would fit say nothing
        assert 0.995 * ours[0].value[0] <= used <= 1.005 * ours[1].value[0]
