"""What we tell of a process's place in its job, against MPI itself, under real launchers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpi.conftest import HERE, KINDS, MpiRun

PLACE = str(HERE / "place.py")
TWO_HOSTS = {"nodea": 2, "nodeb": 1}


def places(done: subprocess.CompletedProcess[str], directory: Path, n: int) -> list[dict[str, Any]]:
    """What each rank has seen; they agree with MPI."""
    assert done.returncode == 0, done.stderr
    found = [json.loads((directory / f"{rank}.json").read_text()) for rank in range(n)]
    for rank in found:
        assert rank["comm"] | rank["truth"] == rank["comm"]
        assert rank["comm"]["problem"] is None
    return found


@pytest.mark.parametrize("n", [1, 2, 4, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_on_one_host(mpirun: MpiRun, kind: str, n: int, tmp_path: Path) -> None:
    found = places(mpirun(kind, n, sys.executable, PLACE, str(tmp_path)), tmp_path, n)
    ids = {rank["comm"]["job_id"] for rank in found}
    assert len(ids) == 1
    assert (ids == {None}) == (n == 1)


@pytest.mark.parametrize("hosts", [TWO_HOSTS, {"a": 1, "b": 1, "c": 2, "d": 3}], ids=["two", "four"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_several_hosts(mpirun: MpiRun, kind: str, hosts: dict[str, int], tmp_path: Path) -> None:
    n = sum(hosts.values())
    found = places(mpirun(kind, n, sys.executable, PLACE, str(tmp_path), hosts=hosts), tmp_path, n)
    assert len({rank["comm"]["job_id"] for rank in found} - {None}) == 1
    assert sorted(rank["host"] for rank in found) == sorted(host for host, ranks in hosts.items() for _ in range(ranks))
    assert all(rank["host"] == rank["host_id"] for rank in found)


@pytest.mark.parametrize("hosts", [None, TWO_HOSTS], ids=["one host", "two hosts"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_two_jobs_have_the_same_id(mpirun: MpiRun, kind: str, hosts: dict[str, int] | None, tmp_path: Path) -> None:
    ids = set()
    for _ in range(3):
        found = places(mpirun(kind, 3, sys.executable, PLACE, str(tmp_path), hosts=hosts), tmp_path, 3)
        ids.add(found[0]["comm"]["job_id"])
    assert len(ids) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_through_a_wrapper(mpirun: MpiRun, kind: str, tmp_path: Path) -> None:
    wrapped = ("sh", "-c", '"$@"; exit $?', "sh", sys.executable, PLACE, str(tmp_path))
    found = places(mpirun(kind, 2, *wrapped), tmp_path, 2)
    assert len({rank["comm"]["job_id"] for rank in found} - {None}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_fake_hosts_have_their_own_powercap(mpirun: MpiRun, kind: str, tmp_path: Path) -> None:
    for host in TWO_HOSTS:
        (tmp_path / "trees" / host).mkdir(parents=True)
        (tmp_path / "trees" / host / "name").write_text(f"of {host}")
    command = (sys.executable, PLACE, str(tmp_path))
    done = mpirun(kind, 3, *command, hosts=TWO_HOSTS, powercap=tmp_path / "trees")
    found = places(done, tmp_path, 3)
    assert [rank["powercap"] for rank in found] == ["of nodea", "of nodea", "of nodeb"]
