"""A part is completed in the place of its killed sampler by whoever comes first: a rank with a job's end to see to."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from perun_like.sampling.completing import KILLED, complete
from perun_like.sampling.spool import FOOTER, HEADER, ROWS, Part
from perun_like.sampling.spool_reader import footer, frames

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
