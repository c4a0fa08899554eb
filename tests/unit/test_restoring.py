"""A part whose place is taken from it: what was written is there again, and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from perun_like.sampling.spool import NOTE, Part
from perun_like.sampling.spool_reader import frames


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


def replace_by_empty_file(results: Path) -> None:
    remove_file(results)
    (results / "run.parts" / "host.part").touch()


def replace_by_copy(results: Path) -> None:
    """As who moves results to another disk and back."""
    shutil.copytree(results, results.with_name("copy"))
    shutil.rmtree(results)
    results.with_name("copy").rename(results)


@pytest.mark.parametrize("fault", [shutil.rmtree, move_away, remove_file, replace_by_copy])
def test_it_is_in_its_place_again_and_only_there(part: Part, tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(tmp_path / "results")
    part.write(NOTE, b"meanwhile")
    part.restore()
    part.write(NOTE, b"after")
    part.close()
    assert [frame.payload for frame in frames(part.path)] == [b"before", b"meanwhile", b"after"]
    assert [str(path) for path in tmp_path.rglob("*.part")] == [part.path]
    assert len(list(tmp_path.rglob("*.parts"))) == 1


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_file_in_the_place_of_its_directory_is_left_alone(part: Part, tmp_path: Path) -> None:
    replace_by_file(tmp_path / "results")
    there = contents(tmp_path)
    with pytest.raises(OSError, match="exists"):
        part.restore()
    part.write(NOTE, b"to wherever it is")
    part.close()
    assert contents(tmp_path) == there


@pytest.mark.parametrize("fault", [replace_file, replace_by_empty_file])
def test_it_is_beside_what_others_have_put_there(part: Part, tmp_path: Path, fault: Callable[[Path], None]) -> None:
    fault(tmp_path / "results")
    there = contents(tmp_path)
    part.write(NOTE, b"meanwhile")
    part.restore()
    part.write(NOTE, b"after")
    part.close()
    assert part.path == str(tmp_path / "results" / "run.parts" / "host-2.part")
    assert [frame.payload for frame in frames(part.path)] == [b"before", b"meanwhile", b"after"]
    assert contents(tmp_path) == {**there, Path(part.path): Path(part.path).read_bytes()}


def test_what_is_in_its_place_becomes_nothing_else(part: Part, tmp_path: Path) -> None:
    coarser = Part(part.path + ".coarser")
    coarser.write(NOTE, b"coarser")
    coarser.close()
    replace_file(tmp_path / "results")
    there = contents(tmp_path)
    with pytest.raises(FileExistsError):
        part.become(coarser.path, part.size_b)
    assert contents(tmp_path) == there


@pytest.mark.parametrize("saved", ["saved/host.part", "saved/mine.part", "mine.parts/mine.part"])
def test_what_somebody_has_put_elsewhere_for_himself_stays_there(part: Part, tmp_path: Path, saved: str) -> None:
    (tmp_path / saved).parent.mkdir()
    Path(part.path).rename(tmp_path / saved)
    there = contents(tmp_path)
    part.restore()
    part.write(NOTE, b"after")
    part.close()
    assert [frame.payload for frame in frames(part.path)] == [b"before", b"after"]
    assert contents(tmp_path) == {**there, Path(part.path): Path(part.path).read_bytes()}


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
