"""A run's file holds everything, is there whole or not at all, and is never touched again."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from stored_recordings import assert_same, calls, rapl_sensor, rapl_stream, recording, rounds, tree, with_gaps

from perun_like.errors import InputError, PerunError
from perun_like.model.node import DataNode, NodeType
from perun_like.model.recording import Process, RegionCalls, Stream
from perun_like.store.reader import load, read_recording
from perun_like.store.writer import write

DOCUMENT = Path(__file__).parents[2] / "docs" / "file_format.md"
NO_CALLS = np.zeros(0, np.int64)


def empty_stream() -> Stream:
    nothing = np.zeros(0, np.int64)
    return Stream("rapl", 10**6, (rapl_sensor(),), nothing, nothing, np.zeros((1, 0), np.int64), np.zeros((1, 0), bool))


RECORDINGS = {
    "short": recording(),
    "regions": recording(rapl_stream(1), regions=(calls(77), calls(78, 0), calls(79, 100))),
    "gaps": recording(with_gaps(rapl_stream(30))),
    "all failed": recording(rapl_stream(9)._replace(valid=np.zeros((2, 9), bool))),
    "long": recording(rapl_stream(5_000, first_unit=2**32 - 1000), regions=(calls(77, 9_000), calls(78, 3))),
    "long with gaps": recording(with_gaps(rapl_stream(70_000, 3)), rapl_stream(10, 1)),
    "no sweeps": recording(empty_stream()),
    "no sensors": recording(rapl_stream(4, 0)._replace(sensors=())),
    "cut": recording(hosts=(recording().hosts[0]._replace(cut="killed", streams=(), missing=()),)),
    "two hosts": recording(hosts=recording().hosts * 2),
    "in place": recording(in_place=(rounds(77), rounds(78, 0), rounds(79, 5, steps=3, name="é/../x"))),
    "many in place": recording(rapl_stream(10), in_place=(rounds(77, 9_000), rounds(78, 3_000, steps=2))),
    "rounds of a program": recording(processes=tuple(Process(0, 77 + k, k, k + 1, 0, round=k) for k in range(3))),
    "function": recording(processes=(Process(0, 77, 1, 2, in_place=True),)),
    "no host": recording(hosts=(), processes=(), metadata={}),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_everything_comes_back(tmp_path, name):
    path = str(tmp_path / "run.h5")
    write(path, RECORDINGS[name], tree())
    assert_same(read_recording(path), RECORDINGS[name])
    assert load(path) == tree()


ODD_NAMES = ["a/b/../c", "line\nbreak", "NUL\0inside", "é🔋", "", ".", "..", "%s\\", "\udcff", "t0_ns", "x.valid"]


@pytest.mark.parametrize("text", [*ODD_NAMES, "x" * 10_000])
def test_names_may_be_anything(tmp_path, text):
    sensors = tuple(rapl_sensor()._replace(id=id_, unit=text) for id_ in (text, f"rapl:{text}", "x", "x.valid"))
    stream = with_gaps(rapl_stream(12, 4)._replace(sensors=sensors, backend=text))
    regions = calls(names=(text, f"{text}2"))._replace(lost_calls={text: 5})
    expected = recording(stream, stream, regions=(regions,), name=text, run_id=text, metadata={text: [text]})
    result = DataNode(text, NodeType.APP, metadata={text: text})
    path = str(tmp_path / "run.h5")
    write(path, expected, result)
    assert_same(read_recording(path), expected)
    assert load(path) == result


def test_a_million_sweeps_would_be_fifteen_megabytes_at_most(tmp_path):
    path = tmp_path / "run.h5"
    write(str(path), recording(rapl_stream(100_000, 6)), tree())
    assert path.stat().st_size < 1_500_000


def test_the_document_tells_how_to_read_a_file(tmp_path):
    figures, jobs, column, sensors, _ = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for number, stream in enumerate([with_gaps(rapl_stream(20)), with_gaps(rapl_stream(9_000, 3, 2**32 - 9))]):
        path = str(tmp_path / f"{number}.h5")
        write(path, recording(stream), tree())
        names = {"path": path}
        exec(figures + jobs + column + sensors, names)
        assert names["energy"]["value"] == tree().nodes[0].nodes[0].metrics["energy_j"].value
        np.testing.assert_allclose(names["time_s"], (stream.t0_ns - 5_000_000_000) / 1e9)
        for sensor, raw, valid in zip(stream.sensors, stream.raw, stream.valid, strict=True):
            energy_j = names["energy_j"][sensor.id]
            np.testing.assert_array_equal(np.isnan(energy_j), ~valid)
            np.testing.assert_allclose(energy_j[valid], raw[valid] / 1e6)
            with h5py.File(path) as file:
                exact = names["column"](file["hosts/0/rapl"][sensor.id.removeprefix("rapl:")])
            np.testing.assert_array_equal(exact[valid], raw[valid])


def test_the_file_holds_what_the_document_lists_and_nothing_else(tmp_path):
    path = str(tmp_path / "run.h5")
    write(path, recording(rapl_stream(20), regions=(calls(),), in_place=(rounds(),)), tree())
    found = {}
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"schema": "perun-like", "schema_version": 1, "software_version": "0.1.0"}
        file.visititems(lambda name, place: found.update({name: getattr(place, "dtype", None)}))
    stream = {f"hosts/0/rapl/{name}" for name in ("t0_ns", "read_ns", "package-0", "package-1")}
    regions = {"process", "region", "thread", "start_ns", "duration_ns", "resumed"}
    intervals = {f"hosts/0/rounds/{name}" for name in ("process", "round", "start_ns", "duration_ns")}
    each = {f"hosts/0/rounds/each/{name}" for name in ("cpu_ns", "peak_before_b", "peak_after_b", "failed")}
    groups = {"hosts", "hosts/0", "hosts/0/rapl", "hosts/0/regions", "hosts/0/rounds", "hosts/0/rounds/each"}
    assert {name for name, dtype in found.items() if dtype is None} == groups
    assert set(found) - groups == {"tree", "recording"} | stream | intervals | each | {
        f"hosts/0/regions/{name}" for name in regions
    }
    assert {dtype.kind for name, dtype in found.items() if name.startswith("hosts") and dtype} <= {"i", "u"}


def test_a_million_rounds_are_a_few_megabytes(tmp_path):
    """Of calls that follow each other at once, of lengths that differ: three bytes each."""
    path, base = tmp_path / "run.h5", rounds(77, 100_000)
    length_ns = np.random.default_rng(1).integers(9_000, 12_000, 100_000)
    made = base._replace(stop_ns=np.cumsum(length_ns), start_ns=np.cumsum(length_ns) - length_ns + 300)
    write(str(path), recording(in_place=(made,)), tree())
    assert path.stat().st_size < 800_000
    assert_same(read_recording(str(path)), recording(in_place=(made,)))


def test_what_was_not_measured_in_place_leaves_no_trace_of_it(tmp_path):
    """So a file without rounds is what it was before there were any."""
    path = tmp_path / "run.h5"
    write(str(path), recording(regions=(calls(),)), tree())
    with h5py.File(path) as file:
        assert "rounds" not in json.loads(file["recording"][0])["hosts"][0]
        assert "hosts/0/rounds" not in file


def test_a_run_makes_the_same_file_whenever_it_is_made(tmp_path):
    """No object has a time of its own: who makes a file again after a kill makes the same one."""
    paths = [tmp_path / name for name in ("a.h5", "b.h5")]
    for path in paths:
        write(str(path), RECORDINGS["long"], tree())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with h5py.File(paths[0]) as file:
        times = []
        file.visititems(lambda _, place: times.append(h5py.h5g.get_objinfo(place.id).mtime))
        assert set(times) == {0}


def test_a_second_run_never_touches_the_first(tmp_path):
    path = tmp_path / "run.h5"
    write(str(path), recording(), tree())
    before, status = path.read_bytes(), path.stat()
    with pytest.raises(InputError, match=r"run\.h5 exists and is left as it is: give another --run-id"):
        write(str(path), RECORDINGS["long"], tree())
    write(str(tmp_path / "second.h5"), RECORDINGS["long"], tree())
    after = path.stat()
    assert path.read_bytes() == before
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "second.h5"]


def test_of_many_writers_of_one_name_one_succeeds(tmp_path):
    path = str(tmp_path / "run.h5")

    def attempt(number):
        try:
            write(path, recording(run_id=str(number)), tree())
        except InputError:
            return None
        return str(number)

    with ThreadPoolExecutor(8) as pool:
        winners = [run_id for run_id in pool.map(attempt, range(16)) if run_id is not None]
    assert winners == [read_recording(path).run_id]
    assert os.listdir(tmp_path) == ["run.h5"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_an_existing_file_is_safe_too(tmp_path, monkeypatch, number):
    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    path = str(tmp_path / "run.h5")
    write(path, recording(run_id="first"), tree())
    with pytest.raises(InputError, match="exists"):
        write(path, recording(run_id="second"), tree())
    assert read_recording(path).run_id == "first"
    assert os.listdir(tmp_path) == ["run.h5"]


HINTS = [(errno.ENOSPC, "make room"), (errno.EROFS, "another directory"), (errno.EIO, "nothing was left behind")]


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "make room"), (errno.EROFS, "another directory"), (errno.EIO, "")]
)
def test_a_failing_disk_leaves_nothing(tmp_path, monkeypatch, call, number, hint):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PerunError, match=os.strerror(number) + ".*" + hint):
        write(str(tmp_path / "run.h5"), recording(), tree())
    assert os.listdir(tmp_path) == []


def test_no_name_is_left_if_the_last_step_fails_without_hard_links(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PerunError):
        write(str(tmp_path / "run.h5"), recording(), tree())
    assert os.listdir(tmp_path) == []


OUT_OF_ROOM = """
import resource, sys
from stored_recordings import recording, tree
from perun_like.errors import PerunError
from perun_like.store.writer import write
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write(sys.argv[1], recording(), tree())
except PerunError as error:
    print(error)
"""


def test_a_file_that_the_kernel_cuts_off_is_not_kept(tmp_path):
    path = str(tmp_path / "run.h5")
    environ = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, "-c", OUT_OF_ROOM, path]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert done.stdout.startswith(f"can't write {path}: File too large: raise the limit")
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(PerunError, match="its directory doesn't exist"):
        write(str(tmp_path / "nowhere" / "run.h5"), recording(), tree())


def test_a_thousand_ranks_are_one_table(tmp_path):
    ranks = tuple(RegionCalls(pid, pid, ("main",), *[NO_CALLS] * 4, NO_CALLS.astype(bool)) for pid in range(1000))
    path = tmp_path / "run.h5"
    write(str(path), recording(regions=ranks), tree())
    assert path.stat().st_size < 200_000
    assert_same(read_recording(str(path)), recording(regions=ranks))
