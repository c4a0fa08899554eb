"""A part is completed in the place of its killed sampler by whoever comes first: a rank with a job's end to see to."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from jobs_of_hosts import part_of

from perun_like.sampling.completing import KILLED, complete
from perun_like.sampling.keeping import keep_marks
from perun_like.sampling.marks import Marks
from perun_like.sampling.spool import FOOTER, FRAME_HEAD, HEADER, ROWS, Part
from perun_like.sampling.spool_reader import footer, frames
from perun_like.store.assembly import assemble
from perun_like.testing.parts import write_part

MB = 10**6


@pytest.fixture
def cut(tmp_path: Path) -> str:
    """A part of 32 MB that a sampler has left."""
    part = Part(str(tmp_path / "host.part"))
    part.write_json(HEADER, {"run": {}})
    for sequence in range(32):
        part.write(ROWS, bytes(MB), sequence=sequence)
    part.close()
    return part.path


def test_who_completes_a_part_needs_not_hold_it_in_memory(cut: str, tmp_path: Path) -> None:
    before = list(frames(cut))
    tracemalloc.start()
    try:
        complete(cut, str(tmp_path / "gone"), None)
        peak_b = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_b < 4 * MB
    *others, last = frames(cut)
    assert others == before
    assert last.kind == FOOTER
    assert (footer(cut) or {})["cut"] == KILLED


COMPLETES_WITHOUT_ROOM = """
import os, resource, sys
from perun_like.sampling.completing import complete
before = os.listdir("/proc/self/fd")
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (os.stat(sys.argv[1]).st_size,))
try:
    complete(sys.argv[1], "/nowhere", None)
except OSError as error:
    print(error.strerror, os.listdir("/proc/self/fd") == before)
"""


def test_where_there_is_no_room_to_complete_a_part_the_next_one_can_try(cut: str) -> None:
    whole = Path(cut).read_bytes()
    command = [sys.executable, "-c", COMPLETES_WITHOUT_ROOM, cut]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "File too large True\n"  # it holds neither the part nor its lock
    assert Path(cut).read_bytes() == whole


@pytest.mark.parametrize("kept", range(6))
def test_marks_that_a_killed_sampler_was_keeping_count_once(tmp_path: Path, kept: int) -> None:
    """Of two processes, each a note, calls and rounds: all are kept again, whichever of them it had kept."""
    run, path = tmp_path / "run", str(tmp_path / "node.part")
    (run / "0").mkdir(parents=True)
    for _ in range(2):
        written = Marks(str(run / "0"))
        for name in ("f", "f", "g"):
            written.begin(name)
            written.begin_round(name, None, 0, 0)
    one = part_of(0, [0], 1)
    write_part(path, one._replace(hosts=(one.hosts[0]._replace(regions=(), rounds=()),)), complete=False)
    killed = Part(path, again=True)
    keep_marks(killed, str(run))
    killed.close()
    sizes = [FRAME_HEAD.size + len(frame.payload) for frame in frames(path)]
    os.truncate(path, sum(sizes[: kept - 6]))
    complete(path, str(tmp_path / "gone"), str(run))
    [host] = assemble(str(tmp_path)).hosts
    assert [len(calls.region) for calls in host.regions] == [3, 3]
    assert [(made.name, len(made.start_ns)) for made in host.rounds] == [("f", 2), ("g", 1)] * 2
