"""Parts of runs: a good one, and ones made to harm."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from perun_like.sampling import spool
from perun_like.sampling.spool import FOOTER, HEADER, MARKS, NOTE, ROUNDS, ROWS, STREAM

from .values import harmed, hostile_json

FrameOf = tuple[int, Any, int, int]  # kind, content, stream, sequence

SECOND = 10**9
WATTS = 10
CLOCKS = {"monotonic_ns": 100 * SECOND, "realtime_ns": 1_790_000_000 * SECOND, "boottime_ns": 100 * SECOND}
SENSOR = {
    "id": "rapl:package-0", "backend": "rapl", "group": "cpu", "quantity": "energy", "kind": "counter", "unit": "J",
    "scale": 1e-6, "modulus": 262_143_328_850, "domain": "package", "identity": "package-0", "ceiling": 1e3,
}  # fmt: skip
GAUGE = {**SENSOR, "id": "nvml:gpu-0", "kind": "gauge", "unit": "W", "scale": 1e-3, "modulus": None, "domain": "gpu"}
PROCESS = {
    "rank": 0, "pid": 77, "start_ns": 101 * SECOND, "stop_ns": 108 * SECOND, "exit_code": 0, "signal": None,
    "cpu_s": 3.5, "max_rss_b": 10**7, "max_rss_floor_b": 0, "round": 0,
}  # fmt: skip
MARKED = {"pid": 77, "rank": 0, "names": ["solve"], "lost": {}, "lost_rounds": {}}
RUN = {"name": "heat", "run_id": "first", "size": 1, "metadata": {"settings": {"pue": 1.0}, "period_ns": 10**8}}
HOST = {"hostname": "node", "boot_id": "boot-1", "logical_cpus": 4, "memory_b": 1 << 34}


def rows(sensors: int = 1) -> bytes:
    """Ten seconds of sweeps of counters that go up by ten joules a second."""
    t0_ns = np.arange(100 * SECOND, 110 * SECOND, SECOND // 10)
    raw = (t0_ns - t0_ns[0]) // 1000 * WATTS
    valid = np.full_like(t0_ns, (1 << sensors) - 1)
    return np.ascontiguousarray(np.vstack([t0_ns, t0_ns + 1000, valid, *[raw] * sensors]).T, "<i8").tobytes()


def calls() -> bytes:
    """A call of two seconds."""
    return np.array([[0, 5, 102 * SECOND, 104 * SECOND]], "<i8").tobytes()


def usual() -> list[FrameOf]:
    """Frames of a good part."""
    header = {"run": RUN, "local": "", "marks": None, "rank": 0, "host": HOST, "clocks": CLOCKS}
    footer = {"stats": {"cpu_s": 0.1, "missed_ticks": 0, "failures": {}}, "clocks": CLOCKS, "cut": None, "ranks": [0]}
    missing = {"backend": "nvml", "what": "GPUs", "reason": "no driver", "domains": ["gpu"]}
    frames = [
        (HEADER, header, 0, 0),
        (STREAM, {"backend": "rapl", "period_ns": 10**8, "sensors": [SENSOR]}, 0, 0),
        (NOTE, {"missing": [missing]}, 0, 0),
        (NOTE, {"process": PROCESS}, 0, 0),
        (ROWS, rows(), 0, 1),
        (NOTE, {"marks": MARKED, "number": 0}, 0, 0),
        (MARKS, calls(), 0, 0),
        (ROUNDS, b"", 0, 0),
        (FOOTER, footer, 0, 0),
    ]
    return copy.deepcopy(frames)


def measured_in_place() -> list[FrameOf]:
    """Frames of a good part of rounds, with two backends, and without an end."""
    header, stream, missing, _, sweeps, *_ = usual()
    gpu = {"backend": "nvml", "period_ns": 10**8, "sensors": [GAUGE, SENSOR]}
    process = {"rank": 0, "pid": 77, "start_ns": 101 * SECOND, "in_place": True}
    words = [[0, 0, 102 * SECOND, 103 * SECOND, 10, 500, 900, 901], [0, 1, 104 * SECOND, 0, 600, 0, 902, 0]]
    return [
        header,
        stream,
        missing,
        sweeps,
        (STREAM, gpu, 1, 0),
        (ROWS, rows(2), 1, 1),
        (NOTE, {"process": process}, 0, 0),
        (NOTE, {"clocks": {**CLOCKS, "boottime_ns": 200 * SECOND}}, 0, 0),
        (NOTE, {"function": "solve", "place": "heat.py:3 solve"}, 0, 0),
        (NOTE, {"marks": MARKED, "number": 3}, 0, 0),
        (MARKS, calls(), 0, 3),
        (ROUNDS, np.array(words, "<i8").tobytes(), 0, 3),
    ]


def written(directory: Path, frames: list[FrameOf], name: str = "node.part") -> str:
    """A directory with a part of these frames."""
    directory.mkdir(exist_ok=True)
    part = spool.Part(str(directory / name))
    for kind, content, stream, sequence in frames:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        part.write(kind, payload, stream, sequence)
    part.close()
    return str(directory)


@st.composite
def hostile_frames(draw: st.DrawFn) -> list[FrameOf]:
    """Frames whose checksums will be right: other contents, numbers and order."""
    frames = draw(st.sampled_from([usual, measured_in_place]))()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(frames) - 1))
        frames[number] = draw(_other_frame(frames[number]))
    if draw(st.booleans()):
        frames = [frames[0], *draw(st.lists(st.sampled_from(frames), min_size=1, max_size=20))]
    return frames


@st.composite
def _other_frame(draw: st.DrawFn, frame: FrameOf) -> FrameOf:
    kind, content, stream, sequence = frame
    how = draw(st.sampled_from(["content", "content", "content", "kind", "stream", "sequence", "noise"]))
    if how == "content":
        content = _other_rows(draw, content) if isinstance(content, bytes) else hostile_json(draw, content)
    elif how == "kind":
        kind = draw(st.integers(0, 9))
    elif how == "stream":
        stream = draw(st.sampled_from([1, 2, 1 << 31, (1 << 32) - 1]))
    elif how == "sequence":
        sequence = draw(st.sampled_from([0, 2, 1 << 63, (1 << 64) - 1]))
    else:
        content = draw(st.binary(max_size=400))
    return kind, content, stream, sequence


def _other_rows(draw: st.DrawFn, content: bytes) -> bytes:
    """Rows with a few other words: any, or ones near the edges of what fits."""
    words = np.frombuffer(content[: len(content) // 8 * 8], "<i8").copy()
    edges = st.sampled_from([-(1 << 63), -1, 0, 1, 1 << 52, (1 << 60) - 1, 1 << 62, (1 << 63) - 1])
    for _ in range(draw(st.integers(1, 6)) if len(words) else 0):
        words[draw(st.integers(0, len(words) - 1))] = draw(edges | st.integers(-(1 << 63), (1 << 63) - 1))
    return words.tobytes() + draw(st.binary(max_size=9))


@st.composite
def part_files(draw: st.DrawFn, directory: Path) -> bytes:
    """The bytes of a part: noise, a good one that came to harm, or a hostile one."""
    how = draw(st.sampled_from(["noise", "harmed", "harmed", "hostile", "hostile", "both"]))
    if how == "noise":
        return draw(st.sampled_from([b"", b"PRF1"])) + draw(st.binary(max_size=600))
    frames = (
        draw(hostile_frames()) if how in ("hostile", "both") else draw(st.sampled_from([usual, measured_in_place]))()
    )
    path = directory / "made.part"
    path.unlink(missing_ok=True)
    written(directory, frames, path.name)
    content = path.read_bytes()
    path.unlink()
    return content if how == "hostile" else harmed(draw, content)
