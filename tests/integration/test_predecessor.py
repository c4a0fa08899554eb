"""Defects of the tool that came before this one, each as a test. (Those of energy arithmetic are in tests/unit.)"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PERUN, Run

import perun_like
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.store.reader import read_recording

Script = Callable[..., str]


def the_run(directory: Path) -> DataNode:
    (path,) = directory.rglob("*.h5")
    tree = perun_like.load(str(path))
    assert self_check(tree) == []
    return tree.find(NodeType.RUN)[0]


def test_sys_exit_ends_the_run_at_once_with_its_data(perun: Run, script: Script, tmp_path: Path) -> None:
    ended = perun("profile", script("import sys, time; time.sleep(0.2); sys.exit(0)"))
    assert ended.returncode == 0
    run = the_run(tmp_path)
    assert run.metadata["exit_code"] == 0
    assert 0.2 <= run.metrics["runtime_s"].value < 5
    assert run.metrics["energy_j"].value > 0


def test_the_first_sweep_precedes_the_program_and_the_last_follows_it(
    perun: Run, script: Script, tmp_path: Path
) -> None:
    ended = perun(
        "profile", script("import time; print(time.monotonic_ns()); time.sleep(0.05); print(time.monotonic_ns())")
    )
    first, last = map(int, ended.stdout.split())
    (path,) = tmp_path.rglob("*.h5")
    recording = read_recording(str(path))
    assert recording.window_ns[0] <= first < last <= recording.window_ns[1]
    for stream in recording.hosts[0].streams:
        assert stream.t1_ns[0] <= recording.window_ns[0]
        settled = max(sensor.tick_ns + sensor.lag_ns for sensor in stream.sensors)
        assert stream.t0_ns[-1] >= recording.window_ns[1] + settled


def test_a_region_that_spans_the_run_from_its_start_is_a_region(perun: Run, script: Script, tmp_path: Path) -> None:
    perun("profile", script("from perun_like import region\nregion('all').__enter__()\nimport time; time.sleep(0.2)"))
    run = the_run(tmp_path)
    (region,) = run.regions
    assert region.metrics["runtime_s"].value >= 0.2
    assert region.metrics["energy_j"].value <= run.metrics["energy_j"].value


def _with(perun: Run, script: Script, tmp_path: Path, *options: str) -> dict[str, Metric]:
    ended = perun("profile", "--no-report", "--run-id", str(abs(hash(options))), *options, script("pass"))
    assert ended.returncode == 0, ended.stderr
    newest = max(tmp_path.rglob("*.h5"), key=lambda path: path.stat().st_mtime_ns)
    return perun_like.load(str(newest)).find(NodeType.RUN)[0].metrics


def test_no_flag_does_nothing(perun: Run, script: Script, tmp_path: Path) -> None:
    kwh = 3.6e6
    plain = _with(perun, script, tmp_path, "--intensity", "100", "--price", "0.5EUR")
    assert plain["co2e_kg"].value == pytest.approx(plain["energy_j"].value / kwh * 0.1)
    assert plain["cost"].value == pytest.approx(plain["energy_j"].value / kwh * 0.5)
    assert plain["cost"].unit == "EUR"
    site = _with(perun, script, tmp_path, "--intensity", "100", "--pue", "2")
    assert site["co2e_kg"].value == pytest.approx(2 * site["energy_j"].value / kwh * 0.1)
    france, poland = (_with(perun, script, tmp_path, "--country", place) for place in ("France", "PL"))
    ratio = [m["co2e_kg"].value / m["energy_j"].value for m in (france, poland)]
    assert ratio[1] > 5 * ratio[0]
    weak, strong = (_with(perun, script, tmp_path, "--cpu-tdp", watts) for watts in ("1", "1000"))
    assert strong["power_w"].value > weak["power_w"].value + 10
    assert _with(perun, script, tmp_path, "--backend", "memory")["energy_j"].provenance is Provenance.MISSING


def test_zero_is_a_value(perun: Run, script: Script, tmp_path: Path) -> None:
    metrics = _with(perun, script, tmp_path, "--intensity", "0", "--price", "0EUR")
    assert metrics["co2e_kg"].value == 0
    assert metrics["cost"].value == 0


def test_members_of_a_job_array_do_not_race(script: Script, tmp_path: Path, clean_environ: dict[str, str]) -> None:
    name = script("print('ran')")
    command = [PERUN, "profile", "--no-report", name]
    members = [
        subprocess.Popen(command, cwd=tmp_path, env=clean_environ, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    assert [member.communicate(timeout=60)[0] for member in members] == ["ran\n"] * 8
    paths = list(tmp_path.rglob("*.h5"))
    assert len(paths) == 8
    assert all(self_check(perun_like.load(str(path))) == [] for path in paths)


def test_of_two_runs_with_one_id_at_once_one_is_refused(
    script: Script, tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    command = [PERUN, "profile", "--no-report", "--run-id", "x", script("import time; time.sleep(0.5); print('ran')")]
    pair = [
        subprocess.Popen(
            command, cwd=tmp_path, env=clean_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = sorted((p.communicate(timeout=60)[0], p.returncode) for p in pair)
    assert ended == [("", 2), ("ran\n", 0)]


def test_without_counters_there_is_an_estimate_and_an_explanation(perun: Run, script: Script, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = perun("profile", "--powercap-root", "empty", script("sum(range(10**6))"))
    energy = the_run(tmp_path).metrics["energy_j"]
    assert energy.provenance is Provenance.ESTIMATED
    assert energy.lower < energy.value < energy.upper
    assert "estimated" in ended.stderr
    assert "powercap" in ended.stderr


def test_nothing_of_ours_is_on_standard_output(perun: Run, script: Script, tmp_path: Path) -> None:
    ended = perun("profile", script("import warnings; warnings.warn('w'); print('{}')"))
    assert json.loads(ended.stdout) == {}
    assert str(next(tmp_path.rglob("*.h5")).relative_to(tmp_path)) == ended.stderr.splitlines()[-1]
    assert "Energy" in ended.stderr
