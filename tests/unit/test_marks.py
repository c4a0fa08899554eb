"""What the application's processes write down survives a lack of room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perun_like.sampling import marks
from perun_like.sampling.collecting import collect
from perun_like.sampling.marks import Marks


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
