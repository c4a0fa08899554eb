"""Lines with one figure each: the answer of a report, and what else is known of the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Scope
from perun_like.report import format as form
from perun_like.report.page import BOLD, DIM, YELLOW, Page, columns

_LABEL = 13  # columns of the first column
_FIGURE = 24
_WORD = 9  # "estimated"
_UNKNOWN = Metric.absent("", "not recorded")


def metric_of(node: DataNode, name: str) -> Metric:
    """A node's metric; missing if it has none of that name."""
    return node.metrics.get(name, _UNKNOWN)


class _Line(NamedTuple):
    label: str
    metric: Metric
    note: str = ""
    codes: tuple[str, ...] = ()
    explain: bool = True  # whether the metric's method is told; if not, the table of devices tells it


def answer(page: Page, run: DataNode) -> list[str]:
    """Energy, the application's share, power, emissions, cost."""
    hosts = [node.id for node in run.find(NodeType.NODE)]
    whole = f"all devices of {hosts[0]}" if len(hosts) == 1 else f"all devices of {len(hosts)} hosts"
    energy, cost = metric_of(run, "energy_j"), metric_of(run, "cost")
    bill = "" if energy.value is None or energy.missing else form.watt_hours(energy.value)
    lines = [
        _Line("Energy", energy, ", ".join(filter(None, (bill, whole if hosts else ""))), (BOLD,), explain=False),
        _Line("Application", metric_of(run, "energy_share_j"), "its share of that"),
        _Line("Mean power", metric_of(run, "power_w"), explain=False),
        _Line("CO2e", metric_of(run, "co2e_kg")),
        _Line("Cost", cost, "" if cost.value is None else form.per_million(cost.value, cost.unit)),
    ]
    return _block(page, lines)


def figures(page: Page, run: DataNode) -> list[str]:
    """Memory, load, input and output."""
    labels = {"Memory peak": "memory_peak_b", "CPU load": "cpu_util_percent"}
    cpus = {node.id: node.metadata.get("logical_cpus") for node in run.find(NodeType.NODE)}
    notes = {"CPU load": f"of {sum(filter(None, cpus.values()))} logical CPUs" if all(cpus.values()) and cpus else ""}
    if metric_of(run, "gpu_util_percent").value is not None:  # most machines have none: nothing to explain
        labels |= {"GPU load": "gpu_util_percent", "GPU memory": "gpu_memory_peak_b"}
    lines = [_Line(label, metric_of(run, name), notes.get(label, "")) for label, name in labels.items()]
    pairs = (
        ("Disk", metric_of(run, "disk_read_b"), "read", metric_of(run, "disk_write_b"), "written"),
        ("Network", metric_of(run, "net_recv_b"), "received", metric_of(run, "net_sent_b"), "sent"),
    )
    missing = [_Line(label, one) for label, one, _, other, _ in pairs if one.value is None and other.value is None]
    shown = [_pair(page, *pair) for pair in pairs if pair[1].value is not None or pair[3].value is not None]
    return _block(page, lines + missing, [line for lines in shown for line in lines])


def _pair(page: Page, label: str, one: Metric, verb: str, other: Metric, other_verb: str) -> list[str]:
    """Two figures on one line, and whose they are."""
    known = one if one.value is not None else other
    text = f"{form.show(one).value} {verb}, {form.show(other).value} {other_verb}"
    whose = {Scope.HOST: "the whole host", Scope.APPLICATION: "the application"}.get(known.scope, known.scope.value)
    return page.paragraph(f"{text} ({whose})", first=f"  {page.pad(label, _LABEL)}", indent=" " * (_LABEL + 2))


def _block(page: Page, lines: list[_Line], more: Sequence[str] = ()) -> list[str]:
    """Lines with figures, then more; those that lack theirs for one reason together; long explanations below."""
    out: list[str] = []
    reasons: dict[str | None, list[str]] = {}
    methods: dict[str, list[str]] = {}
    for line in lines:
        if line.metric.value is None:
            reasons.setdefault(line.metric.reason, []).append(line.label)
            continue
        note, method = _note(line), (line.metric.method or "") if line.explain else ""
        whole = "; ".join(filter(None, (note, method)))
        if method and not _fits(page, line, whole):
            methods.setdefault(method, []).append(line.label)
            whole = note
        out += _figure(page, line, whole)
    missing = [_unavailable(page, labels, reason) for reason, labels in reasons.items()]
    first_lacks = bool(lines) and lines[0].metric.value is None
    gone = [text for paragraph in missing for text in paragraph]
    return [*(gone + out if first_lacks else out + gone), *more, *_explained(page, methods)]


def _note(line: _Line) -> str:
    return f"without {', '.join(line.metric.missing)}" if line.metric.missing else line.note


def _unavailable(page: Page, labels: list[str], reason: str | None) -> list[str]:
    text = f"not available: {reason or 'the reason is not recorded'}"
    if labels == ["Cost"] and reason:
        text = reason  # says it all: no price is known
    if len(labels) == 1:
        first = "  " + page.pad(labels[0], _LABEL)
        return page.paragraph(text, DIM, first=first, indent=" " * len(first))
    return page.paragraph(f"{', '.join(labels)}: {text}", YELLOW)


def _explained(page: Page, methods: dict[str, list[str]]) -> list[str]:
    lines: list[str] = [""] if methods else []
    for method, labels in methods.items():
        lines += page.paragraph(f"{', '.join(labels)}: {method}", DIM, indent="    ")
    return lines


def _text_of(page: Page, line: _Line) -> str:
    metric = line.metric
    if line.label == "Cost" and metric.value is not None:
        return page.clean(form.money(metric.value, metric.unit))
    shown = form.show(metric)
    return page.clean((" " if shown.bounds.startswith("±") else ", ").join(filter(None, shown)))


def _room(page: Page, text: str) -> int:
    return page.width - (2 + _LABEL + max(columns(text), _FIGURE) + 2 + _WORD + 2)


def _fits(page: Page, line: _Line, note: str) -> bool:
    return columns(page.clean(note)) <= _room(page, _text_of(page, line))


def _figure(page: Page, line: _Line, note: str) -> list[str]:
    """A line with a figure, its bounds, where it comes from, and what to know about it."""
    text, word = _text_of(page, line), line.metric.provenance
    figure = page.paint(page.pad(text, _FIGURE), *line.codes)
    colour = DIM if word is Provenance.MEASURED else YELLOW
    start = f"  {page.pad(line.label, _LABEL)}{figure}  {page.paint(page.pad(word.value, _WORD), colour)}"
    room = _room(page, text)
    below = room < 16 and bool(note)
    notes = page.wrap(note, page.width - 4 if below else max(room, 16))
    indent = " " * (4 if below else page.width - room)
    first, rest = ("", notes) if below else (notes[0], notes[1:])
    return [
        (start + "  " + page.paint(first, DIM)).rstrip(),
        *(indent + page.paint(line, DIM) for line in rest),
    ]
