"""``perun-like sensors --by-rank``: which rank of a job reads what for its host, and which GPUs each of them can see.

A job finds that out when it runs, so this runs one, of nothing but ``true``, and shows what came of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from perun_like.config import Settings
from perun_like.errors import PerunError
from perun_like.launch.child import original_environ
from perun_like.launch.comm import Comm
from perun_like.launch.launchers import detect
from perun_like.model.node import DataNode, NodeType
from perun_like.monitoring.application import Application
from perun_like.monitoring.monitor import PerunMonitor
from perun_like.report.page import BOLD, DIM, Cell, Page
from perun_like.sampling.local import remove_directory
from perun_like.store.gather import hosts_directory
from perun_like.store.place import new_run_id

_NAME = "sensors-by-rank"
_COMMAND = "true"


def assignment(settings: Settings, specs: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """What each rank of this job reads and sees, by host: found by running the job.

    Args:
        settings: Of the command.
        specs: Backends to ask.

    Returns:
        Plain data for JSON; None on all ranks but the one that has the result.

    Raises:
        PerunError: it can't be found out.
    """
    environ = original_environ()
    comm = detect(environ)
    if comm.problem is not None:
        raise PerunError(comm.problem)
    tree = _tried(settings, specs, comm, environ)
    return None if tree is None else [_host(node, tree) for node in tree.find(NodeType.NODE)]


def _tried(settings: Settings, specs: Mapping[str, str], comm: Comm, environ: Mapping[str, str]) -> DataNode | None:
    settings = settings._replace(name=_NAME, run_id=None, rounds=1, warmup=0)
    monitor = PerunMonitor(Application.executable(_COMMAND, (), environ), comm, specs, {}, settings)
    try:
        _, tree, _ = monitor.run_application(new_run_id())
    finally:
        monitor.close()
    if monitor.path is not None:
        _remove(monitor.path)
        if settings.origins.get("output") == "default":
            with suppress(OSError):  # it has other results
                os.rmdir(settings.output)
    if monitor.problem is not None:
        raise PerunError(monitor.problem)
    return tree


def _remove(path: str) -> None:
    """Leave no results of a run of nothing."""
    remove_directory(hosts_directory(path))
    with suppress(OSError):  # somebody else has removed it, or looks at another one there
        os.unlink(path)
        os.rmdir(os.path.dirname(path))


def _host(node: DataNode, tree: DataNode) -> dict[str, Any]:
    (run,) = tree.find(NodeType.RUN)
    reads: dict[int, list[str]] = defaultdict(list)
    for sensor in node.find(NodeType.SENSOR):
        reads[sensor.metadata["read_by_rank"]].append(sensor.id)
    gpus = {
        sensor.metadata["identity"]: sensor.id.partition("/")[0]
        for sensor in node.find(NodeType.SENSOR)
        if sensor.metadata.get("domain") == "gpu"
    }
    ranks = [rank for rank in run.ranks if rank.host == node.id]
    seen = {rank.rank: rank.metadata.get("gpus") for rank in ranks} or {0: None}
    return {
        "host": node.id,
        "ranks": [
            {
                "rank": rank,
                "reads": reads.get(rank, []),
                "gpus": None if those is None else [{"identity": each, "sensor": gpus.get(each)} for each in those],
            }
            for rank, those in seen.items()
        ],
    }


def show(hosts: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print it on stdout."""
    if as_json:
        sys.stdout.write(json.dumps({"hosts": hosts}, indent=2) + "\n")
        return
    from perun_like.report.terminal import page_for

    page = page_for(sys.stdout)
    lines = [line for host in hosts for line in _lines(page, host)]
    sys.stdout.write("\n".join(lines) + "\n")


def _lines(page: Page, host: Mapping[str, Any]) -> Iterator[str]:
    yield page.paint(page.clean(str(host["host"])), BOLD)
    ranks = host["ranks"]
    readers = [rank["rank"] for rank in ranks if rank["reads"]]
    width = max(len(listed([rank["rank"] for rank in ranks if not rank["reads"]])), *map(len, map(str, readers)), 4)
    yield from page.table([[Cell("Rank".ljust(width), (DIM,)), Cell("reads for all ranks of the host", (DIM,))]])
    for rank in ranks:
        if rank["reads"]:
            first = f"  {rank['rank']!s:{width}}  "
            yield from page.paragraph(_by_backend(rank["reads"]), first=first, indent=" " * len(first))
    if idle := [rank["rank"] for rank in ranks if not rank["reads"]]:
        yield from page.table([[Cell(listed(idle).ljust(width)), Cell("nothing", (DIM,))]])
    if any(rank["gpus"] is not None for rank in ranks):
        yield from page.table([[Cell("Rank", (DIM,)), Cell("sees", (DIM,))], *_views(ranks)], flexible=1)
    yield ""


def _by_backend(ids: Sequence[str]) -> str:
    """``rapl: package-0, package-0/dram; memory: used``."""
    backends: dict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        backend, _, name = id_.partition(":")
        backends[backend].append(name)
    return "; ".join(f"{backend}: {', '.join(names)}" for backend, names in backends.items())


def _views(ranks: Sequence[Mapping[str, Any]]) -> list[list[Cell]]:
    """Ranks that see the same in one row."""
    views: dict[str, list[int]] = defaultdict(list)
    for rank in ranks:
        gpus = [f"{gpu['sensor'] or 'not read'} ({gpu['identity']})" for gpu in rank["gpus"] or ()]
        text = "unknown" if rank["gpus"] is None else ", ".join(gpus) or "no GPU"
        views[text].append(rank["rank"])
    return [[Cell(listed(those)), Cell(text)] for text, those in views.items()]


def listed(ranks: Sequence[int]) -> str:
    """``0 to 3, 6``."""
    ends: list[tuple[int, int]] = []
    for rank in ranks:
        if ends and ends[-1][1] == rank - 1:
            ends[-1] = ends[-1][0], rank
        else:
            ends.append((rank, rank))
    return ", ".join(f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a} to {b}" for a, b in ends)
