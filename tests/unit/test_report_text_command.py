"""``perun-like report RUN``: the same report from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.tree import analyse
from perun_like.cli.report import report
from perun_like.errors import FileError
from perun_like.model.recording import HostRecording, Process, Recording, Stream
from perun_like.report.text import render
from perun_like.sensing.contract import Sensor
from perun_like.store.writer import write

SECOND = 10**9


def recording() -> Recording:
    """A package that takes 50 W for four seconds, read every 100 ms."""
    sensor = Sensor("rapl:package-0", "rapl", "cpu", "energy", "counter", "J", 1e-6, 2**38, domain="package")
    t0_ns = np.arange(0, 4 * SECOND + 1, SECOND // 10, dtype=np.int64)
    raw = (t0_ns // 1000 * 50)[np.newaxis, :]
    stream = Stream("rapl", SECOND // 10, (sensor,), t0_ns, t0_ns + 5_000, raw, np.ones_like(raw, dtype=np.bool_))
    host = HostRecording({"hostname": "node01", "logical_cpus": 4}, (stream,), (), (), {"cpu_s": 0.05})
    process = Process(0, 1, SECOND, 3 * SECOND, exit_code=0, cpu_s=1.5)
    return Recording("heat", "first", 0, (SECOND, 3 * SECOND), (host,), (process,), {"period_ns": SECOND // 10})


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = str(tmp_path / "first.h5")
    recorded = recording()
    write(path, recorded, analyse(recorded, Assumptions()))
    return path


def test_the_report_of_a_file_is_that_of_its_run(run: str) -> None:
    result = CliRunner().invoke(report, [run], catch_exceptions=False)
    assert result.output == render(analyse(recording(), Assumptions()), path=run)
    assert "100.0 J" in result.output


def test_colour_only_if_asked_for(run: str) -> None:
    coloured = CliRunner().invoke(report, [run, "--colour"], color=True, catch_exceptions=False)
    assert "\x1b[1m" in coloured.output


def test_a_file_that_is_not_ours_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("not ours")
    with pytest.raises(FileError, match=r"x\.h5"):
        CliRunner().invoke(report, [str(tmp_path / "x.h5")], catch_exceptions=False)
