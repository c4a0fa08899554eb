"""The sampling process ends cleanly whenever the monitor goes, and wherever it runs."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from perun_like.sampling import host
from perun_like.sampling.local import make_local_directory
from perun_like.sampling.process import SamplerProcess
from perun_like.sampling.spool import NOTE
from perun_like.sampling.spool_reader import footer, frames, json_of
from perun_like.sensing.discovery import backend_specs
from perun_like.store.assembly import assemble


def order_for(directory: Path) -> dict[str, Any]:
    return {
        "backends": backend_specs(sys.path),
        "assigned": {},
        "period_ns": 10**8,
        "part": str(directory / "host.part"),
        "local": make_local_directory(os.urandom(8).hex()),
        "run_token": "",
        "context": {},
        "run": {"name": "name", "run_id": "id", "metadata": {}},
    }


def test_monitor_killed_before_the_start_leaves_a_complete_part(tmp_path: Path) -> None:
    order, sampler = order_for(tmp_path), SamplerProcess(os.environ)
    try:
        sampler.send("prepare", **order)
        sampler.wait_ready(10)
    finally:
        sampler.release(10)
    assert sampler.exitcode == 0
    assert not os.path.exists(order["local"])
    assert assemble(str(tmp_path)).hosts[0].cut == "the profiler was killed"


def test_what_there_is_no_room_to_note_is_noted_when_there_is(tmp_path: Path) -> None:
    """A disk that is full for a while, as a program is started in its next round."""
    order, sampler = order_for(tmp_path), SamplerProcess(os.environ)
    rounds = [{"rank": 0, "pid": os.getpid(), "start_ns": time.monotonic_ns(), "round": number} for number in (0, 1)]
    try:
        sampler.send("prepare", **order)
        sampler.wait_ready(10)
        sampler.start.set()
        assert sampler.queue.get(10)["type"] == "started"
        pid, size_b = sampler.ready.content["pid"], os.path.getsize(order["part"])
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_b, resource.RLIM_INFINITY))
        for process in rounds:
            sampler.send("watch", process=process)
        sampler.send("sync", after_ns=0)
        assert sampler.queue.get(10)["type"] == "synced"
        assert os.path.getsize(order["part"]) == size_b
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        sampler.stop.set(stop_ns=time.monotonic_ns())
        sampler.close.set(cut=None)
    finally:
        sampler.release(10)
    notes = [json_of(frame) for frame in frames(order["part"]) if frame.kind == NOTE]
    assert [note["process"] for note in notes if "process" in note] == rounds
    assert footer(order["part"]) is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells of memory on Linux only")
def test_its_threads_have_one_heap(tmp_path: Path) -> None:
    """With a heap for each of them, each reserves 64 MiB, and what one has freed the others can't use."""
    order, sampler = order_for(tmp_path), SamplerProcess(os.environ)
    try:
        sampler.send("prepare", **order)
        sampler.wait_ready(10)
        sampler.start.set()
        assert sampler.queue.get(10)["type"] == "started"
        pid = sampler.ready.content["pid"]
        assert len(os.listdir(f"/proc/{pid}/task")) > 1
        reserved = [line for line in Path(f"/proc/{pid}/smaps").read_text().splitlines() if line.startswith("Size:")]
    finally:
        sampler.release(10)
    assert max(int(line.split()[1]) for line in reserved) < 48 << 10


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_a_container_whose_cpus_are_numbered_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _cpus: object) -> NoReturn:
        raise OSError(errno.EINVAL, "none of these is allowed")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    def nothing(*_: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(os, "listdir", nothing)  # this process keeps its descriptors, signals and timers
    monkeypatch.setattr("signal.signal", nothing)
    monkeypatch.setattr(host, "_be_punctual", nothing)
    host.detach()
