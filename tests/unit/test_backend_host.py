"""CPU, disks, network and memory of the host: counted by hand on captured trees, by psutil on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from perun_like.sensing import system
from perun_like.sensing.contract import Backend, Context
from perun_like.sensing.linux import LinuxSystem, counted_interfaces, physical_disks
from perun_like.sensing.portable import PortableSystem
from perun_like.sensing.system import Probe
from perun_like_sensors.host import HostBackend
from perun_like_sensors.memory import MemoryBackend

Plant = Callable[[str], Path]


def context(root: Path) -> Context:
    return Context(proc_root=str(root / "proc"), sys_root=str(root / "sys"))


def read(backend: Backend, here: Context) -> dict[str, int | None]:
    sensors = backend.find(here).sensors
    reader = backend.open(sensors, here)
    values = dict(zip([sensor.id for sensor in sensors], reader.read(), strict=True))
    reader.close()
    return values


def test_each_byte_of_a_server_is_counted_once(plant: Plant):
    root = plant("busy_server")
    assert physical_disks(str(root / "sys")) == ["nvme0c0n1", "nvme0c1n1", "sda", "sdb"]
    assert counted_interfaces(str(root / "sys")) == ["eno1", "eno2"]
    assert read(HostBackend(), context(root)) == {
        "host:cpu_busy": 1000 + 20 + 300 + 6 + 5,  # not idle, iowait, steal; guest is in user
        "host:disk_read": 512 * (1000 + 3000 + 5000 + 4000),
        "host:disk_written": 512 * (2000 + 4000 + 6000 + 3000),
        "host:net_recv": 300,
        "host:net_sent": 30,
    }
    assert read(MemoryBackend(), context(root)) == {
        "memory:used": (16_384_000 - 8_192_000) * 1024,
        "memory:available": 8_192_000 * 1024,
    }


def test_packets_that_pass_two_interfaces_of_a_guest(plant: Plant):
    root = plant("azure_guest")
    values = read(HostBackend(), context(root))
    assert (values["host:net_recv"], values["host:net_sent"]) == (1000, 500)
    (missing,) = HostBackend().find(context(root)).missing
    assert missing.what == "host:disk_read, host:disk_written"
    assert MemoryBackend().find(context(root)).missing[0].reason.endswith("how much memory is available")


def test_a_container_counts_its_lowest_interface(plant: Plant):
    assert counted_interfaces(str(plant("container_network") / "sys")) == ["eth0"]


def test_a_device_that_goes_away_is_missing_and_not_a_step_back(plant: Plant):
    root = plant("busy_server")
    backend, here = HostBackend(), context(root)
    reader = backend.open(backend.find(here).sensors, here)
    (root / "sys/block/sda/stat").write_text("")
    cpu, *disks, received, sent = reader.read()
    assert (cpu, disks, received, sent) == (1331, [None, None], 300, 30)
    (root / "proc/stat").write_text("cpu  unexpected\n")
    assert reader.read()[0] is None
    reader.close()
    reader.close()


def test_sensors_are_read_in_the_order_asked_for(plant: Plant):
    backend, here = HostBackend(), context(plant("busy_server"))
    sensors = {sensor.id: sensor for sensor in backend.find(here).sensors}
    reader = backend.open([sensors["host:net_sent"], sensors["host:cpu_busy"]], here)
    assert reader.read() == [30, 1331]
    reader.close()


# ---- this machine, with psutil as the other witness


def between(probe: Probe, witness: Callable[[], Sequence[float | None]], slack: float = 0) -> None:
    """Counters seen by the witness lie between two reads of ours."""
    before, seen, after = probe.read(), witness(), probe.read()
    probe.close()
    for low, value, high in zip(before, seen, after, strict=True):
        assert (low is None) == (value is None) == (high is None)
        if low is not None and value is not None and high is not None:
            assert low - slack <= value <= high + slack


def test_busy_time_agrees_with_psutil():
    def witness() -> list[float]:
        times = psutil.cpu_times()
        return [100 * (times.user + times.nice + times.system + times.irq + times.softirq)]

    between(LinuxSystem().cpu_busy(), witness, slack=1)
    assert LinuxSystem().logical_cpus() == psutil.cpu_count()


def test_disks_agree_with_psutil():
    def witness() -> list[float | None]:
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False)
        disks = [counters[name] for name in physical_disks("/sys")]
        return [sum(d.read_bytes for d in disks), sum(d.write_bytes for d in disks)] if disks else [None, None]

    between(LinuxSystem().disks(), witness)


def test_network_agrees_with_psutil():
    def witness() -> list[float | None]:
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        nics = [counters[name] for name in counted_interfaces("/sys")]
        return [sum(n.bytes_recv for n in nics), sum(n.bytes_sent for n in nics)] if nics else [None, None]

    between(LinuxSystem().network(), witness)


def test_memory_agrees_with_psutil():
    probe = LinuxSystem().memory()
    used, available = probe.read()
    probe.close()
    memory = psutil.virtual_memory()
    assert used is not None
    assert available is not None
    assert used + available == memory.total
    assert abs(available - memory.available) < 0.1 * memory.total  # other processes go on meanwhile


# ---- elsewhere than on Linux


def test_the_portable_readings_agree_with_ours():
    linux, portable = LinuxSystem(), PortableSystem()
    between(linux.cpu_busy(), portable.cpu_busy().read, slack=1)
    assert portable.logical_cpus() == linux.logical_cpus()
    mine, theirs = linux.memory().read(), portable.memory().read()
    assert sum(value or 0 for value in mine) == sum(value or 0 for value in theirs)
    for probe in (portable.disks(), portable.network()):
        values = probe.read()
        assert len(values) == 2
        assert all(value is None or value >= 0 for value in values)


def test_a_process_seen_portably():
    here = Context()
    probe = PortableSystem().processes(here)
    assert list(probe.read()) == [None] * 6
    before = psutil.Process().children(recursive=True)
    here.watch(os.getpid())
    ticks, rss, peak, count, *storage = probe.read()
    times = os.times()
    assert ticks is not None
    assert abs(ticks / 100 - sum(times[:4])) < 0.1
    assert rss is not None
    assert rss > 1e6
    # Other tests may have left children of this process that are just ending.
    assert (peak, storage) == (None, [None, None])
    assert 1 <= count <= 1 + len(before)


def test_psutil_failing_is_missing(monkeypatch: pytest.MonkeyPatch):
    def denied(**_: object) -> object:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_io_counters", denied)
    monkeypatch.setattr(psutil, "disk_io_counters", lambda **_: None)
    assert list(PortableSystem().network().read()) == [None, None]
    assert list(PortableSystem().disks().read()) == [None, None]


def test_the_door_opens_to_the_system_that_is_there(plant: Plant, tmp_path: Path):
    assert isinstance(system.of(context(plant("busy_server"))), LinuxSystem)
    assert isinstance(system.of(Context(proc_root=str(tmp_path / "no_proc"))), PortableSystem)
