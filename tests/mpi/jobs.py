"""What tests of whole jobs share: running them under a profiler, their files, and what is left of them."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import perun_like
from mpi.conftest import host_id
from perun_like.model.node import DataNode, Metric, NodeType
from perun_like.model.recording import Recording
from perun_like.sampling.local import private_directory
from perun_like.store.reader import read_recording

SOON_S = 2.0  # the longest that anything of ours may live on


@dataclass(frozen=True)
class Result:
    """The one file of a job, read."""

    path: Path
    tree: DataNode
    recording: Recording

    @property
    def run(self) -> DataNode:
        (run,) = self.tree.find(NodeType.RUN)
        return run

    @property
    def hosts(self) -> dict[str, DataNode]:
        return {node.id: node for node in self.run.find(NodeType.NODE)}

    @property
    def ranks(self) -> list[int]:
        """Ranks whose processes are in the file."""
        return sorted(process.rank for process in self.recording.processes)

    @property
    def regions(self) -> dict[tuple[str, int], int]:
        """Calls by name and rank."""
        return {(region.name, region.rank): region.calls for region in self.run.regions}

    def metric(self, name: str) -> Metric:
        return self.run.metrics[name]

    def truth_ns(self, host: str | None = None) -> tuple[int, int]:
        """When the ranks ran: those of all hosts, or of one."""
        ran = [process for process in self.recording.processes if host in (None, process.host)]
        return min(process.start_ns for process in ran), max(process.stop_ns for process in ran)


def results(directory: Path) -> list[Result]:
    """All that a test has made, in no order."""
    paths = directory.glob("perun_results/*/*.h5")
    return [Result(path, perun_like.load(str(path)), read_recording(str(path))) for path in paths]


def only_result(directory: Path) -> Result:
    """What a job has made: one file, and nothing beside it."""
    assert not list(directory.rglob("*.parts"))
    (result,) = results(directory)
    return result


def processes_in(directory: Path) -> dict[int, str]:
    """Commands of all processes whose current directory this is: a job's ranks, profilers and samplers."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def assert_nothing_left(directory: Path, limit_s: float = SOON_S) -> None:
    """Nothing that a job has started lives for longer than that."""
    until = time.monotonic() + limit_s
    while left := processes_in(directory):
        await_end(next(iter(left)), until)
        assert time.monotonic() < until, f"still running: {left}"


def await_end(pid: int, until: float) -> None:
    """Wait for somebody else's process."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([end], [], [], max(0.0, until - time.monotonic()))
    os.close(end)


def job_directories(directory: Path) -> list[str]:
    """What a test's jobs have left in this host's memory."""
    return [name for name in os.listdir(private_directory()) if name.startswith(f"job_20_{host_id(directory)}_20_")]
