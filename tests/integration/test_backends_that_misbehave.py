"""Backends of strangers that are slow or raise: the others are read, and the report says what happened."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perun_like import Application, MonitorStatus, PerunMonitor, load
from perun_like.config import resolve
from perun_like.launch.comm import Comm
from perun_like.model.node import NodeType
from perun_like.sensing.discovery import backend_specs
from perun_like.store.reader import read_recording

BACKEND = """
import time
from perun_like.sensing.contract import Found, Sensor

class Backend:
    name, domains = "odd", ("gpu",)
    min_period_ns = 1_000_000
    def find(self, context):
        {find}
        return Found([Sensor("odd:x", "odd", "platform", "count", "counter", "1")])
    def open(self, sensors, context):
        {open}
        return self
    def __init__(self):
        self.reads = 0
    def read(self):
        self.reads += 1
        {read}
        return [self.reads]
    def close(self):
        pass
"""

Run = Callable[..., PerunMonitor]


@pytest.fixture
def run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Profile a short script with the built-in backends and an odd one."""

    def run(find: str = "pass", open: str = "pass", read: str = "pass") -> PerunMonitor:  # noqa: A002
        (tmp_path / "odd_backend.py").write_text(BACKEND.format(find=find, open=open, read=read))
        (tmp_path / "script.py").write_text("import time; time.sleep(0.3)")
        monkeypatch.syspath_prepend(str(tmp_path))
        config = resolve(str(tmp_path), {}, {"output": str(tmp_path / "results"), "period_ns": "10ms"})
        app = Application.script(str(tmp_path / "script.py"), (), dict(os.environ), sys.executable)
        monitor = PerunMonitor(app, Comm(), {**backend_specs(sys.path), "odd": "odd_backend:Backend"}, {}, config)
        status, tree, _ = monitor.run_application("1")
        monitor.close()
        assert status is MonitorStatus.PROCESSING
        assert tree is not None
        assert tree.find(NodeType.RUN)[0].metrics["cpu_util_percent"].value is not None
        return monitor

    return run


def odd(monitor: PerunMonitor) -> tuple[list[int], list[bool], list[str]]:
    """What was read of the odd sensor, which reads succeeded, and what is said to be missing."""
    recording = read_recording(str(monitor.path))
    streams = [stream for stream in recording.hosts[0].streams if stream.backend == "odd"]
    reasons = [missing.reason for missing in recording.hosts[0].missing if missing.backend == "odd"]
    if not streams:
        return [], [], reasons
    return np.asarray(streams[0].raw[0]).tolist(), streams[0].valid[0].tolist(), reasons


@pytest.mark.parametrize("where", ["find", "open"])
def test_one_that_is_not_ready_in_time_is_left_out(run_with: Run, where: str) -> None:
    monitor = run_with(**{where: "time.sleep(60)"})
    values, _, reasons = odd(monitor)
    assert values == []
    assert reasons == ["the backend was not ready within 2 s"]
    (run,) = load(str(monitor.path)).find(NodeType.RUN)
    assert run.metrics["energy_j"].missing[-1:] == ("odd",)
    assert "not ready" in str(run.metrics["gpu_energy_j"].reason)


def test_a_read_that_raises_once_is_one_missing_value(run_with: Run) -> None:
    values, valid, reasons = odd(run_with(read="if self.reads == 3: raise ValueError('odd')"))
    assert valid.count(False) == 1
    assert not valid[2]
    assert values[3] == 4
    assert reasons == []


def test_one_that_only_raises_is_given_up(run_with: Run) -> None:
    _, valid, reasons = odd(run_with(read="raise ValueError('odd')"))
    assert not any(valid)
    assert reasons == ["ValueError: odd"]


def test_a_read_that_blocks_holds_up_nobody_else(run_with: Run) -> None:
    monitor = run_with(read="if self.reads == 5: time.sleep(60)")
    values, _, reasons = odd(monitor)
    assert len(values) == 4
    assert reasons == ["a read did not return within 2 s"]
    others = [s for s in read_recording(str(monitor.path)).hosts[0].streams if s.backend == "memory"]
    assert others[0].t0_ns[-1] > read_recording(str(monitor.path)).window_ns[1]
