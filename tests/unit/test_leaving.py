"""The last rank of a host completes what killed samplers have left, and removes nothing that is still of use."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs_of_hosts import part_of

from perun_like.launch.claim import Roll, job_directory
from perun_like.launch.comm import Comm
from perun_like.launch.turns import door
from perun_like.monitoring import leaving
from perun_like.monitoring.leaving import Leaving
from perun_like.monitoring.saving import recover
from perun_like.sampling.local import name_part
from perun_like.sampling.ranks import write_note
from perun_like.sampling.spool import FOOTER, HEADER, ROWS, STREAM, Part, Tail
from perun_like.sampling.spool_reader import footer, frames
from perun_like.store.place import RunPlace
from perun_like.testing.parts import write_part

SAMPLERS = ("", "view-1")  # the host's own, and that of ranks that see other devices


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run's directory on this host, where rank 0 has noted something."""
    with door(job_directory(str(tmp_path), "host", "id")) as inside:
        path = inside.run_directory(0)
    os.mkdir(os.path.join(path, "0"))
    write_note(os.path.join(path, "0"), {"run": {"name": "app"}})
    return path


@pytest.fixture
def place(tmp_path: Path) -> RunPlace:
    return RunPlace.claim_together(str(tmp_path / "results"), "heat", None, "job")


def killed_sampler(run: str, place: RunPlace, view: str, number: int) -> str:
    """What a sampler leaves that was killed before any of its rows was moved; its part."""
    local = os.path.join(run, view, f"sampler-{number}")
    os.makedirs(local)
    part = Part(place.part(f"{os.uname().nodename}-sampler-{number}"))
    part.write_json(HEADER, {"local": local})
    part.write_json(STREAM, {})
    name_part(local, part.fileno())
    part.close()
    Tail(os.path.join(local, "tail-0"), 1, 10).append(number, number + 1, [7])
    return part.path


def rows(part: str) -> list[tuple[int, ...]]:
    return [tuple(array("q", frame.payload)) for frame in frames(part) if frame.kind == ROWS]


def leave(run: str, place: RunPlace) -> None:
    """The last rank's way out."""
    roll = Roll(run)
    roll.enter(0)
    Leaving(run, roll, place, Comm(rank=0, size=1, local_size=1), waits=False).makes_result(lambda: None)


@pytest.mark.parametrize("hindered", range(len(SAMPLERS)))
def test_a_part_that_can_t_be_completed_costs_no_other_and_nothing_of_its_own(
    run: str, place: RunPlace, tmp_path: Path, hindered: int
) -> None:
    parts = [killed_sampler(run, place, view, number) for number, view in enumerate(SAMPLERS)]
    os.rename(parts[hindered], tmp_path / "away")
    os.mkdir(parts[hindered])  # so that it can't be opened, by whomever
    leave(run, place)
    other = 1 - hindered
    assert rows(parts[other]) == [(other, other + 1, 1, 7)]
    assert footer(parts[other]) is not None
    os.rmdir(parts[hindered])
    os.rename(tmp_path / "away", parts[hindered])
    tail = os.path.join(run, SAMPLERS[hindered], f"sampler-{hindered}", "tail-0")
    assert os.path.exists(tail)  # where its part says that it is
    leave(run, place)
    for number, part in enumerate(parts):
        assert rows(part) == [(number, number + 1, 1, 7)]
        assert [frame.kind for frame in frames(part)].count(FOOTER) == 1
    assert not os.path.exists(run)


def moves_beside(part: str, local: str) -> str:
    """What a sampler does when it finds something else in its part's place: where the part is from then on."""
    mine = Part(part, again=True)
    os.unlink(part)
    Path(part).write_text("somebody else's")
    mine.restore()
    name_part(local, mine.fileno())
    mine.close()
    return mine.path


def test_a_part_that_is_beside_its_place_is_completed_there(run: str, place: RunPlace) -> None:
    taken = killed_sampler(run, place, "", 0)
    part = moves_beside(taken, os.path.join(run, "sampler-0"))
    leave(run, place)
    assert rows(part) == [(0, 1, 1, 7)]
    assert footer(part) is not None
    assert Path(taken).read_text() == "somebody else's"
    assert not os.path.exists(run)


def test_a_copy_that_has_taken_the_place_of_its_part_is_completed(run: str, place: RunPlace, tmp_path: Path) -> None:
    part = killed_sampler(run, place, "", 0)
    shutil.copy(part, tmp_path / "copy")
    os.unlink(part)
    os.rename(tmp_path / "copy", part)
    leave(run, place)
    assert rows(part) == [(0, 1, 1, 7)]


def saved_as(name: str) -> Callable[[RunPlace], None]:
    """What another rank does while rank 0 gets ready: the parts become a file of this name."""

    def save(place: RunPlace) -> None:
        write_part(place.part("node"), part_of(0, [0], 2), job=os.path.basename(place.parts))
        recover(place.parts)
        (path,) = Path(place.parts).parent.glob("heat/*.h5")
        os.rename(path, path.with_name(name.format(path.stem)))

    return save


@pytest.mark.parametrize(
    ("fate", "is_told"),
    [
        (lambda place: shutil.rmtree(place.parts), True),
        (saved_as("{}.h5"), False),
        (saved_as("another run's.h5"), True),
    ],
)
def test_for_parts_that_are_gone_nobody_waits(
    run: str, place: RunPlace, monkeypatch: pytest.MonkeyPatch, fate: Callable[[RunPlace], None], is_told: bool
) -> None:
    """Rank 0 would wait for other hosts as long as it may."""
    monkeypatch.setattr(leaving, "_OTHER_HOSTS_S", float("inf"))
    roll = Roll(run)
    roll.enter(0)
    first = Leaving(run, roll, place, Comm(rank=0, size=2, local_size=1), waits=True)
    assert not first.makes_result(lambda: fate(place))
    assert (first.problem is not None and f"{place.parts} was removed" in first.problem) == is_told


def test_nothing_is_kept_of_a_sampler_that_never_began_its_part(run: str, place: RunPlace) -> None:
    os.unlink(killed_sampler(run, place, "", 0))
    leave(run, place)
    assert os.listdir(os.path.dirname(run)) == ["runs"]


def test_what_is_left_stays_while_its_part_may_be_somewhere_else(run: str, place: RunPlace, tmp_path: Path) -> None:
    killed_sampler(run, place, "", 0)
    os.rename(place.parts, tmp_path / "elsewhere")
    leave(run, place)
    assert os.path.exists(os.path.join(run, "sampler-0", "tail-0"))
