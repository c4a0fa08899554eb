"""Parts of a job's hosts that were copied together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Run
from jobs_of_hosts import MS, devices_of, part_of

import perun_like
from perun_like.model.node import NodeType
from perun_like.model.recording import RAISED, UNENDED, Rounds
from perun_like.sampling.spool import NOTE, Part
from perun_like.store.assembly import assemble
from perun_like.store.contents import look
from perun_like.store.reader import open_run
from perun_like.testing.parts import write_part


def hosts_copied_together(directory: Path) -> None:
    for number, host in enumerate([part_of(0, [0, 1], 4), part_of(1, [2, 3], 4)]):
        write_part(str(directory / f"node{number}.part"), host, complete=number == 0)


def test_a_part_tells_rounds_that_raised_from_those_whose_end_is_not_in_it(tmp_path: Path) -> None:
    one = part_of(0, [0], 1)
    columns = np.arange(3), np.full(3, -1)
    start_ns = one.window_ns[0] + columns[0] * 10 + 10
    made = Rounds("work", 100, 0, columns[0], start_ns, start_ns + 5, *[columns[1]] * 3, np.array([0, RAISED, UNENDED]))
    host = one.hosts[0]._replace(rounds=(made,))
    write_part(str(tmp_path / "node.part"), one._replace(hosts=(host,)), complete=False)
    [found] = assemble(str(tmp_path)).hosts[0].rounds
    assert found.failed.tolist() == [0, RAISED, UNENDED]
    assert found.stop_ns.tolist()[:2] == made.stop_ns.tolist()[:2]


@pytest.mark.parametrize(("before_ms", "all_tell"), [(2, True), (400, False)])
def test_a_run_without_its_end_lasts_until_a_kill_came_between_last_sweeps(
    tmp_path: Path, before_ms: int, all_tell: bool
) -> None:
    """What has read less often would otherwise lack a moment, and be told as incomplete."""
    one = part_of(0, [0], 1)
    (host,) = one.hosts
    energy, seldom = host.streams
    last_ns = int(energy.t1_ns[-1])
    by_ns = last_ns - before_ms * MS - int(seldom.t1_ns[-1])
    seldom = seldom._replace(t0_ns=seldom.t0_ns + by_ns, t1_ns=seldom.t1_ns + by_ns)
    path = str(tmp_path / "node.part")
    write_part(path, one._replace(hosts=(host._replace(streams=(energy, seldom)),)), complete=False)
    (process,) = one.processes
    begun = Part(path, again=True)
    begun.write_json(NOTE, {"process": {"rank": 0, "pid": process.pid, "start_ns": process.start_ns}})
    begun.close()
    expected_ns = last_ns - before_ms * MS if all_tell else last_ns
    assert assemble(str(tmp_path)).window_ns == (process.start_ns, expected_ns)


@pytest.mark.parametrize("name", ["loose", "job-1234.parts"])
def test_parts_of_hosts_copied_together_are_one_run(perun: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    hosts_copied_together(tmp_path / name)
    (tmp_path / name / "notes.txt").write_text("mine") if name == "loose" else None
    done = perun("recover", name)
    assert done.returncode == 0, done.stderr
    run = perun_like.load(tmp_path / done.stdout.strip()).nodes[0].nodes[0]
    assert [rank.rank for rank in run.ranks] == [0, 1, 2, 3]
    assert len(run.nodes) == 2
    contents = look(str(tmp_path / done.stdout.strip()))
    assert contents is not None
    assert contents.damaged == ()
    names: list[str] = []
    with h5py.File(tmp_path / done.stdout.strip()) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    assert sorted(contents.whole) == sorted(names)
    assert (tmp_path / name / "notes.txt").exists() == (name == "loose")


def made_by_people(parts: Path) -> dict[str, bytes]:
    """Files that people keep in a directory whose name is that of parts, some with names like those of a run's."""
    files = ["notes.txt", "drawings/2024/m4.dwg", "result", "told", "my.summary", "hosts/list.txt", "hosts/other.h5"]
    for name in files:
        (parts / name).parent.mkdir(parents=True, exist_ok=True)
        (parts / name).write_bytes(name.encode())
    return {name: name.encode() for name in files}


@pytest.mark.parametrize("count", [1, 2])
def test_of_a_directory_only_what_runs_make_is_removed(perun: Run, tmp_path: Path, count: int) -> None:
    parts = tmp_path / "bolts.parts"
    files = made_by_people(parts)
    for number in range(count):  # of several hosts the files are made in the directory, and taken out of it
        write_part(str(parts / f"node{number}.part"), part_of(number, [number], count))
    (parts / "making-0123abcd").touch()
    (parts / "node0.part.coarser").write_bytes(b"PRF1")
    done = perun("recover", "bolts.parts")
    assert done.returncode == 0, done.stderr
    assert perun_like.load(tmp_path / done.stdout.strip()).nodes[0].nodes[0].nodes
    assert {str(path.relative_to(parts)): path.read_bytes() for path in parts.rglob("*") if path.is_file()} == files
    assert "left in bolts.parts, as no run made it: drawings, hosts, my.summary, notes.txt, result, told" in done.stderr
    again = perun("recover", ".")
    assert (again.returncode, again.stdout) == (0, "")
    assert {str(path.relative_to(parts)) for path in parts.rglob("*") if path.is_file()} == files.keys()


def test_parts_of_two_jobs_of_one_program_copied_together_are_two_runs(perun: Run, tmp_path: Path) -> None:
    (tmp_path / "copied").mkdir()
    for job in ("job-00000001", "job-00000002"):
        for number in (0, 1):
            host = part_of(number, [number], 2)
            write_part(str(tmp_path / f"copied/{job}-node{number}.part"), host, complete=False, job=job)
    done = perun("recover", "copied")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split()
    for path in (first, second):
        run = perun_like.load(tmp_path / path).nodes[0].nodes[0]
        assert [rank.rank for rank in run.ranks] == [0, 1]
        assert len(run.nodes) == 2


def test_a_part_is_never_moved_over_another(perun: Run, tmp_path: Path) -> None:
    there, loose = tmp_path / "job-00000001.parts/node.part", tmp_path / "node.part"
    there.parent.mkdir()
    for number, path in enumerate([there, loose]):
        write_part(str(path), part_of(number, [number], 2), complete=False, job="job-00000001")
    before = loose.read_bytes()
    done = perun("recover", "node.part")
    assert done.returncode == 2
    assert "node.part is left as it is" in done.stderr
    assert (there.exists(), loose.read_bytes()) == (True, before)


def test_a_part_that_was_being_moved_when_that_was_killed_is_there_once(perun: Run, tmp_path: Path) -> None:
    there, loose = tmp_path / "job-00000001.parts/node.part", tmp_path / "node.part"
    there.parent.mkdir()
    write_part(str(there), part_of(0, [0], 1), complete=False, job="job-00000001")
    loose.hardlink_to(there)
    done = perun("recover", "node.part")
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.iterdir() if path.suffix != ".h5"] == []
    assert len(perun_like.load(tmp_path / done.stdout.strip()).nodes[0].nodes) == 1


def energy_j(path: Path) -> tuple[float | None, float | None, float | None]:
    metric = perun_like.load(path).metrics["energy_j"]
    return metric.value, metric.lower, metric.upper


def as_written(content: bytes) -> bytes:
    return content


def while_it_was_written(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_flipped_bit(content: bytes) -> bytes:
    return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]


@pytest.mark.parametrize("name", ["a-copy.part", "z-copy.part"])
@pytest.mark.parametrize("copied", [as_written, while_it_was_written, with_a_flipped_bit])
def test_a_part_counts_once_however_often_it_is_there(
    perun: Run, tmp_path: Path, copied: Callable[[bytes], bytes], name: str
) -> None:
    for parts in ("alone", "twice"):
        (tmp_path / parts).mkdir()
        write_part(str(tmp_path / parts / "node.part"), part_of(0, [0, 1], 2), job="job-00000001")
    copy = copied((tmp_path / "twice/node.part").read_bytes())
    (tmp_path / "twice" / name).write_bytes(copy)
    alone, twice = perun("recover", "alone"), perun("recover", "twice")
    assert twice.returncode == 0, twice.stderr
    assert energy_j(tmp_path / twice.stdout.strip()) == energy_j(tmp_path / alone.stdout.strip())
    assert "two copies of one part" in twice.stderr
    assert any(f"only {one} counts" in twice.stderr for one in (name, "node.part"))
    kept = [path.read_bytes() for path in tmp_path.rglob("*.part")]
    assert kept == ([copy] if copied is with_a_flipped_bit else [])
    told = [f"what only {name} has"] if copied is with_a_flipped_bit else []
    assert list(missing_of(tmp_path / twice.stdout.strip())) == told


def test_parts_of_one_host_by_two_samplers_are_two(perun: Run, tmp_path: Path) -> None:
    """One reads what the other can't see."""
    parts = tmp_path / "job-00000001.parts"
    parts.mkdir()
    for number, recording in enumerate([part_of(0, [0, 1], 2), devices_of(0, 2)]):
        write_part(str(parts / f"node-sampler-{number}.part"), recording)
    done = perun("recover", str(parts))
    (node,) = perun_like.load(tmp_path / done.stdout.strip()).find(NodeType.NODE)
    sensors = {sensor.id for sensor in node.find(NodeType.SENSOR)}
    assert {"rapl:package-0", "rapl:package-1", "rapl:hidden-0"} <= sensors


def test_of_several_hosts_the_report_says_whose_part_is_damaged_and_what_is_missing(perun: Run, tmp_path: Path) -> None:
    parts = tmp_path / "job-00000001.parts"
    parts.mkdir()
    for number in range(3):
        write_part(str(parts / f"node{number}.part"), part_of(number, [number], 3, 100.0))
    damaged = {name: bytearray((parts / f"{name}.part").read_bytes()) for name in ("node1", "node2")}
    damaged["node1"][40] ^= 1  # in its beginning
    damaged["node2"][len(damaged["node2"]) // 3] ^= 1  # in one of the four pieces of what a backend has read
    for name, content in damaged.items():
        (parts / f"{name}.part").write_bytes(content)
    path = tmp_path / perun("recover", str(parts)).stdout.strip()
    report = " ".join(perun("report", str(path)).stdout.split())
    assert f"all of node1.part: it is damaged at its beginning, and left in {path.stem}.damaged" in report
    assert "node2: some samples of rapl: node2.part is damaged (1 of 4 pieces can't be read)" in report
    energy = perun_like.load(path).metrics["energy_j"]
    assert energy.upper is None
    assert "all of node1.part" in energy.missing


def leave_damaged_and_good(tmp_path: Path, damaged: bytes) -> Path:
    parts = tmp_path / "job-00000001.parts"
    parts.mkdir()
    write_part(str(parts / "good.part"), part_of(0, [0, 1], 2))
    (parts / "bad.part").write_bytes(damaged)
    return parts


def missing_of(path: Path) -> set[str]:
    with open_run(str(path)) as run:
        return {one["what"] for one in run.recording().metadata.get("missing", ())}


def test_a_damaged_part_is_told_of_its_own_run_alone_and_kept_with_it(perun: Run, tmp_path: Path) -> None:
    parts = leave_damaged_and_good(tmp_path, b"damaged" * 100)
    first = tmp_path / perun("recover", str(parts)).stdout.strip()
    assert "all of bad.part" in missing_of(first)
    assert first.with_suffix(".damaged").joinpath("bad.part").read_bytes() == b"damaged" * 100
    first.rename(tmp_path / "first.h5")
    first.with_suffix(".damaged").rename(tmp_path / "first.damaged")
    parts.mkdir()  # a later job of the same id, which is well
    write_part(str(parts / "good.part"), part_of(0, [0, 1], 2))
    later = perun("recover", str(parts))
    assert "all of bad.part" not in missing_of(tmp_path / later.stdout.strip())
    assert (tmp_path / "first.damaged/bad.part").exists()
    assert not parts.exists()


@pytest.mark.parametrize("settings", [{"period_ns": "often"}, {"period_ns": -1}, {"powercap_root": 7}])
def test_settings_that_no_report_could_show_make_no_run(
    perun: Run, tmp_path: Path, settings: dict[str, object]
) -> None:
    one = part_of(0, [0], 1)
    write_part(str(tmp_path / "node.part"), one._replace(metadata={"settings": settings}), complete=False)
    done = perun("recover", "node.part")
    assert done.returncode == 1
    assert next(iter(settings)) in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "node.part").exists()
