"""Parts whose checksums are right and whose contents can't be: damage costs only itself, and is told."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.parts import PROCESS, SECOND, SENSOR, WATTS, rows, usual, written
from fuzz.values import WEIRD, changed, places

from perun_like.errors import FileError
from perun_like.model.check import self_check
from perun_like.model.recording import Recording
from perun_like.monitoring.results import result_of
from perun_like.sampling import spool
from perun_like.sampling.spool import NOTE, ROWS, STREAM
from perun_like.store.assembly import assemble


def test_the_usual_one_is_good(tmp_path: Path) -> None:
    tree = result_of(assemble(written(tmp_path / "x.parts", usual())))
    assert self_check(tree) == []
    energy = tree.metrics["energy_j"]
    assert energy.value == pytest.approx(WATTS * 7, rel=0.01)
    assert [region.name for region in tree.nodes[0].nodes[0].regions] == ["solve"]


EVERYWHERE = [
    (i, place)
    for i, (_, content, *_) in enumerate(usual())
    if not isinstance(content, bytes)
    for place in places(content)
]


@pytest.mark.parametrize(("number", "place"), EVERYWHERE, ids=str)
def test_any_value_of_any_type_anywhere(tmp_path: Path, number: int, place: tuple[Any, ...]) -> None:
    """A result that agrees with itself, or an error that names the part."""
    for at, value in enumerate(WEIRD):
        frames = usual()
        kind, content, stream, sequence = frames[number]
        frames[number] = (kind, changed(content, place, value), stream, sequence)
        parts = written(tmp_path / f"{at}.parts", frames)
        recording = assembled_or_refused(parts)
        if recording is not None:
            result_of(recording)
        else:
            assert number == 0, "what isn't the beginning costs only itself"


def assembled_or_refused(parts: str) -> Recording | None:
    with contextlib.suppress(FileError):
        return assemble(parts)
    with pytest.raises(FileError, match=r"node\.part"):
        assemble(parts)
    return None


DAMAGED = [
    (ROWS, rows()[:-7], "rapl"),
    (ROWS, b"\xff" * 320, "rapl"),
    (STREAM, b"[" * 100_000, "sampler"),
    (STREAM, {"backend": "rapl", "period_ns": 0, "sensors": [SENSOR]}, "sampler"),
    (STREAM, {"backend": "rapl", "period_ns": 10**8, "sensors": []}, "sampler"),
    (STREAM, {"backend": "rapl", "period_ns": 10**8, "sensors": [{**SENSOR, "scale": -1e-6}]}, "sampler"),
    (NOTE, b"\xff", "sampler"),
    (NOTE, {"process": {**PROCESS, "stop_ns": 0}}, "sampler"),
]


@pytest.mark.parametrize(("kind", "content", "backend"), DAMAGED, ids=range(len(DAMAGED)))
def test_damage_is_told_as_missing(tmp_path: Path, kind: int, content: Any, backend: str) -> None:
    frames = usual()
    number = next(i for i, frame in enumerate(frames) if frame[0] == kind)
    frames[number] = (kind, content, *frames[number][2:])
    recording = assemble(written(tmp_path / "x.parts", frames))
    told = [missing for missing in recording.hosts[0].missing if "node.part is damaged" in missing.reason]
    assert [missing.backend for missing in told] == [backend]


def test_a_total_lacks_what_a_damaged_stream_would_have_had(tmp_path: Path) -> None:
    frames = [(k, b"{" if k == STREAM else c, *rest) for k, c, *rest in usual()]
    energy = result_of(assemble(written(tmp_path / "x.parts", frames))).metrics["energy_j"]
    assert energy.value is None
    assert energy.reason


def test_frames_that_were_written_twice_count_once(tmp_path: Path) -> None:
    frames = usual()
    frames[5:5] = [frames[4], frames[4], frames[1]]
    twice = assemble(written(tmp_path / "x.parts", frames))
    once = assemble(written(tmp_path / "y.parts", usual()))
    assert len(twice.hosts[0].streams) == 1
    np.testing.assert_array_equal(twice.hosts[0].streams[0].raw, once.hosts[0].streams[0].raw)
    assert twice.hosts[0].missing == once.hosts[0].missing


def test_a_sweep_that_was_before_the_one_before_it_is_left_out(tmp_path: Path) -> None:
    table = np.frombuffer(rows(), "<i8").reshape(-1, 4).copy()
    table[50, 0] = table[20, 0]
    table[60, 1] = -(1 << 62)
    frames = [(k, table.tobytes() if k == ROWS else c, *rest) for k, c, *rest in usual()]
    stream = assemble(written(tmp_path / "x.parts", frames)).hosts[0].streams[0]
    np.testing.assert_array_equal(stream.t0_ns, np.delete(table[:, 0], [50, 60]))


@pytest.mark.parametrize("run_id", ["../../escaped", "/tmp/escaped", "..", "a/b", "nul\0"])
def test_an_id_that_leads_elsewhere_is_refused(tmp_path: Path, run_id: str) -> None:
    frames = usual()
    frames[0][1]["run"]["run_id"] = run_id
    with pytest.raises(FileError, match=r"node\.part"):
        assemble(written(tmp_path / "x.parts", frames))


def test_many_streams_cost_no_more_than_what_is_there(tmp_path: Path) -> None:
    """Each of them once, and of one number only the first: a thousand times a thousand would take minutes."""
    header, stream, *rest = usual()
    many = [(STREAM, stream[1], number % 3000, 0) for number in range(6000)]
    numbered = [(ROWS, rows()[:64], number, sequence) for number in range(3000) for sequence in (1, 2)]
    recording = assemble(written(tmp_path / "x.parts", [header, *many, *numbered, *rest]))
    assert len(recording.hosts[0].streams) == 3000


def test_a_number_of_ranks_that_nobody_has_is_refused(tmp_path: Path) -> None:
    frames = usual()
    frames[0][1]["run"]["size"] = 1 << 31
    with pytest.raises(FileError, match="size"):
        assemble(written(tmp_path / "x.parts", frames))


def test_a_directory_that_a_part_names_is_read_only_if_it_is_ours(tmp_path: Path) -> None:
    tail = spool.Tail(str(tmp_path / "tail-0"), 1, 4)
    tail.append(120 * SECOND, 121 * SECOND, [5])
    frames = usual()[:-1]
    frames[0][1]["local"] = frames[0][1]["marks"] = str(tmp_path)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "note").write_text(json.dumps({"process": {**PROCESS, "pid": 99}}))
    recording = assemble(written(tmp_path / "x.parts", frames))
    assert [process.pid for process in recording.processes] == [77]
    assert recording.hosts[0].streams[0].t0_ns[-1] < 110 * SECOND
    assert os.path.exists(tmp_path / "0" / "note")
