"""A master file refers to its host files: whatever becomes of those, one gets what was measured, or an error."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from jobs_of_hosts import job, usual
from stored_recordings import assert_same

from perun_like.errors import FileError
from perun_like.model.recording import Recording
from perun_like.monitoring.saving import save_job
from perun_like.report.csv import write_table
from perun_like.store import gather, schema
from perun_like.store.assembly import assemble
from perun_like.store.reader import load, open_run, read_recording

DOCUMENT = Path(__file__).parents[2] / "docs" / "file_format.md"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return assemble(job(tmp_path / "expected", usual()).parts)


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gather, "MOST_HOSTS", 1)
    return Path(save_job(job(tmp_path, usual(), "mine"))[1])


def host_file(master: Path, number: int = 1) -> Path:
    (found,) = master.with_suffix(".hosts").glob(f"node{number}-*.h5")
    return found


def facts_of(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(json.loads(file["recording"][0]))


def change_facts(path: Path, change: Change) -> None:
    facts = facts_of(path)
    change(facts)
    with h5py.File(path, "r+") as file:
        del file["recording"]
        file["recording"] = np.array([json.dumps(facts)], "S")


def test_old_readers_are_told_to_be_updated(master: Path) -> None:
    """They would take its hosts for ones without samples."""
    with h5py.File(master) as file:
        assert file.attrs["schema_version"] == schema.MASTER_VERSION == 2
    with h5py.File(host_file(master)) as file:
        assert file.attrs["schema_version"] == 1


def test_a_file_of_all_hosts_is_one_as_ever(tmp_path: Path) -> None:
    _, path = save_job(job(tmp_path, usual()))
    with h5py.File(path) as file:
        assert file.attrs["schema_version"] == 1
        assert sorted(file["hosts"]) == ["0", "1", "2"]
        for number, host in enumerate(json.loads(file["recording"][0])["hosts"]):
            groups = [stream["group"] for stream in host["streams"]] + [host["regions"]["group"]]
            assert groups == [f"hosts/{number}/{name}" for name in ("rapl", "host", "regions")]


def test_one_host_too_many_makes_a_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_HOSTS", 3)
    with open_run(save_job(job(tmp_path, usual(3)))[1]) as run:
        assert not run.is_master
    with open_run(save_job(job(tmp_path / "more", usual(4)))[1]) as run:
        assert run.is_master


def test_so_do_host_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_BYTES", 50_000)
    with open_run(save_job(job(tmp_path, usual(2)))[1]) as run:
        assert run.is_master


def test_the_result_needs_no_host_file(master: Path) -> None:
    before = load(master)
    shutil.rmtree(master.with_suffix(".hosts"))
    assert load(master) == before


def test_it_may_be_moved_together_with_its_hosts(master: Path, recording: Recording, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(master, elsewhere / "called-otherwise.h5")
    shutil.move(master.with_suffix(".hosts"), elsewhere)
    found = read_recording(elsewhere / "called-otherwise.h5")
    assert_same(found, recording._replace(run_id="mine"))


def test_paths_may_be_relative(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(master.parent)
    assert len(read_recording(master.name).hosts) == 3


def test_at_most_one_host_file_is_open(master: Path) -> None:
    def host_files_open() -> int:
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(".hosts/" in os.readlink(link) for link in links if os.path.islink(link))

    with open_run(master) as run:
        assert [host_files_open() for _ in run.files()] == [1, 1, 1]
        assert host_files_open() == 0


def missing(path: Path) -> None:
    path.unlink()


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def another_host_s(path: Path) -> None:
    shutil.copy(host_file(path.parent.with_suffix(".h5"), 0), path)


def noted_with_hdf5(path: Path) -> None:
    """A results file of its own may be changed so. What a master refers to is what it was made with."""
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "mine"


def a_link(path: Path) -> None:
    target = path.rename(path.parent.parent / "moved.h5")
    path.symlink_to(target)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_changed_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3000] ^= 64
    path.write_bytes(content)


HARMS = {
    missing: "can't be read",
    shorter: "is not what it was",
    longer: "is not what it was",
    another_host_s: "is not what it was",
    noted_with_hdf5: "is not what it was",
    a_link: "is not a file",
    a_directory: "is not a file",
    a_pipe: "is not a file",
    a_changed_byte: "checksum",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_host_file_that_came_to_harm_is_an_error_with_its_name(master: Path, harm: Callable[[Path], None]) -> None:
    """And never a host without samples."""
    path = host_file(master)
    harm(path)
    with pytest.raises(FileError, match=HARMS[harm]) as caught:
        read_recording(master)
    assert str(path) in str(caught.value)
    with open_run(master) as run, pytest.raises(FileError, match=path.name):
        write_table(run, io.BytesIO())


def test_csv_is_that_of_one_file(tmp_path: Path, master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_HOSTS", 64)
    _, path = save_job(job(tmp_path / "one", usual(), "mine"))
    tables = []
    for file in (master, path):
        with open_run(file) as run:
            output = io.BytesIO()
            write_table(run, output)
        tables.append(output.getvalue())
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") == 1 + 3 * (48 + 7)


def test_commands_read_it(perun: Callable[..., subprocess.CompletedProcess[str]], master: Path) -> None:
    commands = (("export", str(master), "json"), ("report", str(master)), ("export", str(master), "csv"))
    for command in commands:
        done = perun(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert "node1" in done.stdout
    path = host_file(master)
    path.unlink()
    done = perun(*commands[2])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path}, of a host of {master}, can't be read (No such file or directory): put the original" in done.stderr


LEADING_ELSEWHERE = ["../other.h5", "/etc/passwd", "a/b.h5", "", ".", "..", "nul\0.h5", None, 7, ["x"]]


@pytest.mark.parametrize("name", LEADING_ELSEWHERE, ids=repr)
@pytest.mark.parametrize("which", ["file", "directory"])
def test_no_reference_leads_out_of_the_directory(master: Path, name: Any, which: str) -> None:
    def change(facts: dict[str, Any]) -> None:
        if which == "file":
            facts["hosts"][1]["file"]["name"] = name
        else:
            facts["hosts_directory"] = name

    change_facts(master, change)
    with pytest.raises(FileError, match="damaged"):
        read_recording(master)


def test_what_lies_outside_is_not_read_even_if_it_is_a_host_file(master: Path) -> None:
    """The right bytes at the wrong place."""
    path = host_file(master)
    path.rename(master.parent / path.name)
    change_facts(master, lambda facts: facts["hosts"][1]["file"].update(name=f"../{path.name}"))
    with pytest.raises(FileError, match="not the name of a file beside it"):
        read_recording(master)


def of_no_size(entry: dict[str, Any]) -> None:
    del entry["bytes"]


def of_a_negative_size(entry: dict[str, Any]) -> None:
    entry["bytes"] = -1


def of_no_checksum(entry: dict[str, Any]) -> None:
    entry["crc32"] = None


def of_a_strange_checksum(entry: dict[str, Any]) -> None:
    entry["crc32"] = "none"


def of_a_huge_size(entry: dict[str, Any]) -> None:
    entry["bytes"] = 10**30


@pytest.mark.parametrize(
    "change", [of_no_size, of_a_negative_size, of_no_checksum, of_a_strange_checksum, of_a_huge_size]
)
def test_references_that_cannot_be_are_errors(master: Path, change: Change) -> None:
    change_facts(master, lambda facts: change(facts["hosts"][1]["file"]))
    with pytest.raises(FileError):
        read_recording(master)


@pytest.mark.parametrize("hosts", [None, 7, [7], [{}], [{"file": 7}], {"file": {}}], ids=repr)
def test_hosts_that_cannot_be_are_errors(master: Path, hosts: Any) -> None:
    change_facts(master, lambda facts: facts.update(hosts=hosts))
    with pytest.raises(FileError, match="damaged"):
        read_recording(master)


def test_one_file_cannot_stand_for_two_hosts(master: Path) -> None:
    change_facts(master, lambda facts: facts["hosts"].append(facts["hosts"][0]))
    with pytest.raises(FileError, match="one file for several hosts"):
        read_recording(master)


def test_a_master_among_the_host_files_is_refused(master: Path) -> None:
    """Else it could refer to itself, without end."""
    inner = host_file(master)
    shutil.copy(master, inner)
    content = inner.read_bytes()
    stamp = {"bytes": len(content), "crc32": content[-9:-1].decode()}
    change_facts(master, lambda facts: facts["hosts"][1]["file"].update(stamp))
    with pytest.raises(FileError, match=f"{inner.name} is itself a file of several hosts"):
        read_recording(master)


def test_its_facts_are_what_the_document_lists(master: Path) -> None:
    facts = facts_of(master)
    assert facts["hosts_directory"] == "mine.hosts"
    known = {"name", "run_id", "size", "started_unix_ns", "window_ns", "metadata", "processes"}
    assert set(facts) == known | {"hosts", "hosts_directory"}
    for host in facts["hosts"]:
        path = master.with_suffix(".hosts") / host["file"]["name"]
        content = path.read_bytes()
        assert host["file"] == {"name": path.name, "bytes": len(content), "crc32": content[-9:-1].decode()}
        assert set(host["host"]) == {"hostname", "boot_id"}
    with h5py.File(master) as file:
        assert sorted(file) == ["recording", "tree"]


def test_samples_of_a_host_are_read_as_the_document_says(master: Path, recording: Recording) -> None:
    """Each host file is an ordinary file of its own."""
    alone = read_recording(host_file(master, 1))
    (expected,) = [host for host in recording.hosts if host.host["hostname"] == "node1"]
    assert_same(alone, alone._replace(hosts=(expected,)))


def test_the_document_tells_how_to_find_the_samples(tmp_path: Path, master: Path, recording: Recording) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "hosts_directory" in block]
    names: dict[str, Any] = {"h5py": h5py, "json": json}
    exec(block, names)
    found = [read_recording(path).hosts[0].host["hostname"] for path in names["host_files"](str(master))]
    assert found == [host.host["hostname"] for host in recording.hosts]
    ordinary = str(host_file(master))
    assert names["host_files"](ordinary) == [ordinary]
