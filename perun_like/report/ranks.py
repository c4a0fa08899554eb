"""The ranks of a job: a line each, of many the extremes and which rank has them; those that are missing or failed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perun_like.model.node import DataNode, Metric, Rank
from perun_like.report import format as form
from perun_like.report.page import DIM, RED, YELLOW, Cell, Page
from perun_like.report.tables import fitting, header

_MOST = 8
_NAMED = 6  # ranks told by number in a sentence
_COLUMNS = {"time": "runtime_s", "CPU time": "cpu_s", "energy share": "energy_share_j", "memory": "memory_peak_b"}
_DISPENSABLE = ("memory", "CPU time", "energy share", "time")  # whose extremes' ranks have no room first
_UNENDED = "end not recorded"
_NOTHING = Metric.absent("", "not recorded")


def is_job(run: DataNode) -> bool:
    """Whether a run has, or should have had, several ranks."""
    return run.metadata.get("ranks") is not None


def crew(run: DataNode) -> str:
    """``4 ranks on 1 host``; ``3 of 4 ranks on 1 host`` where one is missing."""
    seen, size, hosts = run.metadata["ranks"], run.metadata["size"], len(run.nodes)
    missing = run.metadata.get("missing_ranks_count", 0)
    ranks = f"{seen:,} of {size:,} ranks" if missing else f"{seen:,} rank{'' if seen == 1 else 's'}"
    return f"{ranks} on {hosts:,} host{'' if hosts == 1 else 's'}" if hosts else ranks


def unended_crew(run: DataNode) -> str:
    """Whose end was not recorded, ``rank 2: ``, if it is one rank's only."""
    gone = run.metadata.get("unended_ranks") or []
    return f"rank {gone[0]}: " if run.metadata.get("unended_ranks_count", len(gone)) == 1 else ""


def ended(metadata: Mapping[str, Any]) -> str:
    """How a process ended: ``exit code 0``, ``killed by SIGKILL``."""
    number = metadata.get("signal")
    if number is not None:
        known = {int(s): s.name for s in signal.Signals}
        return f"killed by {known.get(int(number), f'signal {number}')}"
    code = metadata.get("exit_code")
    return _UNENDED if code is None else f"exit code {code}"


def left(metadata: Mapping[str, Any]) -> str:
    """How a call ended that failed, as far as is known."""
    return _UNENDED if metadata.get("unended") else "raised"


def rank_table(page: Page, run: DataNode) -> list[str]:
    """Time, CPU time, share of the energy and memory of the ranks."""
    if not run.ranks:
        return []
    columns = {
        title: name
        for title, name in _COLUMNS.items()
        if any(rank.metrics.get(name, _NOTHING).value is not None for rank in run.ranks)
    }
    lines = _each(page, run, columns) if len(run.ranks) <= _MOST else _extremes(page, run.ranks, columns)
    return lines + _failed(page, run)


def _each(page: Page, run: DataNode, columns: Mapping[str, str]) -> list[str]:
    hosts = len(run.nodes) > 1
    titles = ["Rank", *(["host"] if hosts else [])]
    for title in columns:
        titles += [f">{title}", "estimated"] if title == "energy share" else [f">{title}"]
    cells = [header(*titles)]
    for rank in run.ranks:
        row = [Cell(str(rank.rank)), *([Cell(rank.host, (DIM,))] if hosts else [])]
        for title, name in columns.items():
            metric = rank.metrics.get(name, _NOTHING)
            row.append(_cell(metric))
            row += [Cell(form.show(metric).bounds, (DIM,))] if title == "energy share" else []
        cells.append(row)
    bounds = titles.index("estimated") if "estimated" in titles else None
    return page.table(fitting(page, cells, () if bounds is None else (bounds,)), flexible=int(hosts))


def _cell(metric: Metric) -> Cell:
    """A figure; memory without the "at least" that a child too short to be seen would ask for."""
    if metric.value is None:
        return Cell("unknown", (DIM,), right=True)
    text = form.number(metric.value, metric.unit) if metric.unit == "B" else form.show(metric).value
    return Cell(text, right=True)


def _extremes(page: Page, ranks: Sequence[Rank], columns: Mapping[str, str]) -> list[str]:
    """Largest, mean and smallest of each column, and the rank that has it."""
    titles = [f"{len(ranks):,} ranks"]
    for title in columns:
        titles += [f">{title}", ">rank"]
    parts = {name: _known(ranks, name) for name in columns.values()}
    rows = [
        [Cell(word), *(cell for name in columns.values() for cell in _extreme(parts[name], of))]
        for word, of in (("most", max), ("mean", None), ("least", min))
    ]
    known = list(columns)
    drop = [2 * known.index(title) + 2 for title in _DISPENSABLE if title in known]
    lines = page.table(fitting(page, [header(*titles), *rows], drop))
    if "energy share" in columns:
        lines += page.paragraph("Energy shares are estimated, by CPU time; each rank's bounds are in the file.", DIM)
    return lines


def _known(ranks: Iterable[Rank], name: str) -> list[tuple[float, int, str]]:
    """Figure, rank and unit of the ranks that have a metric."""
    metrics = [(rank.metrics.get(name, _NOTHING), rank.rank) for rank in ranks]
    return [(float(metric.value), rank, metric.unit) for metric, rank in metrics if metric.value is not None]


def _extreme(known: Sequence[tuple[float, int, str]], of: Callable[..., Any] | None) -> list[Cell]:
    unit = known[0][2]
    if of is None:
        mean = sum(value for value, _, _ in known) / len(known)
        return [Cell(_figure(mean, unit), right=True), Cell("")]
    value, rank, _ = of(known, key=_value)
    return [Cell(_figure(value, unit), right=True), Cell(str(rank), (DIM,), right=True)]


def _value(known: tuple[float, int, str]) -> float:
    return known[0]


def _figure(value: float, unit: str) -> str:
    return form.duration(value) if unit == "s" else form.number(value, unit)


def _failed(page: Page, run: DataNode) -> list[str]:
    """Ranks that failed, by how they ended, the first one first."""
    first = run.metadata.get("failed_rank")
    fates: dict[str, list[int]] = {}
    for rank in sorted(run.ranks, key=lambda rank: rank.rank != first):
        if rank.metadata.get("failed"):
            fates.setdefault(left(rank.metadata), []).append(rank.rank)
        elif rank.metadata.get("signal") is not None or rank.metadata.get("exit_code") not in (0, None):
            fates.setdefault(ended(rank.metadata), []).append(rank.rank)
    if not fates:
        return []
    texts = [f"{fate} ({listed(ranks, len(ranks))})" for fate, ranks in fates.items()]
    return page.paragraph(f"Failed, the first one first: {', '.join(texts)}", RED)


def listed(ranks: Sequence[int], count: int) -> str:
    """``rank 3``, ``ranks 1, 2``, ``ranks 0, 1, 2, 3, 4, 5 and 20 more``."""
    named = ", ".join(map(str, ranks[:_NAMED]))
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return f"rank{'' if count == 1 else 's'} {named}{more}"


def missing(page: Page, run: DataNode) -> list[str]:
    """Of which ranks nothing was recorded."""
    gone = run.metadata.get("missing_ranks")
    if not gone:
        return []
    those = listed(gone, run.metadata.get("missing_ranks_count", len(gone)))
    if run.metadata.get("in_place"):
        return page.paragraph(f"Nothing was measured in place on {those}.", DIM)
    text = f"Nothing was recorded of {those}, nor of hosts where no other ranks were."
    return page.paragraph(text, RED, first="! ")


def unended(page: Page, runs: Sequence[DataNode]) -> list[str]:
    """Of which ranks the end was not recorded, in any of some runs, why, and what isn't known therefore."""
    gone = [run for run in runs if run.metadata.get("unended_ranks")]
    if not gone:
        return []
    last = gone[-1].metadata
    count = last.get("unended_ranks_count", len(last["unended_ranks"]))
    one = count == 1
    if last.get("in_place"):
        why = f"{'it was' if one else 'they were'} killed before the call ended"
    else:
        why = (
            f"{'its profiler was' if one else 'their profilers were'} killed before the rank{'' if one else 's'} ended"
        )
    text = (
        f"The recording of {listed(last['unended_ranks'], count)} is incomplete: {why}. Only an end tells CPU time, and"
        " with it the share of the energy, and the peak of memory."
    )
    return page.paragraph(text, YELLOW, first="! ")
