"""What is known of a whole run, a line each: the answer of a report, then memory, load, input and output."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.model.node import DataNode, Metric, NodeType, Scope
from perun_like.report import format as form
from perun_like.report.block import LABEL, Line, block
from perun_like.report.page import BOLD, DIM, YELLOW, Page
from perun_like.report.tables import too_short

_UNKNOWN = Metric.absent("", "not recorded")
_WHOSE = {Scope.HOST: "whole host", Scope.APPLICATION: "this program"}
_TINY = 0.001  # of a currency: below it, a million runs are easier to imagine
ANSWER = {
    "Energy": "energy_j",
    "  program": "energy_share_j",  # indented: a part of it
    "Mean power": "power_w",
    "CO2e": "co2e_kg",
    "Cost": "cost",
}
_FIGURES = {
    "Memory peak": (("memory_peak_b", ""),),
    "CPU load": (("cpu_util_percent", ""),),
    "GPU load": (("gpu_util_percent", ""),),
    "GPU memory": (("gpu_memory_peak_b", ""),),
    "Disk": (("disk_read_b", "read"), ("disk_write_b", "written")),
    "Network": (("net_recv_b", "received"), ("net_sent_b", "sent")),
}


def metric_of(node: DataNode, name: str) -> Metric:
    """A node's metric; missing if it has none of that name."""
    return node.metrics.get(name, _UNKNOWN)


def name_of(id_: str) -> str:
    """``package-0`` of ``rapl:package-0``."""
    return id_.partition(":")[2] or id_


def reason(metric: Metric) -> str:
    """Why a figure is missing."""
    return metric.reason or "the reason is not recorded"


def short_reason(run: DataNode, metric: Metric) -> str:
    """Why a figure is missing; brief if it is what cut the recording short, which the report tells elsewhere."""
    cuts = {host.metadata.get("cut") for host in run.find(NodeType.NODE)}
    return "the recording is incomplete" if metric.reason and metric.reason in cuts else reason(metric)


def answer_of(run: DataNode) -> dict[str, str]:
    """Labels and names of the metrics of a run's answer; of a job also what isn't the application's."""
    if run.metadata.get("ranks") is None:
        return ANSWER
    return {"Energy": "energy_j", "  program": "energy_share_j", "  the rest": "energy_rest_j"} | ANSWER


def answer(page: Page, run: DataNode) -> list[str]:
    """Energy, the application's part of it, power, emissions, cost."""
    lines: list[Line] = []
    missing: dict[str, str] = {}
    for label, name in answer_of(run).items():
        metric = metric_of(run, name)
        if metric.value is None:
            missing[label.replace("  program", "the program's share").strip()] = reason(metric)
        else:
            lines.append(_line(*explained(run, label, name, metric)))
    rows, below = block(page, lines)
    gone = unavailable(page, missing)
    return [*gone, *rows, *below] if "Energy" in missing else [*rows, *gone, *below]


def explained(run: DataNode, label: str, name: str, metric: Metric) -> tuple[str, Metric, list[str]]:
    """A metric of the answer as it is shown: its label, itself, and the notes beside it."""
    if name == "cost" and 0 < (metric.value or 0) < _TINY:
        return "Cost of 1M", _times(metric, 1e6), ["a million runs"]
    return label, *_explained(run, name, metric)


def _explained(run: DataNode, name: str, metric: Metric) -> tuple[Metric, list[str]]:
    if name in ("energy_j", "power_w"):
        metric = metric._replace(method=None)  # the table of devices tells it
    if name == "energy_j":
        return metric, [] if metric.missing else [
            form.watt_hours(metric.value or 0),
            _devices_of(run),
            *_unresolved(run, metric),
        ]
    if name == "energy_share_j":
        first, *others = (metric.method or "").split("; ")  # the others are about bounds
        if metric.missing:
            return metric._replace(method=first), []
        return metric._replace(method=None), ["its share", first, *others]
    if name == "energy_rest_j":
        return metric._replace(method=None), [] if metric.missing else ["idle and others"]
    return metric, []


def _unresolved(run: DataNode, energy: Metric) -> list[str]:
    """That reads are too far apart for it, if they are."""
    period = run.metadata.get("period_ns")
    read = f" every {form.period(period)}" if period else ""
    return [f"too short to be resolved by reads{read}: see --period"] if too_short(energy) else []


def _devices_of(run: DataNode) -> str:
    hosts = [node.id for node in run.find(NodeType.NODE)]
    whose = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    return f"all devices of {whose}" if hosts else ""


def _times(metric: Metric, factor: float) -> Metric:
    value, lower, upper, mean, std = (
        None if figure is None else factor * figure
        for figure in (metric.value, metric.lower, metric.upper, metric.mean, metric.std)
    )
    ci95 = metric.ci95 and (factor * metric.ci95[0], factor * metric.ci95[1])
    return metric._replace(value=value, lower=lower, upper=upper, mean=mean, std=std, ci95=ci95)


def _line(label: str, metric: Metric, notes: Sequence[str]) -> Line:
    shown = form.show(metric)
    codes = (BOLD,) if label == "Energy" else ()
    return Line(label, shown.value, shown.bounds, metric.provenance, notes_on(metric, notes), codes)


def notes_on(metric: Metric, notes: Sequence[str]) -> list[str]:
    """Notes on a metric and how it was had, unless it is exact: then there is nothing to explain."""
    exact = metric.lower is not None and metric.lower == metric.upper
    return [text for text in (*notes, _lacks(metric), "" if exact else metric.method) if text]


def _lacks(metric: Metric) -> str:
    """``dram incomplete``; ``without rank 3`` of what was never there."""
    ranks = [name for name in metric.missing if name.startswith(("rank ", "ranks ")) or name.endswith(" ranks")]
    others = [name_of(name) for name in metric.missing if name not in ranks]
    texts = [f"{', '.join(others)} incomplete" if others else "", f"without {', '.join(ranks)}" if ranks else ""]
    return ", ".join(filter(None, texts))


def figures(page: Page, run: DataNode) -> list[str]:
    """Memory, load, input and output, each with whose it is."""
    lines: list[Line] = []
    missing: dict[str, str] = {}
    for label, verbs in _FIGURES.items():
        metrics = {verb: metric_of(run, name) for name, verb in verbs}
        known = [metric for metric in metrics.values() if metric.value is not None]
        if known:
            lines.append(_figure(label, metrics, _load(run) if label == "CPU load" else _WHOSE.get(known[0].scope, "")))
        elif not label.startswith("GPU"):  # most machines have none: nothing to explain
            missing[label] = short_reason(run, next(iter(metrics.values())))
    rows, notes = block(page, lines)
    return [*rows, *unavailable(page, missing), *notes]


def _load(run: DataNode) -> str:
    cpus = [node.metadata.get("logical_cpus") for node in run.find(NodeType.NODE)]
    whose = "whole host" if len(cpus) < 2 else "all hosts"
    return f"{whose}, {sum(filter(None, cpus)):,} CPUs" if all(cpus) and cpus else whose


def _figure(label: str, metrics: dict[str, Metric], note: str) -> Line:
    """A figure, or two with a verb each: ``1.2 MiB read, 0 B written``."""
    first, *others = metrics.values()
    if not others:
        return _line(label, first, (note,))
    known = [metric for metric in metrics.values() if metric.value is not None]
    texts = [
        f"{verb} unknown" if metric.value is None else f"{form.show(metric).value} {verb}"
        for verb, metric in metrics.items()
    ]
    reasons = [metric.reason or "" for metric in metrics.values()]
    return Line(label, ", ".join(texts), "", known[0].provenance, [text for text in (note, *reasons) if text])


def unavailable(page: Page, missing: dict[str, str]) -> list[str]:
    """Figures that couldn't be had; those that lack one reason together."""
    labels: dict[str, list[str]] = {}
    for label, why in missing.items():
        labels.setdefault(why, []).append(label)
    lines: list[str] = []
    for why, those in labels.items():
        text = why if those == ["Cost"] else f"not available: {why}"  # no price is known: that says it all
        first = f"  {page.pad(those[0], LABEL)}  "
        if len(those) == 1:
            lines += page.paragraph(text, DIM, first=first, indent=" " * len(first))
        else:
            lines += page.paragraph(f"{', '.join(those)}: {text}", YELLOW)
    return lines
