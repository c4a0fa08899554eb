"""Results of single hosts as the result of the run on all of them.

What is said of a host is said by its own result, whatever else there is; what is said of the run is worked out from
that, by the same functions as in :mod:`perun_like.analysis.tree`. So nothing here grows with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from perun_like.analysis.balance import balance_of
from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.facts import is_job, lacking, rounds_metadata, run_metadata
from perun_like.analysis.hosts import clock_error_s, clock_step_s
from perun_like.analysis.rounds import timeline_of
from perun_like.analysis.tree import over_one_round, run_metrics
from perun_like.model.node import DataNode, NodeType
from perun_like.model.recording import Recording


def merged(whole: Recording, trees: Iterable[DataNode], assumptions: Assumptions) -> DataNode:
    """The result of a run on several hosts.

    Args:
        whole: The run as :func:`perun_like.model.joining.joined` makes it of its hosts, without what they recorded.
        trees: The result of each host, in the same order: of a recording of that host alone, of a single round. Only
            what the whole has of it is kept, so they may be read one by one.
        assumptions: Place, PUE and price of the electricity.

    Returns:
        The APP node, equal to what :func:`perun_like.analysis.tree.analyse` makes of all recordings at once.
    """
    timeline = timeline_of(whole, ())
    of = timeline.round(0)
    run = DataNode(str(of.number), NodeType.RUN, metadata=run_metadata(whole, of, assumptions))
    periods_ns: set[int] = set()
    for part in _with_names(trees):
        run.nodes += part.nodes
        run.regions += part.regions
        run.ranks += part.ranks
        periods_ns.add(part.metadata.get("period_ns") or 0)
    # How often energy was read: the slowest. A host that has none says what was asked for, which isn't slower.
    run.metadata |= {"period_ns": max(periods_ns)} if any(periods_ns) else {}
    run.ranks.sort(key=lambda rank: rank.rank)
    run.metrics = run_metrics(of.duration_s, run.nodes, assumptions, lacking(whole, of))
    run.balance = balance_of(run.regions) if is_job(whole) else []
    metrics = over_one_round(run.metrics)
    several = DataNode(whole.run_id, NodeType.MULTI_RUN, metrics, [run], rounds_metadata(whole, timeline))
    return DataNode(whole.name, NodeType.APP, dict(metrics), [several])


def needed(tree: DataNode) -> DataNode:
    """What :func:`merged` looks at of a host's result: half of it."""
    run = tree.nodes[0].nodes[0]
    period = {key: run.metadata[key] for key in ("period_ns",) if key in run.metadata}
    kept = DataNode(run.id, NodeType.RUN, nodes=run.nodes, metadata=period, regions=run.regions, ranks=run.ranks)
    return DataNode(tree.id, NodeType.APP, nodes=[DataNode(tree.nodes[0].id, NodeType.MULTI_RUN, nodes=[kept])])


def _with_names(trees: Iterable[DataNode]) -> Iterator[DataNode]:
    """The RUN of each host, with nodes as they are called among others."""
    taken: list[str] = []
    for number, tree in enumerate(trees):
        run = tree.nodes[0].nodes[0]
        (node,) = run.nodes
        name = str(node.metadata.get("hostname") or f"host {number}")
        unique = name if name not in taken else f"{name} #{number}"
        taken.append(name)
        node = replace(node, id=unique, metadata={**node.metadata, **_clocks(node.metadata)})
        yield replace(run, nodes=[node], ranks=[rank._replace(host=unique) for rank in run.ranks])


def _clocks(metadata: dict[str, Any]) -> dict[str, Any]:
    """How far this host's times can be compared with those of others."""
    clocks = metadata.get("clocks")
    return {"clock_error_s": clock_error_s(clocks), "clock_step_s": clock_step_s(clocks)}
