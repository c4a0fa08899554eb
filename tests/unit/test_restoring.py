"""A part whose place is taken from it: what was written is there again, and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from perun_like.sampling.spool import NOTE, Part, frames


@pytest.fixture
def part(tmp_path: Path) -> Part:
    (tmp_path / "results" / "run.parts").mkdir(parents=True)
    part = Part(str(tmp_path / "results" / "run.parts" / "host.part"))
    part.write(NOTE, b"before")
    return part


def move_away(results: Path) -> None:
    results.rename(results.with_name("elsewhere"))


def remove_file(results: Path) -> None:
    (results / "run.parts" / "host.part").unlink()


def replace_by_file(results: Path) -> None:
    shutil.rmtree(results / "run.parts")
    (results / "run.parts").touch()


def replace_file(results: Path) -> None:
    remove_file(results)
    (results / "run.parts" / "host.part").write_text("somebody else's")


@pytest.mark.parametrize("fault", [shutil.rmtree, move_away, remove_file])
def test_it_is_in_its_place_again_and_only_there(part: Part, tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(tmp_path / "results")
    part.write(NOTE, b"meanwhile")
    part.restore()
    part.write(NOTE, b"after")
    part.close()
    assert [frame.payload for frame in frames(part.path)] == [b"before", b"meanwhile", b"after"]
    assert [str(path) for path in tmp_path.rglob("*.part")] == [part.path]
    assert len(list(tmp_path.rglob("*.parts"))) == 1


@pytest.mark.parametrize("fault", [replace_by_file, replace_file])
def test_what_others_have_put_there_is_left_alone(part: Part, tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(tmp_path / "results")
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="exists"):
        part.restore()
    part.write(NOTE, b"to wherever it is")
    part.close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == there


def test_what_stands_beside_it_where_it_was_moved_stays(part: Part, tmp_path: Path) -> None:
    (tmp_path / "results" / "run.parts" / "other.part").write_text("another host's")
    move_away(tmp_path / "results")
    part.restore()
    part.close()
    assert [path.name for path in (tmp_path / "elsewhere" / "run.parts").iterdir()] == ["other.part"]


def test_nothing_changes_where_nothing_has_happened(part: Part) -> None:
    inode = Path(part.path).stat().st_ino
    part.restore()
    part.close()
    assert Path(part.path).stat().st_ino == inode
