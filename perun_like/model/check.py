"""Whether a result agrees with itself: children with parents, parts with sums, bounds with values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from perun_like.model.node import Balance, DataNode, Metric, NodeType, Provenance, Region

_CLOSE = 1e-9  # relative: sums of doubles in another order
_BELOW = {
    NodeType.APP: NodeType.MULTI_RUN,
    NodeType.MULTI_RUN: NodeType.RUN,
    NodeType.RUN: NodeType.NODE,
    NodeType.NODE: NodeType.DEVICE_GROUP,
    NodeType.DEVICE_GROUP: NodeType.SENSOR,
}
RUN_METRICS = (
    "runtime_s", "energy_j", "power_w", "cpu_energy_j", "dram_energy_j", "gpu_energy_j", "energy_share_j",
    "energy_rest_j", "cpu_util_percent", "gpu_util_percent", "memory_peak_b", "gpu_memory_peak_b", "disk_read_b",
    "disk_write_b", "net_recv_b", "net_sent_b", "co2e_kg", "cost", "overhead_cpu_s", "missed_ticks",
)  # fmt: skip
_SUMS = ("energy_j", "cpu_energy_j", "dram_energy_j", "gpu_energy_j", "energy_share_j", "energy_rest_j",
         "disk_read_b", "disk_write_b", "net_recv_b", "net_sent_b", "overhead_cpu_s", "missed_ticks")  # fmt: skip
_PARTS = ("cpu_energy_j", "dram_energy_j", "gpu_energy_j", "energy_share_j", "energy_rest_j")


def self_check(root: DataNode) -> list[str]:
    """What is wrong with a result, in words; empty if it agrees with itself.

    Args:
        root: The tree, or a part of it.
    """
    return [problem for node in root.walk() for check in _CHECKS for problem in check(node)]


def _levels(node: DataNode) -> Iterator[str]:
    for child in node.nodes:
        if _BELOW.get(node.type) is not child.type:
            yield f"{_name(node)} contains {_name(child)}"


def _presence(node: DataNode) -> Iterator[str]:
    if node.type in (NodeType.APP, NodeType.MULTI_RUN, NodeType.RUN):
        for name in RUN_METRICS:
            if name not in node.metrics:
                yield f"{_name(node)} lacks {name}"


def _metrics(node: DataNode) -> Iterator[str]:
    for name, metric in node.metrics.items():
        for problem in _of_metric(metric):
            yield f"{_name(node)}: {name} {problem}"
        if _is_negative(name, metric):
            yield f"{_name(node)}: {name} is negative"


def _is_negative(name: str, metric: Metric) -> bool:
    """Whether a time, an energy or an amount of bytes is less than nothing."""
    numbers = [number for number in (metric.lower, metric.value, metric.upper) if number is not None]
    return (name in ("runtime_s", "energy_j") or name.endswith("_b")) and any(number < 0 for number in numbers)


def _of_metric(metric: Metric) -> Iterator[str]:
    """One figure: its bounds are in order, and if it's missing or partial it says why."""
    numbers = [number for number in (metric.lower, metric.value, metric.upper) if number is not None]
    if not all(math.isfinite(number) for number in numbers):
        yield "is not finite"
    if numbers != sorted(numbers):
        yield f"is out of order: {metric.lower} <= {metric.value} <= {metric.upper} doesn't hold"
    if (metric.value is None) != (metric.provenance is Provenance.MISSING):
        yield f"has the value {metric.value} and the provenance {metric.provenance.value}"
    if metric.value is None and not metric.reason:
        yield "is missing without a reason"
    if metric.missing and (metric.upper is not None or not metric.reason):
        yield "lacks parts, but has an upper bound or no reason"
    yield from _statistics(metric)


def _statistics(metric: Metric) -> Iterator[str]:
    """What is said over rounds: the value is their mean, and what can't be said of a single one isn't."""
    mean, std, n, ci95 = metric.mean, metric.std, metric.n, metric.ci95
    if n is None:
        if (mean, std) != (None, None):
            yield "has statistics of an unknown number of rounds"
        yield from _interval(metric)
        return
    if n < 1:
        yield f"is the mean of {n} rounds"
    if mean is None or metric.value is None or not _agree(mean, metric.value):
        yield f"has the mean {mean} and the value {metric.value}"
    if (std is None) != (ci95 is None) or (std is None) != (n < 2):
        yield f"has the standard deviation {std} and the interval {ci95} over {n} rounds"
    if std is not None and not 0 <= std < math.inf:
        yield f"has the standard deviation {std}"
    if mean is not None and ci95 is not None and not ci95[0] <= mean <= ci95[1]:
        yield f"has the mean {mean} outside of {ci95}"


def _interval(metric: Metric) -> Iterator[str]:
    """What statistics over many calls say: the value is within it, and it within the bounds."""
    if metric.ci95 is None:
        return
    numbers = [metric.lower, metric.ci95[0], metric.value, metric.ci95[1], metric.upper]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or known != sorted(known):
        yield f"has the value {metric.value} and the interval {metric.ci95} in {metric.lower} to {metric.upper}"


def _shares(node: DataNode) -> Iterator[str]:
    """Share and rest make the whole: exactly on one host, up to rounding where several are summed."""
    share, rest, whole = (node.metrics.get(name) for name in ("energy_share_j", "energy_rest_j", "energy_j"))
    if share is None or rest is None or whole is None or rest.value is None or share.value is None:
        return
    if not share.n == rest.n == whole.n:  # means over different rounds
        return
    hosts = node.find(NodeType.NODE)
    complete = all((_value(host, "energy_share_j") is None) == (_value(host, "energy_j") is None) for host in hosts)
    made = share.value + rest.value
    if complete and (whole.value is None or not _agree(made, whole.value, exactly=len(hosts) < 2)):
        yield f"{_name(node)}: share {share.value} and rest {rest.value} don't make {whole.value}"


def _parts(node: DataNode) -> Iterator[str]:
    """No part of an energy can be larger than all of it, over the same rounds."""
    whole = node.metrics.get("energy_j")
    if whole is None or whole.upper is None:
        return
    for name in _PARTS:
        part = node.metrics.get(name)
        if part is None or part.upper is None or part.n != whole.n:
            continue
        if part.upper > whole.upper and not _agree(part.upper, whole.upper):
            yield f"{_name(node)}: {name} is up to {part.upper}, all energy up to {whole.upper}"


def _value(node: DataNode, name: str) -> float | None:
    return node.metrics[name].value if name in node.metrics else None


def _children(node: DataNode) -> Iterator[str]:
    """Sums of parents over children."""
    if node.type is NodeType.DEVICE_GROUP:
        parts = [child for child in node.nodes if child.metadata.get("added")]
        yield from _sum(node, "energy_j", "energy_j", parts)
    elif node.type is NodeType.NODE:
        yield from _sum(node, "energy_j", "energy_j", node.nodes)
        for group in ("cpu", "dram", "gpu"):
            yield from _sum(node, f"{group}_energy_j", "energy_j", [c for c in node.nodes if c.id == group])
    elif node.type is NodeType.MULTI_RUN and len(node.nodes) > 1:
        for name, metric in node.metrics.items():
            yield from _mean(node, name, metric)
    elif node.type is not NodeType.SENSOR:
        for name in _SUMS:
            yield from _sum(node, name, name, node.nodes)


def _sum(node: DataNode, name: str, of: str, parts: list[DataNode]) -> Iterator[str]:
    """Whether a node's metric is the sum of its parts', bounds included."""
    whole = node.metrics.get(name)
    known = [part.metrics[of] for part in parts if of in part.metrics and part.metrics[of].value is not None]
    if whole is None or (whole.value is None and not known):
        return
    if whole.value is None or not known:
        yield f"{_name(node)}: {name} is {whole.value}, its parts are {[metric.value for metric in known]}"
        return
    for bound in ("lower", "value", "upper"):
        figures = [getattr(metric, bound) for metric in known]
        figure = getattr(whole, bound)
        if figure is not None and None not in figures and not _agree(math.fsum(figures), figure):
            yield f"{_name(node)}: {bound} of {name} is {figure}, its parts make {math.fsum(figures)}"
    lacking = {name for metric in known for name in metric.missing}
    if lacking - set(whole.missing):
        yield f"{_name(node)}: {name} doesn't say that it lacks {', '.join(sorted(lacking - set(whole.missing)))}"


def _mean(node: DataNode, name: str, whole: Metric) -> Iterator[str]:
    """Whether a metric is the mean of its rounds', if all of them are there, and its bounds are no farther apart."""
    parts = [run.metrics[name] for run in node.nodes if name in run.metrics]
    known = [part for part in parts if part.value is not None]
    if whole.value is None or whole.n != len(known):
        return
    mean = math.fsum(part.value for part in known if part.value is not None) / len(known)
    if not _agree(mean, whole.value):
        yield f"{_name(node)}: value of {name} is {whole.value}, the mean of its rounds is {mean}"
    for bound, sign in (("lower", 1), ("upper", -1)):
        figures, figure = [getattr(part, bound) for part in known], getattr(whole, bound)
        if figure is None or None in figures:
            continue
        mean = math.fsum(figures) / len(figures)
        if sign * figure < sign * mean and not _agree(mean, figure):
            yield f"{_name(node)}: {bound} of {name} is {figure}, the mean of its rounds' is {mean}"


def _rounds(node: DataNode) -> Iterator[str]:
    """Each round is counted, and no more fail than there are."""
    rounds, failed = node.metadata.get("rounds"), node.metadata.get("failed")
    if node.type is not NodeType.MULTI_RUN or rounds is None:
        return
    if rounds < len(node.nodes):
        yield f"{_name(node)} has {len(node.nodes)} runs, but {rounds} rounds"
    if failed is not None and not 0 <= failed <= rounds:
        yield f"{_name(node)} says that {failed} of {rounds} rounds failed"


def _regions(node: DataNode) -> Iterator[str]:
    for region in node.regions:
        for problem in _of_region(region, node):
            yield f"{_name(node)}: region {region.name} of rank {region.rank} {problem}"


def _of_region(region: Region, run: DataNode) -> Iterator[str]:
    """A region can't be longer or hungrier than its run."""
    for name, metric in region.metrics.items():
        yield from (f"{name} {problem}" for problem in _of_metric(metric))
        if _is_negative(name, metric):
            yield f"{name} is negative"
        whole = run.metrics.get(name) if run.type is NodeType.RUN else None  # a mean of other rounds may be larger
        if name == "power_w" or whole is None or whole.upper is None or metric.lower is None:
            continue
        if metric.lower > whole.upper * (1 + _CLOSE):
            yield f"has more {name} than its run"
    if region.calls < 0:
        yield f"has {region.calls} calls"


def _ranks(node: DataNode) -> Iterator[str]:
    """Each rank is there once, on a host that is there."""
    hosts = {child.id for child in node.nodes}
    numbers = [rank.rank for rank in node.ranks]
    if len(set(numbers)) < len(numbers):
        yield f"{_name(node)} has a rank twice"
    for rank in node.ranks:
        if rank.host and rank.host not in hosts:
            yield f"{_name(node)}: rank {rank.rank} is on {rank.host}, which isn't there"
        for name, metric in rank.metrics.items():
            yield from (f"{_name(node)}: {name} of rank {rank.rank} {problem}" for problem in _of_metric(metric))
            if _is_negative(name, metric):
                yield f"{_name(node)}: {name} of rank {rank.rank} is negative"
    yield from _rank_shares(node)
    gone = node.metadata.get("missing_ranks_count", 0)
    if node.ranks and not node.metadata.get("in_place") and len(node.ranks) + gone < node.metadata.get("size", 0):
        yield f"{_name(node)} has {len(node.ranks)} ranks and lacks {gone} of {node.metadata['size']}"


def _rank_shares(node: DataNode) -> Iterator[str]:
    """The shares of a host's ranks and the rest make its energy exactly, if all are known."""
    shares: dict[str, list[float | None]] = {}
    for rank in node.ranks:
        shares.setdefault(rank.host, []).append(rank.metrics["energy_share_j"].value)
    for host in node.nodes:
        energy, rest = _value(host, "energy_j"), _value(host, "energy_rest_j")
        those = [share for share in shares.get(host.id, []) if share is not None]
        if energy is None or rest is None or not those or len(those) < len(shares[host.id]):
            continue
        if math.fsum([*those, rest]) != energy:
            yield f"{_name(host)}: shares {math.fsum(those)} of its ranks and rest {rest} don't make {energy}"


def _balances(node: DataNode) -> Iterator[str]:
    for balance in node.balance:
        for problem in _of_balance(balance, {rank.rank for rank in node.ranks}):
            yield f"{_name(node)}: region {balance.name} over ranks {problem}"


def _of_balance(balance: Balance, ranks: set[int]) -> Iterator[str]:
    """Minimum, mean and maximum are in order, and of ranks that are there."""
    for name, metric in balance.metrics.items():
        yield from (f"{name} {problem}" for problem in _of_metric(metric))
    for what in ("runtime_s", "energy_j"):
        low, mean, high = (balance.metrics[f"{what}_{word}"].value for word in ("min", "mean", "max"))
        if low is None or mean is None or high is None:
            continue
        if not (low <= mean or _agree(low, mean)) or not (mean <= high or _agree(mean, high)):
            yield f"has {what} out of order: {low} <= {mean} <= {high} doesn't hold"
    if ranks and not set(balance.at.values()) <= ranks:
        yield f"is told of ranks {sorted(set(balance.at.values()) - ranks)}, which aren't there"


def _agree(a: float, b: float, *, exactly: bool = False) -> bool:
    return a == b if exactly else math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-12)


def _name(node: DataNode) -> str:
    return f"{node.type.value} {node.id}"


_CHECKS: tuple[Callable[[DataNode], Iterator[str]], ...] = (
    *(_levels, _presence, _metrics, _shares, _parts),
    *(_children, _rounds, _regions, _ranks, _balances),
)
