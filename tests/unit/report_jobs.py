"""Result trees of jobs of many ranks, written by hand, as the analysis would give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from report_trees import ESTIMATED, SHARE, common, energy_sensor, joules, run_node, several, tree

from perun_like.model.node import Balance, DataNode, Metric, NodeType, Rank, Scope

APPLICATION = Scope.APPLICATION


def rank(number: int, host: str, seconds: float, cpu_s: float, share_j: float, mib: int, **fate: Any) -> Rank:
    memory = Metric(mib << 20, "B", mib << 20, None, scope=APPLICATION, method="its largest process")
    metrics = {
        "runtime_s": Metric(seconds, "s", seconds, seconds, scope=APPLICATION),
        "cpu_s": Metric(cpu_s, "s", cpu_s, cpu_s, scope=APPLICATION),
        "energy_share_j": joules(share_j, 0.8 * share_j, 1.3 * share_j, ESTIMATED, scope=APPLICATION, method=SHARE),
        "memory_peak_b": memory,
    }
    return Rank(number, host, metrics, {"exit_code": 0, "signal": None, **fate})


def balance(name: str, calls: int, seconds: Sequence[float], watts: float, width: float = 0.05) -> Balance:
    """A region that took so long on each rank, beside a host that used so much."""
    mean_s = sum(seconds) / len(seconds)
    figures = {"min": min(seconds), "mean": mean_s, "max": max(seconds)}
    metrics: dict[str, Metric] = {}
    for word, figure in figures.items():
        metrics[f"runtime_s_{word}"] = Metric(figure, "s", figure, figure, scope=APPLICATION)
        metrics[f"energy_j_{word}"] = joules(watts * figure, watts * figure * (1 - width), watts * figure * (1 + width))
    percent = 100 * (max(seconds) / mean_s - 1)
    metrics["imbalance_percent"] = Metric(percent, "%", percent, percent, scope=APPLICATION)
    at = {
        f"{what}_{word}": seconds.index(figures[word]) for what in ("runtime_s", "energy_j") for word in ("min", "max")
    }
    return Balance(name, len(seconds), calls, metrics, at)


def host(name: str, energy_j: float, share_j: float, load: float, **facts: Any) -> DataNode:
    energy = joules(energy_j, 0.99 * energy_j, 1.01 * energy_j)
    rest_j = energy_j - share_j
    metrics = {
        "energy_j": energy,
        "cpu_energy_j": energy,
        "energy_share_j": joules(share_j, 0.8 * share_j, 1.1 * share_j, ESTIMATED, scope=APPLICATION, method=SHARE),
        "energy_rest_j": joules(rest_j, 0.7 * rest_j, 1.3 * rest_j, ESTIMATED),
        "cpu_util_percent": Metric(load, "%", load, load),
    }
    package = energy_sensor("rapl:package-0", energy, 4.5)
    group = DataNode("cpu", NodeType.DEVICE_GROUP, nodes=[package])
    known = {"logical_cpus": 64, "clock_error_s": None, "clock_step_s": 1e-6, **facts}
    return DataNode(name, NodeType.NODE, metrics, [group], known)


def totals(energy_j: float, share_j: float, seconds: float) -> dict[str, Metric]:
    rest_j = energy_j - share_j
    energy = joules(energy_j, 0.99 * energy_j, 1.01 * energy_j)
    return common(seconds) | {
        "energy_j": energy,
        "cpu_energy_j": energy,
        "power_w": Metric(energy_j / seconds, "W", 0.99 * energy_j / seconds, 1.01 * energy_j / seconds),
        "energy_share_j": joules(share_j, 0.8 * share_j, 1.1 * share_j, ESTIMATED, scope=APPLICATION, method=SHARE),
        "energy_rest_j": joules(rest_j, 0.7 * rest_j, 1.3 * rest_j, ESTIMATED),
        "co2e_kg": Metric(energy_j / 3.6e6 * 0.344, "kg", None, None, ESTIMATED, method="344 g/kWh, Germany 2024"),
    }


def job(name: str, run: DataNode, ranks: Sequence[Rank], regions: Sequence[Balance], **facts: Any) -> DataNode:
    run.metadata |= {"size": len(ranks), "ranks": len(ranks), **facts}
    run.ranks, run.balance = list(ranks), list(regions)
    return tree(name, run)


HEAT = [
    balance("sweep", 1_200, [0.787, 0.346, 0.312, 0.324], 80.0),
    balance("residual", 1_200, [0.943, 1.127, 1.170, 1.403], 80.0),
    balance("exchange", 1_200, [0.268, 0.537, 0.539, 0.295], 80.0),
    balance("setup", 4, [0.0101, 0.0102, 0.0103, 0.0100], 80.0, width=0.9),
]


def ranks() -> DataNode:
    """Four ranks on one host, of which rank 0 has more to do."""
    metrics = totals(210.0, 168.0, 2.522)
    package = energy_sensor("rapl:package-0", metrics["energy_j"], 2.522)
    those = [
        rank(n, "node01", 2.51 + n / 1000, cpu_s, 168.0 * cpu_s / 8.4, 47 + n)
        for n, cpu_s in enumerate((2.4, 2.1, 1.9, 2.0))
    ]
    return job("heat_mpi", run_node(metrics, package), those, HEAT)


def hosts() -> DataNode:
    """Six of eight ranks on three hosts; the fourth host is lost, and rank 3 failed before others were ended."""
    nodes = [
        host("node01", 410.0, 330.0, 92.1),
        host("node02", 395.0, 310.0, 90.4, clock_step_s=0.25),
        host("node03", 204.0, 120.0, 41.3, cut="the sampling process was killed"),
    ]
    nodes[2].metrics["energy_j"] = Metric(204.0, "J", 201.0, None, missing=("rapl:package-0",), reason="cut short")
    killed = {"exit_code": None, "signal": 15}
    fates = ({}, {}, killed, {"exit_code": 7}, killed, killed)
    those = [rank(n, f"node0{n // 2 + 1}", 4.5 - n / 10, 4.2 - n / 9, 130.0 - 9 * n, 210, **fates[n]) for n in range(6)]
    lacks: dict[str, Any] = {"missing": ("rapl:package-0", "ranks 6, 7"), "reason": "cut short; nothing was recorded"}
    metrics = totals(1009.0, 760.0, 4.5)
    for name in ("energy_j", "cpu_energy_j", "power_w", "energy_share_j", "energy_rest_j", "co2e_kg"):
        metrics[name] = metrics[name]._replace(upper=None, **lacks)
    run = DataNode("0", NodeType.RUN, metrics, nodes, {"period_ns": 100_000_000, "command": ["python", "climate.py"]})
    fate = {"exit_code": 7, "signal": None, "failed_rank": 3, "failed_ranks": 4}
    gone = {"size": 8, "missing_ranks": [6, 7], "missing_ranks_count": 2}
    regions = [
        balance("step", 600, [3.1, 3.0, 3.2, 2.9, 3.0, 3.1], 90.0),
        balance("write", 12, [0.4], 90.0)._replace(ranks=1),
    ]
    return job("climate", run, those, regions, **fate, **gone)


def many_hosts(number: int = 512, each: int = 8) -> DataNode:
    """A job of thousands of ranks."""
    nodes = [
        host(f"nid{n:05}", 9.1e5 + 997 * (n * 7919 % number), 8.2e5 + 500 * (n * 31 % number), 96.0)
        for n in range(number)
    ]
    those = [
        rank(
            n,
            f"nid{n // each:05}",
            1_800 + n * 37 % 101 / 10,
            1_700 + n * 53 % 997 / 10,
            1.0e5 + 10 * (n * 71 % 4999),
            900 + n % 50,
        )
        for n in range(number * each)
    ]
    energy_j = sum(node.metrics["energy_j"].value or 0 for node in nodes)
    share_j = sum(node.metrics["energy_share_j"].value or 0 for node in nodes)
    run = DataNode("0", NodeType.RUN, totals(energy_j, share_j, 1_811.0), nodes)
    run.metadata = {"period_ns": 100_000_000, "command": ["./solver"], "exit_code": 0, "signal": None}
    regions = [
        balance(f"phase_{k}", 1000 * len(those), [100 + n * 13 % (10 * k + 7) for n in range(len(those))], 550.0)
        for k in range(12)
    ]
    return job("solver", run, those, regions)


def rounds_of_ranks() -> DataNode:
    """A function that three ranks measured in place, each in four rounds."""
    runs: list[DataNode] = []
    for number in range(4):
        those = [rank(n, "node01", 0.2 + n / 50, 0.19, 3.0, 80, exit_code=None, failed=False) for n in range(3)]
        run = run_node(totals(12.0 + number / 10, 9.0, 0.25), command=None, function="train.py:12 train")
        run.id = str(number)
        run.metadata |= {"in_place": True, "failed": False, "exit_code": None}
        runs.append(job("train", run, those, []).nodes[0].nodes[0])
    means = {
        name: metric._replace(mean=float(metric.value), n=4) if metric.value is not None else metric
        for name, metric in totals(12.15, 9.0, 0.25).items()
    }
    root = several("train", means, runs)
    root.nodes[0].balance = [balance("step", 240, [0.11, 0.12, 0.19], 60.0)]
    return root
