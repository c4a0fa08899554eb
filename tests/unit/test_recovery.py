"""Parts of a job's hosts that were copied together."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from conftest import Run
from jobs_of_hosts import part_of

import perun_like
from perun_like.store.contents import look
from perun_like.testing.parts import write_part


def hosts_copied_together(directory: Path) -> None:
    for number, host in enumerate([part_of(0, [0, 1], 4), part_of(1, [2, 3], 4)]):
        write_part(str(directory / f"node{number}.part"), host, complete=number == 0)


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
