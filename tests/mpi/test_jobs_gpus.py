"""Jobs on a host with GPUs that not all ranks can see: each is read once, and each that any rank sees counts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PERUN
from nvml_stub import StubGpu, configure

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import Result, assert_nothing_left, only_result
from perun_like.model.node import DataNode, NodeType

# Power that changes much faster than it is read; what is left to err is the age of the values, up to 20 ms at each end.
FAST = StubGpu("GPU-aaaa1111", low_w=90, high_w=390, period_s=0.007, tick_s=0.02, memory_b=1 << 30)
SLOW = StubGpu("GPU-bbbb2222", low_w=60, high_w=200, period_s=0.013, tick_s=0.02, memory_b=3 << 30)
OTHER = StubGpu("GPU-cccc3333", low_w=20, high_w=50, period_s=0.011, tick_s=0.02, memory_b=5 << 30)
SECONDS = "1.2"  # the sampler looks once a second at what ranks can see


JOB = ("profile", "--name", "job", "sleep", SECONDS)


def per_rank(tmp_path: Path, *variables: dict[str, str], command: Sequence[str] = JOB) -> list[str]:
    """A command of ours that gives each rank variables of its own."""
    lines = [
        f"{at}) export {' '.join(f'{k}={shlex.quote(v)}' for k, v in one.items())};;"
        for at, one in enumerate(variables)
    ]
    script = tmp_path / "per_rank.sh"
    script.write_text("\n".join(["case ${PMI_RANK:-$OMPI_COMM_WORLD_RANK} in", *lines, "esac", 'exec "$@"']))
    return ["sh", str(script), PERUN, *command]


def isolated(tmp_path: Path, library: dict[str, str], *gpus: StubGpu) -> list[dict[str, str]]:
    """Variables of ranks that see one GPU each, of index 0, as behind device cgroups."""
    views = []
    for number, gpu in enumerate(gpus):
        driver = tmp_path / f"driver-of-{gpu.uuid}"
        if not driver.exists():
            driver.symlink_to(library["LD_LIBRARY_PATH"])
        views.append({"LD_LIBRARY_PATH": str(driver), **configure(tmp_path / f"gpu{number}", [gpu])})
    return views


def energies(result: Result) -> dict[str, DataNode]:
    """What measures energy of GPUs, by UUID."""
    nodes = [node for node in result.run.find(NodeType.SENSOR) if node.metadata.get("domain") == "gpu"]
    by_uuid = {node.metadata["identity"]: node for node in nodes}
    assert len(by_uuid) == len(nodes)
    assert len({node.id for node in nodes}) == len(nodes)
    return by_uuid


def check(result: Result, *gpus: StubGpu) -> None:
    """Just these make the total, and each is right."""
    found, window_ns = energies(result), result.recording.window_ns
    assert {uuid for uuid, node in found.items() if node.metadata["added"]} == {gpu.uuid for gpu in gpus}
    for gpu in gpus:
        energy, true_j = found[gpu.uuid].metrics["energy_j"], gpu.truth_j(*window_ns)
        assert energy.lower <= true_j <= energy.upper
        assert energy.value == pytest.approx(true_j, rel=0.04)
    whole = result.metric("gpu_energy_j")
    assert whole.value == pytest.approx(sum(found[gpu.uuid].metrics["energy_j"].value for gpu in gpus))
    assert result.metric("gpu_memory_peak_b").value == sum(gpu.memory_b for gpu in gpus)


def seen_by_rank(result: Result) -> list[set[str]]:
    """UUIDs of the GPUs that each rank can see, as stored."""
    return [set(rank.metadata["gpus"]) for rank in result.run.ranks]


def named(gpus: Sequence[StubGpu], listed: str | None) -> set[str]:
    """What CUDA_VISIBLE_DEVICES says, of GPUs that are alike."""
    chosen = [str(number) for number in range(len(gpus))] if listed is None else listed.split(",")
    return {gpu.uuid for number, gpu in enumerate(gpus) for name in chosen if name in (str(number), gpu.uuid[:8])}


@pytest.mark.parametrize(("kind", "n"), [("mpich", 2), ("openmpi", 4)])
def test_gpus_that_only_some_ranks_can_open(
    mpirun: MpiRun, tmp_path: Path, nvml_library: dict[str, str], kind: str, n: int
) -> None:
    """Both halves of the ranks see one GPU, of index 0, as behind device cgroups."""
    gpus = [(FAST, SLOW)[rank * 2 // n] for rank in range(n)]
    done = mpirun(kind, n, *per_rank(tmp_path, *isolated(tmp_path, nvml_library, *gpus)))
    assert done.returncode == 0, done.stderr
    result = only_result(tmp_path)
    assert result.ranks == list(range(n))
    check(result, FAST, SLOW)
    backends = [stream.backend for host in result.recording.hosts for stream in host.streams]
    assert backends.count("nvml") == 2
    assert all(backends.count(name) == 1 for name in set(backends) - {"nvml"})
    assert seen_by_rank(result) == [{gpu.uuid} for gpu in gpus]
    readers = {uuid: node.metadata["read_by_rank"] for uuid, node in energies(result).items()}
    assert readers[FAST.uuid] < n // 2 <= readers[SLOW.uuid]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("kind", "visible"),
    [
        ("mpich", ("0", "1")),
        ("openmpi", ("GPU-bbbb", "GPU-aaaa")),
        ("mpich", ("", "1,0")),
        ("openmpi", (None, "1")),
        ("mpich", ("0", "0")),
    ],
    ids=["by index", "by UUID", "none and both", "all and one", "the same"],
)
def test_gpus_that_ranks_are_told_to_use(
    mpirun: MpiRun, tmp_path: Path, nvml_library: dict[str, str], kind: str, visible: tuple[str | None, ...]
) -> None:
    """All can be opened by every rank; which of them count depends on what all ranks are told."""
    gpus = [FAST, SLOW, replace(OTHER, memory_b=1 << 20)]
    variables = [{} if listed is None else {"CUDA_VISIBLE_DEVICES": listed} for listed in visible]
    environ = {**nvml_library, **configure(tmp_path / "gpus", gpus)}
    done = mpirun(kind, 2, *per_rank(tmp_path, *({"X": "x", **one} for one in variables)), env=environ)
    assert done.returncode == 0, done.stderr
    result = only_result(tmp_path)
    if None in visible:
        check(result, *gpus)
    elif visible == ("0", "0"):
        check(result, FAST)
    else:
        check(result, FAST, SLOW)
    assert set(energies(result)) == {gpu.uuid for gpu in gpus}  # the others are shown, and not added
    assert seen_by_rank(result) == [named(gpus, listed) for listed in visible]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_who_reads_and_sees_what_can_be_asked(
    mpirun: MpiRun, tmp_path: Path, nvml_library: dict[str, str], kind: str
) -> None:
    """Ranks 0 and 1 see one GPU, rank 2 another one, both of index 0. Nothing is left of the asking."""
    views = isolated(tmp_path, nvml_library, FAST, FAST, SLOW)
    asking = per_rank(tmp_path, *views, command=["sensors", "--by-rank"])
    before = set(tmp_path.iterdir())
    done = mpirun(kind, 3, *asking, "--json")
    assert done.returncode == 0, done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    seen = {rank["rank"]: [gpu["identity"] for gpu in rank["gpus"]] for rank in host["ranks"]}
    assert seen == {0: [FAST.uuid], 1: [FAST.uuid], 2: [SLOW.uuid]}
    reads = [sensor for rank in host["ranks"] for sensor in rank["reads"]]
    assert len(reads) == len(set(reads))
    assert any(sensor.startswith("nvml:") for sensor in host["ranks"][2]["reads"])
    told = mpirun(kind, 3, *asking)
    assert [line.split()[:3] for line in told.stdout.splitlines() if line.endswith(")")] == [
        ["0,", "1", "nvml:gpu0"],
        ["2", "nvml:gpu0", f"({SLOW.uuid})"],
    ]
    assert set(tmp_path.iterdir()) == before
    assert_nothing_left(tmp_path)
