"""A program run several times: one result with statistics."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run

import perun_like
from perun_like.model.node import DataNode, NodeType
from perun_like.store.reader import read_recording

COUNTING = """
import os, sys
from perun_like import region
count = int(open('count').read()) if os.path.exists('count') else 0
open('count', 'w').write(str(count + 1))
print('run', count)
with region('part'): sum(range(200_000 * (1 + count)))
if count == {fails}: sys.exit(3)
"""


def only(tmp_path: Path) -> tuple[DataNode, Path]:
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    return perun_like.load(path), path


def test_rounds_and_warm_up(perun: Run, script: Callable[[str], str], tmp_path: Path) -> None:
    ended = perun("profile", "--rounds", "3", "--warmup", "2", script(COUNTING.format(fails=None)))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:-1] == [f"run {i}" for i in range(5)]
    assert "3 rounds" in ended.stderr
    tree, path = only(tmp_path)
    (whole,) = tree.find(NodeType.MULTI_RUN)
    runs = tree.find(NodeType.RUN)
    recording = read_recording(path)
    windows = [(process.start_ns, process.stop_ns) for process in recording.processes]
    lengths = [(stop - start) / 1e9 for start, stop in windows]
    runtime = whole.metrics["runtime_s"]
    assert runtime.n == len(runs) == len(windows) == 3
    assert runtime.mean == pytest.approx(statistics.mean(lengths))
    assert runtime.std == pytest.approx(statistics.stdev(lengths))
    half = 4.302653 * statistics.stdev(lengths) / 3**0.5  # Student's quantile for two degrees of freedom
    assert runtime.ci95 == pytest.approx((statistics.mean(lengths) - half, statistics.mean(lengths) + half))
    for run, length in zip(runs, lengths, strict=True):
        assert run.metrics["runtime_s"].value == pytest.approx(length)
        assert run.metadata["exit_code"] == 0
        assert [(part.name, part.calls) for part in run.regions] == [("part", 1)]
        assert run.metrics["energy_share_j"].value
    (part,) = whole.regions
    times = [run.regions[0].metrics["runtime_s"].value or 0.0 for run in runs]
    assert part.calls == 3
    assert part.metrics["runtime_s"].n == 3
    assert part.metrics["runtime_s"].mean == pytest.approx(statistics.mean(times))
    assert part.metrics["runtime_s"].std == pytest.approx(statistics.stdev(times))
    assert part.metrics["energy_j"].ci95


def test_a_round_that_fails_is_the_last_and_its_exit_code_ours(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    ended = perun("profile", "--rounds", "5", script(COUNTING.format(fails=1)))
    assert ended.returncode == 3
    assert ended.stdout == "run 0\nrun 1\n"
    assert "Of 5 rounds 2 were run: the last of these failed." in ended.stderr
    tree, _ = only(tmp_path)
    assert [run.metadata["exit_code"] for run in tree.find(NodeType.RUN)] == [0, 3]
    assert tree.find(NodeType.MULTI_RUN)[0].metadata["failed"] == 1


def test_a_warm_up_that_fails_records_nothing(perun: Run, script: Callable[[str], str], tmp_path: Path) -> None:
    ended = perun("profile", "--warmup", "2", script(COUNTING.format(fails=0)))
    assert (ended.returncode, ended.stdout) == (3, "run 0\n")
    assert "round 1 of the warm-up failed: nothing was recorded" in ended.stderr
    assert not list(tmp_path.rglob("*.h5"))
    assert not list(tmp_path.rglob("*.parts"))


@pytest.mark.parametrize("option", [["--rounds", "2"], ["--warmup", "1"]])
def test_under_a_launcher_a_program_is_not_repeated(
    perun: Run, script: Callable[[str], str], tmp_path: Path, clean_environ: dict[str, str], option: list[str]
) -> None:
    launched = {"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}
    ended = perun("profile", *option, script(COUNTING.format(fails=None)), env={**clean_environ, **launched})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert " ".join(option) in ended.stderr
    assert "Repeat the launch" in ended.stderr
    assert "perun_like.profile" in ended.stderr


def test_a_program_from_standard_input_is_not_repeated(perun: Run) -> None:
    ended = perun("profile", "--rounds", "2", "-", input="print(1)")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "read only once" in ended.stderr
