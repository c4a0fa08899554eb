"""What the application's processes write down survives a lack of room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perun_like.sampling import marks
from perun_like.sampling.collecting import collect
from perun_like.sampling.marks import Marks
from perun_like.sampling.spool import Tail


def test_a_name_that_found_no_room_costs_no_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Marks(str(tmp_path))
    assert written.begin("before") is not None
    real = os.write

    def write_little(fd: int, data: bytes) -> int:
        return real(fd, data[:4])

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_little)
        assert written.begin("no room") is None
    assert written.begin("after") is not None
    [(facts, rows, _)] = collect(str(tmp_path), 0)
    regions = memoryview(rows).cast("q")[:: marks.ROW_WORDS]
    assert [facts["names"][number >> 1] for number in regions] == ["before", "after"]


def test_damaged_names_cost_only_themselves(tmp_path: Path) -> None:
    Marks(str(tmp_path)).begin("good")
    (names,) = tmp_path.glob("names-*")
    with names.open("ab") as file:
        file.write(b'"torn\n17\n{"lost": 3}\n')
    [(facts, *_)] = collect(str(tmp_path), 0)
    assert facts["names"] == ["good", "", "", ""]
    assert facts["lost"] == {"lost": 3}


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
