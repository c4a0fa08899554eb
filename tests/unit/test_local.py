"""The run's host-local directory: private, wherever there is room for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from perun_like.sampling import local


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two places in which directories may be made."""
    found = [tmp_path / "first" / "perun", tmp_path / "second" / "perun"]
    for place in found:
        place.parent.mkdir()
    monkeypatch.setattr(local, "_places", lambda: [str(place) for place in found])
    return found


def test_it_is_private_and_in_the_first_place(places: list[Path]) -> None:
    made = Path(local.make_local_directory("token"))
    assert made == places[0] / "token"
    assert made.stat().st_mode & 0o777 == places[0].stat().st_mode & 0o777 == 0o700
    assert Path(local.marks_directory(str(made), 0)).is_dir()


@pytest.mark.parametrize("obstacle", ["open to all", "a link", "a file", "no parent"])
def test_a_place_that_is_not_ours_alone_is_passed_over(places: list[Path], obstacle: str) -> None:
    if obstacle == "open to all":
        places[0].mkdir()
        places[0].chmod(0o777)
    elif obstacle == "a link":
        places[0].symlink_to(places[1].parent)
    elif obstacle == "a file":
        places[0].touch()
    else:
        places[0].parent.rmdir()
    assert Path(local.make_local_directory("token")) == places[1] / "token"


@pytest.mark.parametrize(("roomy", "taken"), [([0, 1], 0), ([0], 0), ([1], 1), ([], 0)])
def test_a_place_without_room_is_passed_over_for_one_that_has_some(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, roomy: list[int], taken: int
) -> None:
    free_b = {str(place.parent): (1 << 30 if number in roomy else 1 << 16) for number, place in enumerate(places)}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=4096, f_bavail=free_b[path] // 4096))
    assert Path(local.make_local_directory("token")) == places[taken] / "token"


def test_without_any_place_the_reason_is_told(places: list[Path]) -> None:
    for place in places:
        place.touch()
    with pytest.raises(PermissionError, match="not a private directory"):
        local.make_local_directory("token")


def test_only_a_run_s_own_directory_is_taken_for_one(places: list[Path], tmp_path: Path) -> None:
    made = local.make_local_directory("token")
    assert local.is_local_directory(made)
    for other in (str(tmp_path), str(places[0]), f"{places[0]}/../perun/token", f"{made}/", os.sep):
        assert not local.is_local_directory(other)


def test_what_is_here_belongs_to_one_part_and_then_to_the_one_in_its_place(places: list[Path], tmp_path: Path) -> None:
    made, part = local.make_local_directory("token"), tmp_path / "host.part"
    part.touch()
    local.name_part(made, str(part))
    assert local.is_of_part(made, str(part))
    part.rename(tmp_path / "elsewhere")
    part.touch()
    assert not local.is_of_part(made, str(part))
    local.name_part(made, str(part))
    assert local.is_of_part(made, str(part))
    assert not local.is_of_part(made, str(tmp_path / "elsewhere"))
