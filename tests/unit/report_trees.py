"""Result trees written by hand, as the analysis would give them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Region, Scope

MEASURED, ESTIMATED = Provenance.MEASURED, Provenance.ESTIMATED


SHARE = "by CPU time; at least its part of all CPUs' time, at most of the busy CPUs' time"


def joules(value: float, lower: float, upper: float, provenance: Provenance = MEASURED, **more: Any) -> Metric:
    return Metric(value, "J", lower, upper, provenance, **more)


def energy_sensor(id_: str, energy: Metric, seconds: float, **facts: Any) -> DataNode:
    power = Metric.absent("W", "no energy")
    if energy.value is not None and energy.lower is not None and energy.upper is not None:
        low, value, high = (x / seconds for x in (energy.lower, energy.value, energy.upper))
        power = Metric(value, "W", low, high, energy.provenance)
    metadata = {"provenance": energy.provenance.value, "reads": 47, "failed_reads": 0, **facts}
    return DataNode(id_, NodeType.SENSOR, {"energy_j": energy, "power_w": power}, metadata=metadata)


def run_node(metrics: dict[str, Metric], *sensors: DataNode, **facts: Any) -> DataNode:
    host = {key: facts.pop(key) for key in ("missing", "cut") if key in facts} | {"logical_cpus": 4}
    group = DataNode("cpu", NodeType.DEVICE_GROUP, nodes=list(sensors))
    node = DataNode(facts.pop("host", "node01"), NodeType.NODE, nodes=[group], metadata=host)
    regions = facts.pop("regions", [])
    metadata = {"exit_code": 0, "signal": None, "period_ns": 100_000_000, "command": ["python", "heat.py"]}
    return DataNode("0", NodeType.RUN, metrics, [node], {**metadata, **facts}, regions)


def tree(name: str, *runs: DataNode) -> DataNode:
    rounds = DataNode("first", NodeType.MULTI_RUN, dict(runs[0].metrics) if runs else {}, list(runs))
    return DataNode(name, NodeType.APP, dict(rounds.metrics), [rounds])


def several(name: str, metrics: dict[str, Metric], runs: list[DataNode], **facts: Any) -> DataNode:
    """A tree of several rounds."""
    regions = facts.pop("regions", [])
    whole = DataNode("first", NodeType.MULTI_RUN, metrics, runs, {"rounds": len(runs), "failed": 0, **facts}, regions)
    return DataNode(name, NodeType.APP, dict(metrics), [whole])


def mean(metric: Metric, std: float, n: int, quantile: float) -> Metric:
    """A metric that is a mean, with what is said of the rounds; ``quantile`` is Student's."""
    assert metric.value is not None
    half = quantile * std / math.sqrt(n)
    method = "; ".join(filter(None, (f"mean of {n:,} rounds", metric.method)))
    ends = (metric.value - half, metric.value + half)
    return metric._replace(mean=float(metric.value), std=std, n=n, ci95=ends, method=method)


def common(runtime_s: float = 4.512) -> dict[str, Metric]:
    """Metrics that are the same in all trees: no energy."""
    return {
        "runtime_s": Metric(runtime_s, "s"),
        "cpu_util_percent": Metric(93.42, "%", 93.1, 93.8),
        "gpu_util_percent": Metric.absent("%", "no GPU found"),
        "memory_peak_b": Metric(851_443_712, "B", 851_443_712, 851_443_712, scope=Scope.APPLICATION),
        "gpu_memory_peak_b": Metric.absent("B", "no GPU found"),
        "disk_read_b": Metric(12_900_000, "B"),
        "disk_write_b": Metric(1_290_000_000, "B"),
        "net_recv_b": Metric(1_234, "B"),
        "net_sent_b": Metric(0, "B"),
        "cost": Metric.absent("", "no price is known: give one, such as --price 0.30EUR"),
        "overhead_cpu_s": Metric(0.0452, "s", scope=Scope.SAMPLER),
        "missed_ticks": Metric(0, "1", scope=Scope.SAMPLER),
    }


def measured(regions: list[Region] | None = None) -> DataNode:
    world = "world average 2024, 473 g/kWh; bounds span all countries: see --country"
    metrics = common() | {
        "energy_j": joules(412.34, 404.2, 420.4),
        "power_w": Metric(91.39, "W", 89.6, 93.2),
        "energy_share_j": joules(381.2, 301.4, 402.9, ESTIMATED, scope=Scope.APPLICATION, method=SHARE),
        "co2e_kg": Metric(5.42e-5, "kg", 2.1e-5, 9.1e-5, ESTIMATED, method=world),
        "cost": Metric(3.436e-5, "EUR", 3.37e-5, 3.51e-5, method="0.3 EUR/kWh"),
    }
    package = energy_sensor("rapl:package-0", joules(382.1, 375.0, 389.2), 4.512)
    core = energy_sensor("rapl:package-0/core", joules(201.3, 197.1, 205.6), 4.512, not_added="inside rapl:package-0")
    dram = energy_sensor("rapl:package-0/dram", joules(30.24, 29.1, 31.2), 4.512, failed_reads=3)
    return tree("heat", run_node(metrics, package, dram, core, regions=regions or SOME_REGIONS))


def region(name: str, calls: int, seconds: float, energy: Metric, rank: int = 0) -> Region:
    return Region(name, rank, calls, {"runtime_s": Metric(seconds, "s"), "energy_j": energy})


SOME_REGIONS = [
    region("setup", 1, 0.1204, joules(9.5, 3.1, 18.4)),
    region("solve", 1, 4.101, joules(388.1, 371.2, 405.0)),
    region("solve.step", 1_200, 3.812, joules(361.4, 320.2, 402.1)),
    region("checkpoint", 3, 0.0123, joules(1.12, 0.0, 19.0)),
]


CPUS = "4 logical CPUs of 0.74 (0.1 to 3.04) W idle and 3.5 (0.7 to 15.8) W busy, as in servers; --cpu-tdp narrows it"
MEMORY = "16.8 GB of memory at 0.392 (0.03 to 0.8) W/GB, busy or idle"


def estimated() -> DataNode:
    """Nothing could be read: a model stands in."""
    metrics = common() | {
        "energy_j": joules(45.2, 12.1, 158.0, ESTIMATED, method=f"{CPUS}; {MEMORY}"),
        "power_w": Metric(10.02, "W", 2.68, 35.02, ESTIMATED, method=f"{CPUS}; {MEMORY}"),
        "energy_share_j": joules(31.0, 5.0, 120.0, ESTIMATED, scope=Scope.APPLICATION, method=SHARE),
        "co2e_kg": Metric(4.8e-6, "kg", 1.2e-6, 1.7e-5, ESTIMATED, method="344 g/kWh, Germany 2024"),
    }
    cpu = energy_sensor("estimate:cpu", joules(41.0, 11.0, 150.0, ESTIMATED, method=CPUS), 4.512)
    dram = energy_sensor("estimate:dram", joules(4.2, 1.1, 8.0, ESTIMATED, method=MEMORY), 4.512)
    remedy = "`perun-like setup` prints what grants it for good."
    missing = [{"backend": "rapl", "what": "CPU and DRAM energy", "reason": "permission denied", "remedy": remedy}]
    regions = [region("main", 1, 4.5, joules(45.0, 12.0, 157.0, ESTIMATED))]
    return tree("train", run_node(metrics, cpu, dram, missing=missing, regions=regions))


def without_data() -> DataNode:
    """The sampler died: the application ran all the same."""
    names = (
        "energy_j",
        "power_w",
        "energy_share_j",
        "cpu_util_percent",
        "disk_read_b",
        "disk_write_b",
        "net_recv_b",
    )
    reason = "the sampler ended by itself after 0.3 s (killed by SIGKILL)"
    metrics = {name: Metric.absent("J", reason) for name in (*names, "net_sent_b", "co2e_kg", "overhead_cpu_s")}
    metrics["missed_ticks"] = Metric.absent("1", reason)
    return tree("crash", run_node(common() | metrics, exit_code=None, signal=11, cut=reason))


def partial() -> DataNode:
    """One of the devices could not be read to the end."""
    lacks: dict[str, Any] = {"missing": ("rapl:package-0/dram",)}
    gone = Metric.absent("J", "reads failed from 2.1 s on: No such device")
    whole = measured().nodes[0].nodes[0].metrics
    names = ("energy_share_j", "co2e_kg", "cost")
    metrics = whole | {
        **{name: whole[name]._replace(upper=None, **lacks) for name in names},
        "energy_j": joules(382.1, 375.0, 389.2, **lacks),
        "power_w": Metric(84.7, "W", 83.1, None, **lacks),
        "missed_ticks": Metric(12, "1", scope=Scope.SAMPLER),
    }
    package = energy_sensor("rapl:package-0", joules(382.1, 375.0, 389.2), 4.512)
    dram = energy_sensor("rapl:package-0/dram", gone, 4.512)
    return tree("heat", run_node(metrics, package, dram, exit_code=3))


def rounds(ends: tuple[int | None, ...] = (0, 0, 0, 0, 0)) -> DataNode:
    """Five rounds of a program, measured; None: killed."""
    joules_of = (12.21, 12.42, 12.38, 12.20, 12.34)
    runs = []
    for number, energy_j in enumerate(joules_of):
        seconds = 1.2 + energy_j / 1000
        metrics = common(seconds) | {
            "energy_j": joules(energy_j, energy_j - 0.3, energy_j + 0.3),
            "power_w": Metric(energy_j / seconds, "W", (energy_j - 0.3) / seconds, (energy_j + 0.3) / seconds),
        }
        fate = {"exit_code": ends[number], "signal": 9 if ends[number] is None else None}
        package = energy_sensor("rapl:package-0", metrics["energy_j"], seconds)
        runs.append(replace(run_node(metrics, package, **fate), id=str(number)))
    student = 2.7764  # of 4 degrees of freedom
    world = "world average 2024, 473 g/kWh; bounds span all countries: see --country"
    metrics = common(1.21231) | {
        "runtime_s": mean(Metric(1.21231, "s", 1.21231, 1.21231), 0.0001, 5, student),
        "energy_j": mean(joules(12.31, 12.09, 12.53), 0.0995, 5, student),
        "power_w": mean(Metric(10.15, "W", 9.97, 10.33), 0.081, 5, student),
        "energy_share_j": mean(joules(6.1, 4.2, 7.9, ESTIMATED, method=SHARE), 0.05, 5, student),
        "co2e_kg": mean(Metric(1.62e-6, "kg", 6.3e-7, 2.7e-6, ESTIMATED, method=world), 1.3e-8, 5, student),
        "cost": mean(Metric(1.026e-6, "EUR", 1.01e-6, 1.05e-6, method="0.3 EUR/kWh"), 8.3e-9, 5, student),
        "memory_peak_b": mean(common()["memory_peak_b"]._replace(value=851_443_712.0), 4096.0, 5, student),
        "overhead_cpu_s": Metric(0.0452, "s", scope=Scope.SAMPLER, method="of all rounds together"),
    }
    regions = [
        mean_region("setup", 5, 0.0204, 0.001, joules(0.21, 0.0, 0.9), 0.02, 5, student),
        mean_region("solve", 5, 1.101, 0.002, joules(11.2, 10.9, 11.5), 0.09, 5, student),
        mean_region("retry", 2, 0.31, 0.02, joules(3.1, 2.8, 3.4), 0.04, 2, 12.7062),
    ]
    failed = sum(end != 0 for end in ends)
    return several("heat", metrics, runs, regions=regions, failed=failed, warmup=1)


def mean_region(
    name: str, calls: int, seconds: float, std_s: float, energy: Metric, std_j: float, n: int, quantile: float
) -> Region:
    runtime = mean(Metric(seconds, "s", seconds, seconds), std_s, n, quantile)
    return Region(name, 0, calls, {"runtime_s": runtime, "energy_j": mean(energy, std_j, n, quantile)})


def many_rounds() -> DataNode:
    """A function that was called very often; an estimate, as there was no counter to read."""
    runs = []
    for number in range(20):
        metrics = common(0.0021) | {
            "energy_j": joules(0.021 + number * 1e-4, 0.0, 0.18, ESTIMATED, method=CPUS),
            "power_w": Metric(10.0, "W", 0.0, 86.0, ESTIMATED, method=CPUS),
        }
        facts = {"exit_code": None, "in_place": True, "failed": number == 3, "function": "train.py:12 train"}
        runs.append(replace(run_node(metrics, **{**facts, "command": None}), id=str(number)))
    all_of_them = {"n": 12_000, "quantile": 1.9602}
    unasked = "the CPU time of calls that follow each other at once is not asked for: that would slow them down"
    metrics = common(0.0021) | {
        "runtime_s": mean(Metric(0.0021, "s", 0.0021, 0.0021), 0.00004, **all_of_them),
        "energy_j": mean(joules(0.0213, 0.0061, 0.071, ESTIMATED, method=CPUS), 0.0009, **all_of_them),
        "power_w": mean(Metric(10.1, "W", 0.0, 86.0, ESTIMATED, method=CPUS), 0.4, **all_of_them),
        "energy_share_j": Metric.absent("J", unasked, Scope.APPLICATION),
        "co2e_kg": mean(Metric(2.8e-9, "kg", 8e-10, 9.4e-9, ESTIMATED, method="473 g/kWh"), 1.2e-10, **all_of_them),
        "overhead_cpu_s": Metric(0.0452, "s", scope=Scope.SAMPLER),
    }
    return several("train", metrics, runs, rounds=12_500, failed=1, only_counted=500, warmup=0)


def raised(**more: Any) -> DataNode:
    """One call of a function, which ended by an exception."""
    metrics = common(0.2) | {
        "energy_j": joules(2.31, 2.2, 2.43),
        "power_w": Metric(11.55, "W", 11.0, 12.2),
        "energy_share_j": joules(1.2, 0.9, 1.6, ESTIMATED, scope=Scope.APPLICATION, method=SHARE),
        "co2e_kg": Metric(3e-7, "kg", 1.2e-7, 5e-7, ESTIMATED, method="473 g/kWh"),
    }
    package = energy_sensor("rapl:package-0", metrics["energy_j"], 0.2)
    facts = {
        "exit_code": None,
        "in_place": True,
        "failed": True,
        "command": None,
        "function": "train.py:12 train",
        **more,
    }
    return tree("train", run_node(metrics, package, **facts))
