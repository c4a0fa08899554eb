"""The whole result: every figure against the simulated machine, and what is missing said everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recordings import (
    ADDED,
    BOOT,
    MS,
    SERVER,
    WINDOW,
    S,
    calls,
    cpu_busy,
    host,
    number,
    process,
    processes,
    rapl,
    recording,
    stream,
    traffic,
    truth_j,
)

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.tree import analyse
from perun_like.model.check import RUN_METRICS, self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Scope
from perun_like.model.recording import Recording
from perun_like.sensing.contract import COUNTER, ESTIMATED, Missing, Sensor
from perun_like.testing import machines
from perun_like.testing.machine import DROPPED, VANISHED, Fault, Machine

MIB = 1 << 20


def full() -> Recording:
    regions = (calls([("solve", 0, 1_500 * MS), ("write", 1_500 * MS, 2_000 * MS)]),)
    memory = processes([20 * MIB, 40 * MIB], [0, 100], peak=40 * MIB)
    return recording(host(rapl(), cpu_busy(2.5), traffic(), memory, regions=regions))


def result(made: Recording, assumptions: Assumptions | None = None) -> tuple[DataNode, DataNode]:
    """The root and its run, after the result has agreed with itself."""
    root = analyse(made, assumptions or Assumptions(country="DE", price=(0.30, "EUR")))
    assert self_check(root) == []
    [run] = root.find(NodeType.RUN)
    return root, run


def around(metric: Metric, exact: float, rel: float = 0.005) -> None:
    assert number(metric.lower) <= exact <= number(metric.upper)
    assert metric.value == pytest.approx(exact, rel=rel)


def test_levels_are_named_as_others_script_against() -> None:
    root, run = result(full())
    assert (root.type, root.id) == (NodeType.APP, "heat")
    assert [(n.type, n.id) for n in root.nodes] == [(NodeType.MULTI_RUN, "run-1")]
    assert run.id == "0"
    assert [n.id for n in run.nodes] == ["node1"]
    assert [n.id for n in run.nodes[0].nodes] == ["cpu", "dram", "disk", "network", "application"]
    assert [region.name for region in run.regions] == ["solve", "write"]


def test_energy_of_every_device_and_every_sum() -> None:
    _, run = result(full())
    metrics = run.metrics
    around(metrics["energy_j"], truth_j())
    around(metrics["power_w"], truth_j() / 2)
    around(metrics["cpu_energy_j"], truth_j(ADDED[:2]))
    around(metrics["dram_energy_j"], truth_j(ADDED[2:]))
    assert metrics["gpu_energy_j"].provenance is Provenance.MISSING
    assert metrics["energy_j"].provenance is Provenance.MEASURED
    assert metrics["energy_j"].scope is Scope.HOST
    for sensor in run.find(NodeType.SENSOR):
        if sensor.id.startswith("rapl:"):
            path = str(sensor.metadata["source"]).split()[1].split("/")[0]  # simulated intel-rapl:0/energy_uj
            around(sensor.metrics["energy_j"], truth_j([path]))


def test_every_metric_is_there_and_scoped() -> None:
    root, run = result(full())
    for node in (root, root.nodes[0], run):
        assert set(RUN_METRICS) <= set(node.metrics)
    scopes = {name: metric.scope for name, metric in run.metrics.items()}
    assert scopes["energy_share_j"] is scopes["memory_peak_b"] is Scope.APPLICATION
    assert scopes["overhead_cpu_s"] is scopes["missed_ticks"] is Scope.SAMPLER
    assert scopes["disk_read_b"] is scopes["cpu_util_percent"] is scopes["co2e_kg"] is Scope.HOST


def test_other_figures_by_hand() -> None:
    """2 s of 2.5 busy CPUs of 4; 1.5 s of CPU time; traffic of 1, 2, 3 and 4 bytes a millisecond."""
    metrics = result(full())[1].metrics
    around(metrics["cpu_util_percent"], 62.5, rel=0.01)
    around(metrics["disk_read_b"], 2_000, rel=0.01)
    around(metrics["disk_write_b"], 4_000, rel=0.01)
    around(metrics["net_recv_b"], 6_000, rel=0.01)
    around(metrics["net_sent_b"], 8_000, rel=0.01)
    around(metrics["energy_share_j"], truth_j() * (1.5 / 8 + 1.5 / 5) / 2, rel=0.02)
    around(metrics["co2e_kg"], truth_j() / 3.6e6 * 0.33638)
    around(metrics["cost"], truth_j() / 3.6e6 * 0.30)
    assert metrics["cost"].unit == "EUR"
    assert metrics["memory_peak_b"].value == 60 * MIB
    assert metrics["runtime_s"].value == 2.0
    assert metrics["overhead_cpu_s"].value == 0.03
    assert metrics["missed_ticks"].value == 2


def test_share_and_rest_are_the_total_exactly_on_every_level() -> None:
    root, run = result(full())
    for node in (root, root.nodes[0], run, run.nodes[0]):
        share, rest = (number(node.metrics[f"energy_{which}_j"].value) for which in ("share", "rest"))
        assert share + rest == node.metrics["energy_j"].value


def test_sensors_that_are_not_added_are_shown_with_the_reason() -> None:
    _, run = result(full())
    facts = {sensor.id: sensor.metadata for sensor in run.find(NodeType.SENSOR)}
    assert facts["rapl:package-0"]["added"] is True
    assert "not_added" not in facts["rapl:package-0"]
    cores = [f for id_, f in facts.items() if "core" in id_]
    assert len(cores) == 4  # core and uncore of two packages
    assert all(f["added"] is False and "inside rapl:package-" in f["not_added"] for f in cores)
    for key in ("source", "reads", "failed_reads", "period_ns", "provenance", "domain", "backend"):
        assert key in facts["rapl:package-0"]


def test_one_round_is_its_own_mean() -> None:
    root, run = result(full())
    for node in (root, root.nodes[0]):
        energy = node.metrics["energy_j"]
        assert (energy.mean, energy.std, energy.n, energy.ci95) == (energy.value, None, 1, None)
        assert node.metrics["gpu_energy_j"].n is None
    assert run.metrics["energy_j"].n is None


def test_metadata_is_plain_json_and_says_how_it_ended() -> None:
    killed = full()._replace(processes=(process(), process(1, exit_code=None, signal=9), process(2, exit_code=3)))
    root, run = result(killed)
    assert (run.metadata["exit_code"], run.metadata["signal"]) == (None, 9)
    assert run.metadata["command"] == ["python", "heat.py"]
    assert run.metadata["started"] == "2026-09-21T14:13:20.000+00:00"
    for node in root.walk():
        json.dumps(node.metadata)


def test_failed_reads_are_bridged_and_counted() -> None:
    broken = SERVER.with_faults("intel-rapl:0", Fault(DROPPED, 1_000 * MS, 1_300 * MS))
    _, run = result(recording(host(rapl(broken))))
    around(run.metrics["energy_j"], truth_j(), rel=0.02)
    package = next(s for s in run.find(NodeType.SENSOR) if s.id == "rapl:package-0")
    assert package.metadata["failed_reads"] == 3


def test_a_sensor_that_fails_half_way_makes_at_least() -> None:
    broken = SERVER.with_faults("intel-rapl:0", Fault(VANISHED, 1_500 * MS))
    _, run = result(recording(host(rapl(broken))))
    energy = run.metrics["energy_j"]
    assert number(energy.lower) <= number(energy.value) < truth_j()
    assert (energy.upper, energy.missing) == (None, ("rapl:package-0",))
    assert "of 2 s" in str(energy.reason)
    for name in ("power_w", "cpu_energy_j", "energy_share_j", "energy_rest_j", "co2e_kg", "cost"):
        assert run.metrics[name].missing == ("rapl:package-0",)
        assert run.metrics[name].upper is None
    assert run.metrics["dram_energy_j"].missing == ()
    assert run.regions == []


def test_a_sensor_that_never_answered_is_missing_not_zero() -> None:
    broken = SERVER.with_faults("intel-rapl:0", Fault(DROPPED, 0))
    _, run = result(recording(host(rapl(broken))))
    package = next(s for s in run.find(NodeType.SENSOR) if s.id == "rapl:package-0")
    assert package.metrics["energy_j"].value is None
    assert package.metrics["power_w"].value is None
    assert run.metrics["energy_j"].missing == ("rapl:package-0",)
    assert run.metrics["energy_j"].value == pytest.approx(truth_j(ADDED[1:]), rel=0.005)


def test_a_device_that_exists_but_cannot_be_read_is_named() -> None:
    what = "rapl:package-0/dram, rapl:package-0/core, rapl:psys"
    masked = Missing("rapl", what, "readable by root only", "See setup.", domains=("dram", "", ""))
    paths = ["intel-rapl:0", "intel-rapl:1", "intel-rapl:1:2"]
    _, run = result(recording(host(rapl(paths=paths), missing=(masked,))))
    assert run.metrics["energy_j"].missing == ("rapl:package-0/dram",)
    assert "root only" in str(run.metrics["energy_j"].reason)
    assert run.metrics["cpu_energy_j"].missing == ()
    assert run.metrics["dram_energy_j"].missing == ("rapl:package-0/dram",)


@pytest.mark.parametrize("what", ["all sensors", "all GPUs", "GPU 0"])
def test_a_backend_that_is_lost_as_a_whole_makes_at_least(what: str) -> None:
    lost = Missing("nvml", what, "NVML fails", domains=("gpu",))
    _, run = result(recording(host(rapl(), missing=(lost,))))
    assert (run.metrics["energy_j"].upper, run.metrics["energy_j"].missing) == (None, ("nvml",))
    assert run.metrics["cpu_energy_j"].missing == ()
    for harmless in (lost._replace(quiet=True), lost._replace(domains=())):
        _, run = result(recording(host(rapl(), missing=(harmless,))))
        assert run.metrics["energy_j"].missing == ()


def test_no_energy_at_all_says_why_and_what_would_help() -> None:
    """Defect 13: without RAPL there was no energy and no explanation."""
    why = Missing("rapl", "energy", "no powercap tree", "Load the driver.", domains=("package", "dram"))
    _, run = result(recording(host(cpu_busy(1.0), missing=(why,))))
    for name in ("energy_j", "power_w", "cpu_energy_j", "energy_share_j", "energy_rest_j", "co2e_kg"):
        assert run.metrics[name].value is None
        assert run.metrics[name].provenance is Provenance.MISSING
        assert "no powercap tree. Load the driver." in str(run.metrics[name].reason)
    assert run.metrics["cpu_util_percent"].value is not None
    assert run.nodes[0].metadata["missing"] == [why._asdict()]


def estimate(load: float) -> Any:
    model = {"idle_w": [4, 6, 10], "active_w_per_cpu": [1, 3, 8], "logical_cpus": 4, "text": "four average CPUs"}
    sensor = Sensor(
        "estimate:cpu", "estimate", "cpu", "energy", COUNTER, "s", 0.01, tick_ns=10 * MS, ceiling=4.0,
        domain="package", identity="estimate/cpu", provenance=ESTIMATED, model=model,
    )  # fmt: skip
    at_ns = range(BOOT + 400 * MS, BOOT + 2_700 * MS, 100 * MS)
    return stream([sensor], at_ns, lambda _, t: int(t / S * load * 100))


def test_estimates_are_labelled_and_within_their_range() -> None:
    """2 s at 6 W idle and 2.5 CPUs at 3 W: 27 J; from 2 x 4 + 5 x 1 to 2 x 10 + 5 x 8."""
    _, run = result(recording(host(estimate(2.5), cpu_busy(2.5))))
    energy = run.metrics["energy_j"]
    around(energy, 27.0, rel=0.01)
    assert energy.lower == pytest.approx(13, abs=0.3)
    assert energy.upper == pytest.approx(60, abs=2)
    assert energy.provenance is Provenance.ESTIMATED
    assert energy.method == "four average CPUs"
    assert run.metrics["cpu_energy_j"].provenance is Provenance.ESTIMATED


def test_measured_and_estimated_together_are_mixed() -> None:
    _, run = result(recording(host(rapl(paths=["intel-rapl:0:2"]), estimate(1.0))))
    assert run.metrics["energy_j"].provenance is Provenance.MIXED
    assert run.metrics["dram_energy_j"].provenance is Provenance.MEASURED
    assert run.metrics["cpu_energy_j"].provenance is Provenance.ESTIMATED


def test_several_hosts_are_added_each_on_its_own_clock() -> None:
    """The second host's monotonic clock is 100 s ahead of the first one's."""
    ahead = SERVER.starting_at(BOOT + 100 * S)
    other = rapl(SERVER)
    other = other._replace(t0_ns=other.t0_ns + 100 * S, t1_ns=other.t1_ns + 100 * S)
    clocks = [[{"monotonic_ns": BOOT + shift, "realtime_ns": 10**18}, None] for shift in (0, 100 * S)]
    _, run = result(
        recording(
            host(rapl(), host={"clocks": clocks[0]}, regions=(calls([("f", 0, S)]),)),
            host(other, name="node2", host={"clocks": clocks[1]}),
        )
    )
    assert [node.id for node in run.nodes] == ["node1", "node2"]
    around(run.metrics["energy_j"], 2 * truth_j())
    assert truth_j(window=(WINDOW[0] + 100 * S, WINDOW[1] + 100 * S), machine=ahead) == truth_j()
    assert run.metrics["overhead_cpu_s"].value == 0.06


def test_a_sensor_read_by_two_samplers_of_a_host_is_counted_once() -> None:
    """Defect 12: what two ranks' samplers saw of one device collided or counted twice."""
    two = recording(host(rapl()), host(rapl(period_ns=10 * MS)), processes=[process(0), process(1)])
    _, run = result(two)
    assert len(run.nodes) == 1
    around(run.metrics["energy_j"], truth_j())
    assert run.metrics["overhead_cpu_s"].value == 0.06


def test_devices_with_one_name_on_two_samplers_are_both_kept() -> None:
    def gpu(uuid: str, path: str) -> Any:
        made = rapl(paths=[path])
        sensor = made.sensors[0]._replace(id="nvml:gpu-0", group="gpu", domain="gpu", identity=uuid, parent=None)
        return made._replace(sensors=(sensor,), backend="nvml")

    _, run = result(recording(host(gpu("GPU-a", "intel-rapl:0")), host(gpu("GPU-b", "intel-rapl:1"))))
    assert sorted(s.id for s in run.find(NodeType.SENSOR)) == ["nvml:gpu-0", "nvml:gpu-0@GPU-b"]
    around(run.metrics["gpu_energy_j"], truth_j(ADDED[:2]))


def test_a_recording_that_was_cut_is_at_least() -> None:
    short = rapl()
    keep = short.t0_ns < BOOT + 1_500 * MS
    short = short._replace(
        t0_ns=short.t0_ns[keep], t1_ns=short.t1_ns[keep], raw=short.raw[:, keep], valid=short.valid[:, keep]
    )
    _, run = result(recording(host(short, cut="the sampling process was killed", stats={})))
    assert run.metrics["energy_j"].missing
    assert run.metrics["energy_j"].upper is None
    assert run.metrics["overhead_cpu_s"].reason == "the sampling process was killed"
    assert run.nodes[0].metadata["cut"] == "the sampling process was killed"


@pytest.mark.parametrize("hosts", [[], [host()]])
def test_a_run_that_was_killed_before_it_began(hosts: list[Any]) -> None:
    _, run = result(recording(*hosts, processes=[], window_ns=(BOOT, BOOT)))
    assert run.metrics["runtime_s"].value == 0
    assert run.metrics["energy_j"].value is None
    assert run.metrics["energy_j"].reason
    assert (run.metadata["exit_code"], run.metadata["signal"]) == (None, None)


def test_a_run_without_duration_has_no_energy_although_there_are_sensors() -> None:
    _, run = result(recording(host(rapl(), cpu_busy(1), traffic()), processes=[], window_ns=(WINDOW[0], WINDOW[0])))
    assert run.metrics["energy_j"].value is None
    assert run.metrics["power_w"].value is None
    assert run.metrics["energy_j"].reason == "the run has no duration"


def test_self_check_finds_what_is_wrong() -> None:
    root, run = result(full())
    node, package = run.nodes[0], run.find(NodeType.SENSOR)[0]
    good = dict(run.metrics), dict(node.metrics), dict(package.metrics)
    wrongs: list[tuple[DataNode, str, dict[str, Any], str]] = [
        (package, "energy_j", {"value": 1.0, "lower": 0.5}, "its parts make"),
        (node, "energy_share_j", {"value": 1.0, "lower": 0.0}, "don't make"),
        (run, "energy_j", {"lower": 1e9}, "out of order"),
        (run, "energy_j", {"value": None}, "provenance"),
        (run, "gpu_energy_j", {"reason": None}, "without a reason"),
        (run, "cpu_energy_j", {"missing": ("x",), "reason": "y"}, "upper bound"),
        (run, "co2e_kg", {"value": float("nan")}, "not finite"),
        (node, "energy_j", {"upper": 1e9}, "upper of energy_j"),
        (run, "runtime_s", {"value": -1.0, "lower": -1.0}, "runtime_s is negative"),
        (run, "disk_read_b", {"lower": -1.0}, "disk_read_b is negative"),
    ]
    for place, name, change, words in wrongs:
        place.metrics[name] = place.metrics[name]._replace(**change)
        assert any(words in problem for problem in self_check(root)), words
        run.metrics, node.metrics, package.metrics = (dict(metrics) for metrics in good)
        assert self_check(root) == []
    del run.metrics["cost"]
    assert self_check(root) == ["RUN 0 lacks cost"]
    root.nodes, run.metrics = [run.nodes[0]], dict(good[0])
    assert "APP heat contains NODE node1" in self_check(root)


@pytest.mark.parametrize(
    ("made", "paths"),
    [
        (machines.laptop(), ["intel-rapl:0"]),  # psys contains the package and is never added
        (machines.mmio_laptop(), ["intel-rapl:0"]),  # the same counter through two doors
        (machines.multi_die_server(), [f"intel-rapl:{n}" for n in range(4)]),
        (machines.multi_die_server(mirrored=True), ["intel-rapl:0", "intel-rapl:2"]),  # dies of a package show one
        (machines.many_package_server(), [f"intel-rapl:{n}" for n in range(12)]),
        (machines.amd_server(), ["intel-rapl:0"]),
    ],
    ids=["psys", "mmio", "dies", "mirrored dies", "twelve packages", "amd"],
)
def test_nothing_is_counted_twice(made: Machine, paths: list[str]) -> None:
    machine = made.starting_at(BOOT)
    _, run = result(recording(host(rapl(machine))))
    around(run.metrics["energy_j"], truth_j(paths, machine=machine), rel=0.01)
    assert run.metrics["energy_j"].missing == ()


def test_a_machine_that_slept_makes_at_least() -> None:
    """CLOCK_BOOTTIME ran ahead of CLOCK_MONOTONIC by 40 s."""
    clocks = [
        {"monotonic_ns": BOOT + t, "realtime_ns": 10**18, "boottime_ns": BOOT + t + d} for t, d in ((0, 5), (S, 40 * S))
    ]
    _, run = result(recording(host(rapl(), host={"clocks": clocks})))
    assert run.metrics["energy_j"].missing == ("time asleep",)
    assert run.metrics["energy_j"].reason == "the machine was suspended for 40 s"
    awake = [clocks[0], {**clocks[1], "boottime_ns": BOOT + S + 9}]
    _, run = result(recording(host(rapl(), host={"clocks": awake})))
    assert run.metrics["energy_j"].missing == ()
