"""What ranks of a host note for their sampler, and where it runs so as not to be in their way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from perun_like.launch.claim import Roll
from perun_like.sampling.company import Company
from perun_like.sampling.ranks import free_cpus, is_ready, ranks_in, read_notes, say_ready, write_note


def test_notes_are_read_back_by_rank(tmp_path: Path) -> None:
    for rank in (10, 2, 0):
        (tmp_path / str(rank)).mkdir()
        write_note(str(tmp_path / str(rank)), {"cpus": [rank]})
    (tmp_path / "view-1").mkdir()
    write_note(str(tmp_path / "2"), {"cpus": [7]})
    assert read_notes(str(tmp_path)) == {0: {"cpus": [0]}, 2: {"cpus": [7]}, 10: {"cpus": [10]}}
    assert list(read_notes(str(tmp_path))) == ranks_in(str(tmp_path)) == [0, 2, 10]


PROCESS = {"rank": 3, "pid": 1, "start_ns": 1}
PLANTED = [
    *({"view": "v"}, {"view": "v", "environ": [1]}, {"view": "v", "environ": {"CUDA_VISIBLE_DEVICES": ["0"]}}),
    *({"process": PROCESS | {"stop_ns": stop_ns}} for stop_ns in ("x", True, 1.5, [1], -1, 10**30)),
    *({"process": PROCESS | {"pid": pid}} for pid in (-1, 10**30)),
]


@pytest.mark.parametrize("planted", PLANTED, ids=range(len(PLANTED)))
def test_a_note_that_the_application_has_overwritten_tells_the_sampler_nothing(
    tmp_path: Path, planted: dict[str, Any]
) -> None:
    roll = Roll(str(tmp_path))
    roll.enter(0)
    good = {"view": "v", "environ": {"CUDA_VISIBLE_DEVICES": "1"}, "process": PROCESS | {"rank": 0, "stop_ns": 5}}
    for rank, note in {0: good, 3: planted}.items():
        (tmp_path / str(rank)).mkdir()
        write_note(str(tmp_path / str(rank)), note)
    company = Company(str(tmp_path), str(tmp_path), 2, "v")
    company.look()
    seen = {0: {"CUDA_VISIBLE_DEVICES": "1"}} | ({3: {}} if "view" in planted else {})
    assert company.newcomers() == seen
    assert company.pids == [1]
    assert company.last_stop_ns == 5
    os.close(company.until_fd)
    roll.leave()


def test_a_rank_that_has_noted_nothing_is_there_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    assert ranks_in(str(tmp_path)) == [3]
    assert read_notes(str(tmp_path)) == {}
    assert ranks_in(str(tmp_path / "gone")) == []


def test_ready_is_said_once_or_again(tmp_path: Path) -> None:
    assert not is_ready(str(tmp_path))
    say_ready(str(tmp_path))
    say_ready(str(tmp_path))
    assert is_ready(str(tmp_path))


@pytest.fixture
def four_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight CPUs: of core n there are n and n + 4."""
    for cpu in range(8):
        topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("bound", "free"),
    [
        ([], set()),
        ([[], []], set()),
        ([[0], [1]], {2, 3, 6, 7}),
        ([[0, 4], [1, 5], [2, 6]], {3, 7}),
        ([[0], [1], [2], [3]], {4, 5, 6, 7}),  # no core is free, but half of each is
        ([[0, 1, 2, 3], [4, 5, 6, 7]], set()),
    ],
)
def test_free_cpus_are_those_of_free_cores(four_cores: str, bound: list[list[int]], free: set[int]) -> None:
    assert free_cpus(bound, four_cores) == free


def test_ranges_of_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu in range(4):
        topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}\n")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cpus([[1]], str(tmp_path)) == {2, 3}
    assert free_cpus([[1]], str(tmp_path / "unknown")) == {0, 2, 3}
