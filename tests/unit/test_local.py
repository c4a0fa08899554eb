"""The run's host-local directory: private, wherever there is room for it."""

from __future__ import annotations

import os
from pathlib import Path

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
