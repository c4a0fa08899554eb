"""What the application's processes write down survives a lack of room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perun_like import region
from perun_like.monitoring.region import divert
from perun_like.sampling import marks
from perun_like.sampling.collecting import collect
from perun_like.sampling.marks import Marks
from perun_like.sampling.spool import Tail
from perun_like.store import marked


def test_a_name_that_found_no_room_costs_no_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Marks(str(tmp_path))
    assert written.begin("before") is not None
    real = os.write

    def write_little(fd: int, data: bytes) -> int:
        return real(fd, data[:4])

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_little)
        assert written.begin("no room") is not None
    assert written.begin("after") is not None
    [(facts, rows, _)] = collect(str(tmp_path), 0)
    names = dict(enumerate(facts["names"]))
    regions = memoryview(rows).cast("q")[:: marks.ROW_WORDS]
    assert [names.get(number >> 1, "lost") for number in regions] == ["before", "lost", "after"]


def test_damaged_names_cost_only_themselves(tmp_path: Path) -> None:
    Marks(str(tmp_path)).begin("good")
    (names,) = tmp_path.glob("names-*")
    with names.open("ab") as file:
        file.write(b'[1, "torn\n17\n{"lost": 3}\n[2, "also good"]\n[-1, "x"]\n[1e9, "x"]\n[3]\n[99999999, "x"]\n')
    [(facts, *_)] = collect(str(tmp_path), 0)
    assert facts["names"] == ["good", marks.NAME_LOST, "also good"]
    assert facts["lost"] == {"lost": 3}


def test_calls_are_counted_where_nothing_can_be_opened_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    written = Marks(str(tmp_path))
    assert written.begin("before") is not None
    assert written.begin_round("round", None, 0, 0) is not None
    with monkeypatch.context() as without_privileges:
        without_privileges.setattr(os, "open", refuse)
        without_privileges.setattr(os, "symlink", refuse)
        assert sum(written.begin("after") is None for _ in range(marks.FILE_ROWS + 3)) == 4
        assert written.begin("after", resumed=1) is None  # the rest of a call is no other one
        assert sum(written.begin_round("round", None, 0, 0) is None for _ in range(marks.FILE_ROWS + 1)) == 2
    [(facts, rows, rounds)] = collect(str(tmp_path), 0)
    assert len(rows) == marks.rows_bytes(marks.ROW_WORDS)
    assert len(rounds) == marks.rows_bytes(marks.ROUND_WORDS)
    assert facts["lost"] == {marks.NAME_LOST: 4}
    assert facts["lost_rounds"] == {marks.NAME_LOST: 2}


def test_calls_that_a_kill_left_without_a_name_are_counted_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MAX_FILES", 1)
    written = Marks(str(tmp_path))
    for _ in range(marks.FILE_ROWS + 1000):
        written.begin("r")
    [(facts, *_)] = collect(str(tmp_path), 0)  # without a flush, and powers of two are written down
    assert facts["lost"] == {"r": 512, marks.NAME_LOST: 488}
    written.flush()
    [(facts, *_)] = collect(str(tmp_path), 0)
    assert facts["lost"] == {"r": 1000}


@pytest.mark.parametrize("marked_ones", [0, 2])
def test_rounds_without_a_name_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked_ones: int) -> None:
    """Whether none of them is marked or some are, of which one lost its name after it was marked and one before."""

    def refuse(*_: object) -> int:
        raise PermissionError

    written = Marks(str(tmp_path))
    if marked_ones:
        written.begin_round("cut off", None, 0, 0)
        os.truncate(*tmp_path.glob("names-*"), 0)
    written.begin_round("named", None, 0, 0)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    if marked_ones:
        written.begin_round("never written down", None, 0, 0)
    for _ in range(marks.FILE_ROWS + 4 - marked_ones):
        written.begin_round("named", None, 0, 0)
    monkeypatch.undo()
    [(facts, _, rows)] = collect(str(tmp_path), 0)
    found = list(marked.rounds(facts, rows, 1 << 60))
    unmarked = [dict(calls.lost_calls) for calls in marked.unmarked_rounds(facts, rows)]
    assert [len(each.start_ns) for each in found if each.name == "named"] == [marks.FILE_ROWS - marked_ones]
    assert sum(len(each.start_ns) for each in found if each.name == marks.NAME_LOST) == marked_ones
    assert sum(each.lost for each in found if each.name == marks.NAME_LOST) == (5 if marked_ones else 0)
    assert unmarked == ([] if marked_ones else [{marks.NAME_LOST: 5}])


INTERRUPTED = """
import os, sys
from itertools import count
from perun_like.sampling import marks, segments
marks.FILE_ROWS = 4  # a small file keeps the test short
from perun_like.sampling.collecting import collect

def interrupted_at(line, call):
    def trace(frame, event, _):
        nonlocal line
        if "perun_like" not in frame.f_code.co_filename: return None
        line -= event == "line"
        if line < 0: raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    try: call()
    except KeyboardInterrupt: return True
    finally: sys.settrace(None)
    return False

if sys.argv[2] == "segments": marks.prepare()
for line in count():
    run = os.path.join(sys.argv[1], str(line))
    rank = os.path.join(run, "0")
    os.makedirs(rank)
    segments.offer(run)
    written = marks.Marks(rank)
    for _ in range(marks.FILE_ROWS): written.begin("before")
    was = interrupted_at(line, lambda: written.begin("before"))
    for _ in range(2): written.begin("after")
    [(facts, rows, _)] = collect(rank, 0)
    words = memoryview(rows).cast("q")
    names = [facts["names"][words[at] >> 1] for at in range(0, len(words), marks.ROW_WORDS) if words[at + 2]]
    segments.remove(os.path.join(rank, name) for name in os.listdir(rank))
    if not was: break
    print(names.count("before") - marks.FILE_ROWS, names.count("after"))
"""


@pytest.mark.parametrize("memory", ["segments", "files"])
def test_an_interrupt_while_there_is_no_room_costs_no_later_call(tmp_path: Path, memory: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), memory]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) > 20
    assert set(said) <= {"0 2", "1 2"}  # the call that was interrupted may be marked or not


def test_what_was_entered_before_anything_was_marked_ends_nothing_that_is(tmp_path: Path) -> None:
    before = divert(None)
    unmarked = region("r")
    unmarked.__enter__()
    divert(Marks(str(tmp_path)))
    try:
        marked_one = region("r")
        marked_one.__enter__()
        unmarked.__exit__(None, None, None)
        [(_, rows, _)] = collect(str(tmp_path), 0)
        assert memoryview(rows).cast("q")[3] == 0
        marked_one.__exit__(None, None, None)
        [(_, rows, _)] = collect(str(tmp_path), 0)
        assert memoryview(rows).cast("q")[3] > 0
    finally:
        divert(before)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_names_that_were_cut_off_are_given_to_no_other_calls(tmp_path: Path, lost: int) -> None:
    written = Marks(str(tmp_path))
    for number in range(3):
        written.begin(f"region {number}")
        written.begin_round(f"round {number}", None, 0, 0)
        if number + 1 == lost:
            os.truncate(*tmp_path.glob("names-*"), 0)
    [(facts, calls, rounds)] = collect(str(tmp_path), 0)
    [of_regions] = marked.region_calls(facts, calls, 1 << 60)
    known = [f"region {number}" for number in range(lost, 3)]
    assert [of_regions.names[number] for number in of_regions.region] == [marks.NAME_LOST] * lost + known
    of_rounds = list(marked.rounds(facts, rounds, 1 << 60))
    assert sum(len(found.start_ns) for found in of_rounds if found.name == marks.NAME_LOST) == lost
    assert {found.name for found in of_rounds} == {marks.NAME_LOST, *(f"round {number}" for number in range(lost, 3))}


def test_files_that_are_mapped_cannot_be_truncated_by_name(tmp_path: Path) -> None:
    """By their owner, who isn't root: who touches a page that is gone is ended."""
    Marks(str(tmp_path)).begin("r")
    Tail(str(tmp_path / "tail-0"), 1, 8)
    (tmp_path / "other").write_text("can be")
    (tmp_path / "other").chmod(0o600)
    tmp_path.chmod(0o777)
    become = ""
    if os.getuid() == 0:
        become = "os.setuid(65534); "
        for path in tmp_path.iterdir():
            os.chown(path, 65534, -1)
    for path in tmp_path.iterdir():
        attempt = f"import os; {become}os.truncate({path.name!r}, 0)"
        done = subprocess.run(
            [sys.executable, "-c", attempt], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        mapped = path.name.startswith(("marks-", "tail-"))
        assert ("PermissionError" in done.stderr) == mapped, done.stderr
        assert (path.stat().st_size > 0) == mapped
