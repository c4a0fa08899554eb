"""The result: a tree of nodes, each with metrics. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


class NodeType(str, Enum):
    """Levels of the tree, from the outside in."""

    APP = "APP"
    MULTI_RUN = "MULTI_RUN"
    RUN = "RUN"
    NODE = "NODE"
    DEVICE_GROUP = "DEVICE_GROUP"
    SENSOR = "SENSOR"


# Names of the metrics of a RUN, each of them always there.
METRICS = (
    "runtime_s", "energy_j", "power_w", "cpu_energy_j", "dram_energy_j", "gpu_energy_j", "energy_share_j",
    "energy_rest_j", "cpu_util_percent", "gpu_util_percent", "memory_peak_b", "gpu_memory_peak_b", "disk_read_b",
    "disk_write_b", "net_recv_b", "net_sent_b", "overhead_cpu_s", "missed_ticks", "co2e_kg", "cost",
)  # fmt: skip


class Provenance(str, Enum):
    """Where a figure comes from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    MIXED = "mixed"  # a sum with measured and estimated parts
    MISSING = "missing"  # could not be had; the value is None and a reason is given


class Scope(str, Enum):
    """Whose figure it is."""

    HOST = "host"  # the machine's devices while the application ran
    APPLICATION = "application"  # the share attributed to the application's processes
    SAMPLER = "sampler"  # our own cost


class Metric(NamedTuple):
    """A figure and how sure it is.

    Attributes:
        value: In ``unit``; None where missing, never 0 for something that could not be read.
        lower: Not less than this; None if no bound is known.
        upper: Not more than this; None if no bound is known. None beside a value and ``missing`` means "at least".
        missing: Names of the parts that a sum lacks.
        reason: Why the value is missing or partial.
        method: How an estimate was made, or what bounds mean where they are not hard.
        mean, std, n, ci95: Over the rounds of a MULTI_RUN: ``value`` is the mean over the ``n`` rounds that have the
            metric, ``std`` their standard deviation, ``ci95`` the two ends of the interval that contains the true mean
            with 95 % confidence as far as rounds differ by chance. ``lower`` and ``upper`` say how well this mean was
            measured, whatever the rounds differ by. ``ci95`` alone, of a region's energy: what statistics over its many
            calls say, where reads are too far apart for bounds that say much.
    """

    value: float | int | None
    unit: str
    lower: float | None = None
    upper: float | None = None
    provenance: Provenance = Provenance.MEASURED
    scope: Scope = Scope.HOST
    missing: tuple[str, ...] = ()
    reason: str | None = None
    method: str | None = None
    mean: float | None = None
    std: float | None = None
    n: int | None = None
    ci95: tuple[float, float] | None = None

    @classmethod
    def absent(cls, unit: str, reason: str, scope: Scope = Scope.HOST) -> Metric:
        """A figure that could not be had, and why."""
        return cls(None, unit, provenance=Provenance.MISSING, scope=scope, reason=reason)


class Region(NamedTuple):
    """A named part of the program: how often it ran on a rank, and what the host's devices used meanwhile."""

    name: str
    rank: int
    calls: int
    metrics: dict[str, Metric]


class Balance(NamedTuple):
    """How a region is spread over the ranks of a job in which it was active.

    Attributes:
        ranks: How many they are.
        calls: In all of them together.
        metrics: ``runtime_s_min``, ``runtime_s_mean``, ``runtime_s_max``, the same of ``energy_j``, and
            ``imbalance_percent``: by how much the longest time exceeds the mean. Energy is that of a rank's whole host
            while the region was active on the rank.
        at: The rank whose figure it is, by the name of a minimum or maximum.
    """

    name: str
    ranks: int
    calls: int
    metrics: dict[str, Metric]
    at: dict[str, int]


class Rank(NamedTuple):
    """One rank of a job.

    Attributes:
        host: The id of its NODE; empty if none of that host was recorded.
        metrics: ``runtime_s``, ``cpu_s``, ``energy_share_j`` and ``memory_peak_b``. Shares of a host's ranks and its
            ``energy_rest_j`` make its ``energy_j`` to the last bit.
        metadata: ``exit_code`` and ``signal``; of what was measured in place whether it ``failed``; ``gpus``,
            identities of the GPUs that it could see, where the host has any.
    """

    rank: int
    host: str
    metrics: dict[str, Metric]
    metadata: Mapping[str, Any] = {}


@dataclass
class DataNode:
    """One node of the result tree.

    Attributes:
        metadata: Facts that are not figures: sensor properties, exit code, command line, versions; of a MULTI_RUN how
            many ``rounds`` there were and how many ``failed``, which may be more than it has nodes.
        regions: Of a RUN; of a MULTI_RUN of several rounds, their means over the rounds in which each was active.
        ranks: Of a job's RUN, those that were seen, in order.
        balance: Of a job, how these regions are spread over the ranks.
    """

    id: str
    type: NodeType
    metrics: dict[str, Metric] = field(default_factory=dict[str, Metric])
    nodes: list[DataNode] = field(default_factory=list["DataNode"])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    regions: list[Region] = field(default_factory=list[Region])
    ranks: list[Rank] = field(default_factory=list[Rank])
    balance: list[Balance] = field(default_factory=list[Balance])

    def walk(self) -> Iterator[DataNode]:
        """This node and all below it, parents before children."""
        yield self
        for node in self.nodes:
            yield from node.walk()

    def find(self, type_: NodeType) -> list[DataNode]:
        """All nodes of a type, in tree order; none is inside another one of its type."""
        if self.type is type_:
            return [self]
        return [node for child in self.nodes for node in child.find(type_)]


def missing_metrics(reason: str) -> dict[str, Metric]:
    """The metrics of a RUN of which nothing is known."""
    return {name: Metric.absent(_unit_of(name), reason) for name in METRICS}


def _unit_of(name: str) -> str:
    endings = {"_s": "s", "_j": "J", "_w": "W", "_b": "B", "_percent": "%", "_kg": "kg", "_ticks": "1"}
    return next((unit for ending, unit in endings.items() if name.endswith(ending)), "")
