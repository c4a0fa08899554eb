"""The sampling process ends cleanly whenever the monitor goes, and wherever it runs."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from perun_like.sampling import host
from perun_like.sampling.local import make_local_directory
from perun_like.sampling.process import SamplerProcess
from perun_like.sensing.discovery import backend_specs
from perun_like.store.assembly import assemble


def test_monitor_killed_before_the_start_leaves_a_complete_part(tmp_path: Path) -> None:
    local = make_local_directory(os.urandom(8).hex())
    sampler = SamplerProcess(os.environ)
    order: dict[str, Any] = {
        "backends": backend_specs(sys.path),
        "assigned": {},
        "period_ns": 10**8,
        "part": str(tmp_path / "host.part"),
        "local": local,
        "run_token": "",
        "context": {},
        "run": {"name": "name", "run_id": "id", "metadata": {}},
    }
    try:
        sampler.send("prepare", **order)
        sampler.wait_ready(10)
    finally:
        sampler.release(10)
    assert sampler.exitcode == 0
    assert not os.path.exists(local)
    assert assemble(str(tmp_path)).hosts[0].cut == "the profiler was killed"


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
