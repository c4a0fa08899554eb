"""The report that people read: first the answer, then devices, regions, the sampler's cost, what is missing.

Figures that are estimated say so wherever they stand. Texts that come from outside (names, reasons, commands)
are cleaned of anything a terminal would obey.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from perun_like.config import Settings
from perun_like.model.node import DataNode, Metric, NodeType
from perun_like.report import format as form
from perun_like.report.balance import balance_table
from perun_like.report.devices import device_table
from perun_like.report.figures import answer, figures, metric_of, short_reason
from perun_like.report.hosts import clocks, host_table
from perun_like.report.page import DIM, GREEN, RED, YELLOW, Page, columns
from perun_like.report.ranks import crew, ended, is_job, left, missing, rank_table, unended, unended_crew
from perun_like.report.rounds import (
    mean_figures,
    mean_region_table,
    mean_run,
    mean_table,
    recorded_rounds,
    total_rounds,
)
from perun_like.report.tables import region_table, round_table
from perun_like.units import NS_PER_S

_FEW = 3  # hosts told by name in a sentence
_SPECIAL = frozenset(" \t\n\"'\\$`|&;<>()[]{}*?!#~")  # what a shell takes for something else


def render(
    root: DataNode,
    *,
    width: int = 80,
    colour: bool = False,
    ascii: bool = False,  # noqa: A002 - the name of the thing
    path: str | None = None,
) -> str:
    """The report of a run as text, ending with a newline.

    Args:
        root: The result, from an APP, MULTI_RUN or RUN node downwards.
        width: No line but the path is wider, in columns; below 60 it is taken as 60.
        colour: Whether to use ANSI escape codes.
        ascii: Whether the stream carries ASCII characters only.
        path: The result's file: the last line, alone and never broken.
    """
    page = Page(width, colour=colour, ascii_only=ascii)
    runs = root.find(NodeType.RUN)
    if not runs:
        sections = [[page.rule(root.id, "no run was recorded", RED)]]
    elif len(runs) > 1:
        whole = next(iter(root.find(NodeType.MULTI_RUN)), None) or DataNode(
            root.id, NodeType.MULTI_RUN, root.metrics, runs
        )
        sections = _of_rounds(page, root, whole)
    else:
        sections = _of_run(page, root.id, runs[0])
    if runs:
        sections.append(_not_run(page, runs))
    if path is not None:
        sections.append([page.clean(path)])
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _of_run(page: Page, name: str, run: DataNode) -> list[list[str]]:
    return [
        _head(page, name, run),
        answer(page, run),
        host_table(page, run),
        device_table(page, run),
        rank_table(page, run),
        figures(page, run),
        balance_table(page, run) or region_table(page, run),
        [*_sampler(page, run), *clocks(page, run)],
        [*missing(page, run), *unended(page, [run]), *_warnings(page, run)],
    ]


def _not_run(page: Page, runs: Sequence[DataNode]) -> list[str]:
    """That a program wasn't run as often as was asked for, as it failed."""
    wanted = (runs[0].metadata.get("settings") or {}).get("rounds")
    if not isinstance(wanted, int) or wanted <= len(runs) or runs[0].metadata.get("in_place"):
        return []
    if _fate(runs[-1])[1] is not RED:  # of many rounds not all have a node
        return []
    were = "was" if len(runs) == 1 else "were"
    text = f"Of {wanted:,} rounds {len(runs):,} {were} run: the last of these failed."
    return page.paragraph(text, YELLOW, first="! ")


def _of_rounds(page: Page, root: DataNode, whole: DataNode) -> list[list[str]]:
    """Several rounds: means first, then one line a round; devices and regions of each are in the file."""
    mean = mean_run(whole)
    return [
        [_rounds_rule(page, root.id, whole), *_command(page, mean)],
        mean_table(page, mean, whole),
        round_table(page, whole.nodes, _fate_if_failed, hidden=recorded_rounds(whole) - len(whole.nodes)),
        mean_region_table(page, mean, whole),
        mean_figures(page, mean, whole),
        [*_sampler(page, mean, " in all rounds"), *clocks(page, mean)],
        [*missing(page, mean), *unended(page, whole.nodes), *_warnings(page, mean)],
    ]


def _rounds_rule(page: Page, name: str, whole: DataNode) -> str:
    """How many rounds, and how they ended: as all of them did, or how many failed."""
    failed = whole.metadata.get("failed", sum(_fate(run)[1] is RED for run in whole.nodes))
    fates = {_fate(run)[0] for run in whole.nodes}
    fate = f"{failed:,} failed" if failed or len(fates) > 1 else fates.pop()
    first = whole.nodes[0]
    ranks = f" · {crew(first)}" if is_job(first) else ""
    return page.rule(name, f"{total_rounds(whole):,} rounds{ranks} · {fate}", RED if failed else GREEN)


def _fate_if_failed(run: DataNode) -> str:
    fate, colour = _fate(run)
    return fate if colour is RED else ""


def _head(page: Page, name: str, run: DataNode) -> list[str]:
    fate, code = _fate(run)
    runtime = metric_of(run, "runtime_s")
    right = fate if runtime.value is None else f"{form.duration(runtime.value)} · {fate}"
    if not is_job(run):
        return [page.rule(name, right, code), *_command(page, run)]
    code = RED if run.metadata.get("missing_ranks") and not run.metadata.get("in_place") else code
    whole = f"{crew(run)} · {right}"
    if columns(page.clean(name)) + columns(page.clean(whole)) + 10 <= page.width:
        return [page.rule(name, whole, code), *_command(page, run)]
    return [page.rule(name, right, code), page.paint(f"  {crew(run)}", code), *_command(page, run)]


def _command(page: Page, run: DataNode) -> list[str]:
    """What ran: a command, or where the function stands that was measured in place."""
    command = run.metadata.get("command") or run.metadata.get("function")
    if not command:
        return []
    text = command if isinstance(command, str) else _as_typed(command)
    return [page.paint("  " + page.shorten(page.clean(text), page.width - 2), DIM)]


def _as_typed(command: Sequence[object]) -> str:
    """A command as a shell would take it, with characters of all scripts as they are."""
    words = [str(word) for word in command]
    quoted = ["'" + word.replace("'", "'\\''") + "'" for word in words]
    return " ".join(q if not word or _SPECIAL & set(word) else word for word, q in zip(words, quoted, strict=True))


def _fate(run: DataNode) -> tuple[str, str]:
    """How the application ended, and the colour of that."""
    if run.metadata.get("in_place"):
        text, colour = (left(run.metadata), RED) if run.metadata.get("failed") else ("in place", GREEN)
    else:
        text, colour = ended(run.metadata), GREEN if run.metadata.get("exit_code") == 0 else RED
    failed = run.metadata.get("failed_rank")
    whose = unended_crew(run) if failed is None else f"rank {failed}: "
    return whose + text, colour


def _sampler(page: Page, run: DataNode, when: str = "") -> list[str]:
    """What watching cost, always: a line that people learn to look past until it says something."""
    cost, missed = metric_of(run, "overhead_cpu_s"), metric_of(run, "missed_ticks")
    if cost.value is None:
        return page.paragraph(f"Sampler: not available: {short_reason(run, cost)}", DIM)
    runtime = 0 if when else metric_of(run, "runtime_s").value or 0
    hosts = max(len(run.find(NodeType.NODE)), 1)
    # It starts before the application and ends after it: the share of a short run would say nothing.
    of = "of a CPU" if hosts == 1 else "of a CPU each"
    share = f" ({form.percent(100 * cost.value / runtime / hosts)} {of})" if runtime >= 1 else ""
    period = run.metadata.get("period_ns")
    every = f", read every {form.period(period)}" if period else ""
    who = "Sampler" if hosts == 1 else f"Samplers of {hosts:,} hosts"
    text = f"{who}: {form.number(cost.value, 's')} of CPU time{when}{share}{every}, {_ticks(missed)}{_thinned(run)}"
    return page.paragraph(text, YELLOW if missed.value else DIM)


def _thinned(run: DataNode) -> str:
    """What became of older samples, where there was no room for all."""
    apart_ns = max((int(host.metadata.get("apart_ns") or 0) for host in run.find(NodeType.NODE)), default=0)
    return f"; older samples thinned out to one every {form.period(apart_ns)}: see --spool-budget" if apart_ns else ""


def _ticks(missed: Metric) -> str:
    if missed.value is None:
        return "missed reads not counted"
    return f"{missed.value:,.0f} missed" if missed.value else "none missed"


def _warnings(page: Page, run: DataNode) -> list[str]:
    lines: list[str] = []
    for text in dict.fromkeys(_texts_of_warnings(run)):
        lines += page.paragraph(text, YELLOW, first="! ")
    return lines


def _texts_of_warnings(run: DataNode) -> Iterator[str]:
    energy = metric_of(run, "energy_j")
    told = energy.reason or "" if energy.value is None else ""  # in the first line of the report
    hosts = run.find(NodeType.NODE)
    cuts = dict.fromkeys(host.metadata["cut"] for host in hosts if host.metadata.get("cut"))
    for cut in cuts:
        those = [host for host in hosts if host.metadata.get("cut") == cut]
        yield f"The recording of {_listed([host.id for host in those])} is incomplete: {cut}{_when(those)}"
    if (root := _other_powercap(run)) is not None:
        yield f"Energy counters were read in {root}, not in {Settings().powercap_root}"
    if (asked := _unheeded_period(run)) is not None:
        often = form.period(run.metadata["period_ns"])
        yield f"A period of {form.period(asked)} was asked for; some energy can only be read every {often}"
    where: dict[str, list[str]] = {}
    for node in (run, *hosts):
        for entry in node.metadata.get("missing", ()):
            if entry["reason"] != node.metadata.get("cut") and entry["reason"] not in told:
                text = ". ".join(filter(None, (f"{entry['what']}: {entry['reason']}", entry.get("remedy"))))
                where.setdefault(text, []).extend([node.id] if node is not run else [])
    for text, names in where.items():
        yield f"{_listed(names)}: {text}" if 0 < len(names) < len(hosts) else text


def _unheeded_period(run: DataNode) -> int | None:
    """The period that was asked for, if energy was read less often than that."""
    read, asked = run.metadata.get("period_ns"), (run.metadata.get("settings") or {}).get("period_ns")
    return asked if read and asked and asked < read else None


def _other_powercap(run: DataNode) -> str | None:
    """What stood for the kernel's powercap tree: a container's, or a simulated machine's."""
    root = (run.metadata.get("settings") or {}).get("powercap_root")
    is_read = any(sensor.id.startswith("rapl:") for sensor in run.find(NodeType.SENSOR))
    return root if is_read and root and os.path.normpath(root) != Settings().powercap_root else None


def _when(hosts: Sequence[DataNode]) -> str:
    """When recordings that were cut end: the first of them, if there are several."""
    ends_ns = [ns for host in hosts if (ns := host.metadata.get("cut_unix_ns")) is not None]
    if not ends_ns:
        return ""
    end = datetime.fromtimestamp(min(ends_ns) // NS_PER_S, timezone.utc)
    return f"; {'the first' if len(hosts) > 1 else 'it'} ends at {end:%Y-%m-%d %H:%M:%S} UTC"


def _listed(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _FEW:,} more hosts" if len(hosts) > _FEW else ""
    return f"{', '.join(hosts[:_FEW])}{more}"
