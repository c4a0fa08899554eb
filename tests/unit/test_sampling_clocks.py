"""What a sampler notes of its host's clocks, and that a kill doesn't take it back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perun_like.monitoring.results import result_of
from perun_like.sampling import completing
from perun_like.sampling.host import clock_error_ns
from perun_like.sampling.keeping import Clocks
from perun_like.sampling.spool import NOTE, Part
from perun_like.sampling.spool_reader import frames
from perun_like.store.assembly import assemble

S = 10**9
# A machine that counts as if it had been suspended for 40 s, and its real time set back by 3 s, while it was sampled.
SAMPLER = """
import json, os, sys, time
from perun_like.sampling.sampler import Sampler
stepped = False
def clocks():
    now_ns = time.monotonic_ns()
    return {
        "monotonic_ns": now_ns,
        "boottime_ns": now_ns + 7 * 10**9 + (40 * 10**9 if stepped else 0),
        "realtime_ns": now_ns + 10**18 + (37 * 10**9 if stepped else 0),
    }
sampler = Sampler(json.loads(sys.argv[1]), clocks)
sampler.prepare()
sampler.start()
start_ns = time.monotonic_ns()
sampler.watch({"rank": 0, "pid": os.getpid(), "start_ns": start_ns})
sampler.sync(start_ns)
sampler.move()
stepped = True
{"move": sampler.move, "look": sampler.look, "sync": lambda: sampler.sync(start_ns)}[sys.argv[2]]()
print(start_ns, flush=True)
sys.stdin.read()
"""


def readings(*shifts: tuple[int, int]) -> Any:
    """Clocks that are read a second apart: by how much boot time and real time are off in addition."""
    return iter([
        {"monotonic_ns": n * S, "boottime_ns": n * S + boot, "realtime_ns": 10**18 + n * S + real}
        for n, (boot, real) in enumerate(shifts)
    ]).__next__  # fmt: skip


def noted(path: str) -> list[int]:
    found = [json.loads(frame.payload) for frame in frames(path) if frame.kind == NOTE]
    return [note["clocks"]["monotonic_ns"] // S for note in found]


def test_clocks_are_noted_when_one_leaves_the_others_behind(tmp_path: Path) -> None:
    part = Part(str(tmp_path / "part"))
    kept = Clocks(part, readings((0, 0), (0, 10**6), (5 * S, 5 * S), (5 * S, 5 * S), (5 * S, 4 * S), (5 * S, 4 * S)))
    for _ in range(5):
        kept.keep()
    assert noted(part.path) == [2, 4]


def test_slow_drift_is_noted_once_it_amounts_to_something(tmp_path: Path) -> None:
    part = Part(str(tmp_path / "part"))
    kept = Clocks(part, readings(*((0, n * 10**7) for n in range(20))))
    for _ in range(19):
        kept.keep()
    assert noted(part.path) == [6, 12, 18]


def test_how_far_real_time_may_be_off_is_kept_where_it_is_asked(tmp_path: Path) -> None:
    part = Part(str(tmp_path / "part"))
    errors = iter([250_000, None])
    kept = Clocks(part, readings((0, 0), (0, 0), (0, 0), (0, 0)), errors.__next__)
    kept.keep_error()
    (frame,) = frames(part.path)
    assert json.loads(frame.payload)["clocks"]["error_ns"] == 250_000
    assert "error_ns" not in kept.end()
    assert kept.end(error=True)["error_ns"] is None


@pytest.mark.skipif(
    shutil.which("perl") is None or os.uname().machine != "x86_64",
    reason="another program must ask the kernel: Perl does",
)
def test_the_kernel_is_asked_as_others_ask_it() -> None:
    """System call 159; the fourth word is the largest error in us, and state 5 says that nobody keeps the clock."""
    asks = 'my $b = "\\0" x 512; my $s = syscall(159, $b); print "$s ", (unpack("q8", $b))[3]'
    ended = subprocess.run(["perl", "-e", asks], capture_output=True, text=True, check=True)
    state, largest_us = map(int, ended.stdout.split())
    found = clock_error_ns()
    if state == 5:
        assert found is None
    else:
        assert found == pytest.approx(1000 * largest_us, abs=10_000_000)  # it grows by 0.5 ms a second


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in {"name": "package-0", "max_energy_range_uj": "262143328850", "energy_uj": "5000000"}.items():
        (zone / name).write_text(f"{text}\n")
    (tmp_path / "run.parts").mkdir()
    return {
        "backends": {"rapl": "perun_like_sensors.rapl:RaplBackend"},
        "assigned": {},
        "period_ns": 10_000_000,
        "part": str(tmp_path / "run.parts" / "host.part"),
        "local": str(tmp_path),
        "marks": None,
        "run_token": "",
        "context": {"powercap_root": str(tmp_path / "powercap")},
        "run": {"name": "slept", "run_id": "run", "size": 1, "metadata": {}},
    }


@pytest.mark.parametrize("did", ["move", "look", "sync"])
@pytest.mark.parametrize("completed", [False, True], ids=["as it is left", "completed by another process"])
def test_a_sampler_killed_after_its_machine_had_slept(
    tmp_path: Path, order: dict[str, Any], completed: bool, did: str
) -> None:
    command = [sys.executable, "-c", SAMPLER, json.dumps(order), did]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    start_ns = int(process.stdout.readline())
    process.kill()
    process.communicate()
    if completed:
        completing.complete(order["part"], str(tmp_path), None)
    recording = assemble(os.path.dirname(order["part"]))
    assert recording.started_unix_ns == start_ns + 10**18  # what the clock showed then
    assert recording.hosts[0].cut == completing.KILLED
    energy = result_of(recording).nodes[0].metrics["energy_j"]
    assert energy.missing == ("time asleep",)
    assert "suspended for 40 s" in str(energy.reason)
    assert energy.upper is None
