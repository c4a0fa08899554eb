"""Results whose place is removed, moved or full while the program runs."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run

from perun_like.store.reader import read_recording

REMOVED = "shutil.rmtree('perun_results')"
MOVED = "os.rename('perun_results', 'elsewhere')"
COPIED = f"shutil.copytree('perun_results', 'copy'); {REMOVED}; os.rename('copy', 'perun_results')"


@pytest.mark.parametrize("fault", [REMOVED, MOVED, COPIED])
def test_they_are_in_their_place_all_the_same(
    perun: Run, script: Callable[[str], str], tmp_path: Path, fault: str
) -> None:
    name = script(f"import os, shutil\n{fault}\n")
    done = perun("profile", "--run-id", "taken", name)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.parts"))
    recording = read_recording(str(tmp_path / "perun_results" / "script" / "taken.h5"))
    (host,) = recording.hosts
    assert host.cut is None
    assert all(stream.t0_ns[0] <= recording.window_ns[0] for stream in host.streams)
    assert all(stream.t1_ns[-1] >= recording.window_ns[1] for stream in host.streams)


REPLACED = """
import glob, os
(part,) = glob.glob('perun_results/script/*.parts/*.part')
os.unlink(part)
with open(part, 'w') as file:
    file.write({!r})
"""


@pytest.mark.parametrize("content", ["", "somebody else's"])
def test_what_has_taken_the_place_of_a_part_costs_it_nothing_and_is_kept(
    perun: Run, script: Callable[[str], str], tmp_path: Path, content: str
) -> None:
    done = perun("profile", "--run-id", "taken", script(REPLACED.format(content)))
    assert done.returncode == 0, done.stderr
    (host,) = read_recording(str(tmp_path / "perun_results/script/taken.h5")).hosts
    assert host.cut is None
    assert any(len(stream.t0_ns) for stream in host.streams)
    kept = [path.read_text() for path in tmp_path.rglob("*.part")]
    assert kept == ([content] if content else [])
    assert ("left in taken.damaged" in " ".join(done.stderr.split())) == bool(content)


def test_nothing_is_left_where_there_was_no_room_even_for_a_beginning(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    name = script("import sys\nprint('done')\nsys.exit(3)\n")

    def allow_no_data() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = perun("profile", name, preexec_fn=allow_no_data)
    assert (done.returncode, done.stdout) == (3, "done\n")
    assert "could not be saved" in done.stderr
    assert "perun-like recover" not in done.stderr
    assert not list(tmp_path.rglob("*.parts"))
