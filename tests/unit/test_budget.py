"""A part within its budget: rewritten by another process, replaced, and whole whoever is killed at whatever moment."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perun_like.monitoring.results import result_of
from perun_like.sampling import budget
from perun_like.sampling.budget import Budget
from perun_like.sampling.coarser import rewrite
from perun_like.sampling.local import is_of_part, make_local_directory, remove_directory
from perun_like.sampling.marks import Marks
from perun_like.sampling.sampler import Sampler
from perun_like.sampling.spool import FOOTER, NOTE, ROWS, Part
from perun_like.sampling.spool_reader import frames, json_of
from perun_like.sensing.contract import COUNTER, Context, Found, Sensor
from perun_like.store.assembly import assemble
from perun_like.testing import SquareWave, Sum, Zone
from perun_like.testing.long_runs import long_machine, long_part

MS, S = 10**6, 10**9
ZONE = Zone("intel-rapl:0", "package-0", Sum([SquareWave(20, 190, 7 * MS), SquareWave(0, 60, 130 * MS)]), tick_ns=MS)
PATIENCE_S = 30
NOW_NS = time.monotonic_ns()


class Counting:
    """A counter of varying power that needs no file."""

    name = "counting"
    min_period_ns = MS

    def find(self, context: Context) -> Found:
        modulus = (ZONE.max_energy_range_uj * 1000 + ZONE.unit_nj) // 1000
        known: dict[str, Any] = {"scale": 1e-6, "modulus": modulus, "resolution": 62, "tick_ns": MS, "ceiling": 500.0}
        domain: dict[str, Any] = {"domain": "package", "identity": "package-0"}
        return Found([Sensor("counting:a", "counting", "cpu", "energy", COUNTER, "J", **known, **domain)])

    def open(self, sensors: object, context: Context) -> Counting:
        return self

    def read(self) -> list[int | None]:
        return [ZONE.counter_uj(time.monotonic_ns() - NOW_NS)]

    def close(self) -> None: ...


@pytest.fixture
def local() -> Iterator[str]:
    path = make_local_directory(os.urandom(8).hex())
    yield path
    remove_directory(path)


@pytest.fixture
def sampler(tmp_path: Path, local: str) -> Sampler:
    (tmp_path / "run.parts").mkdir()
    order: dict[str, Any] = {
        "backends": {"counting": f"{__name__}:Counting"},
        "assigned": {},
        "period_ns": MS,
        "spool_budget_b": 40_000,
        "part": str(tmp_path / "run.parts" / "host.part"),
        "local": local,
        "run_token": "",
        "context": {},
        "run": {"name": "long", "run_id": "run", "size": 1, "metadata": {}},
    }
    made = Sampler(order)
    made.prepare()
    made.start()
    return made


def replaced(path: str, sampler: Sampler) -> int:
    """Move samples until the part is another file; the largest size it had."""
    largest, before, deadline = 0, os.stat(path).st_ino, time.monotonic() + PATIENCE_S
    while os.stat(path).st_ino == before:
        assert time.monotonic() < deadline
        sampler.move()
        largest = max(largest, os.stat(path).st_size)
        sampler.keep_within_budget()
        time.sleep(0.01)  # for rows to move, and not to keep a CPU from the process that rewrites
    return largest


def test_a_sampler_keeps_its_part_within_the_budget_and_the_figures_true(
    sampler: Sampler, tmp_path: Path, local: str
) -> None:
    path = str(tmp_path / "run.parts" / "host.part")
    start_ns = time.monotonic_ns()
    sampler.watch({"rank": 0, "pid": 1, "start_ns": start_ns})
    marks = Marks(os.path.join(local, "0"))
    row = marks.begin("region")
    for _ in range(3):
        replaced(path, sampler)
    assert row is not None
    stop_ns = row[0].words[row[1]] = time.monotonic_ns()
    for _ in range(3):
        largest_b = replaced(path, sampler)
        assert os.stat(path).st_size < largest_b - 5_000  # of the 20,000 that are won some are written again meanwhile
    assert is_of_part(local, path)  # so that a kill doesn't cost what hasn't been moved there yet
    sampler.watch({"rank": 0, "pid": 1, "start_ns": start_ns, "stop_ns": time.monotonic_ns(), "exit_code": 0})
    sampler.stop(time.monotonic_ns())
    sampler.close(None)
    recording = assemble(os.path.dirname(path))
    (stream,) = recording.hosts[0].streams
    assert stream.apart_ns >= 32 * MS
    run = result_of(recording).nodes[0].nodes[0]
    windows = (recording.window_ns, (row[0].words[row[1] - 1], stop_ns))
    metrics = (run.metrics["energy_j"], run.regions[0].metrics["energy_j"])
    for metric, (a_ns, b_ns) in zip(metrics, windows, strict=True):
        truth_j = ZONE.power.energy_j(a_ns - NOW_NS, b_ns - NOW_NS)
        assert metric.missing == ()
        assert metric.upper is not None
        assert metric.lower is not None
        assert metric.lower < truth_j < metric.upper
        assert metric.upper - metric.lower < 5  # what a few milliseconds at both ends may have been
    assert os.listdir(os.path.dirname(path)) == ["host.part"]


@pytest.fixture
def long(tmp_path: Path) -> str:
    """A part of an hour at 10 Hz, 2.6 MB."""
    clocks = [{"monotonic_ns": S, "realtime_ns": 10**18, "boottime_ns": S}] * 2
    path = str(tmp_path / "node01.part")
    long_part(path, long_machine(), (10**15, 10**15 + 3600 * S), 100 * MS, clocks)
    return path


def sequences(path: str) -> list[int]:
    return [frame.sequence for frame in frames(path) if frame.kind == ROWS]


def test_what_is_rewritten_has_all_frames_and_says_how_coarse_it_is(long: str) -> None:
    other, whole = long + ".other", os.stat(long).st_size
    for goal_b in (whole // 2, whole // 10, 1):
        rewrite(long, other, whole, goal_b)
        assert os.stat(other).st_size <= goal_b or goal_b == 1
        assert sequences(other) == sequences(long)
        assert [frame for frame in frames(other) if frame.kind == FOOTER] == list(frames(long))[-1:]
        (apart_ns,) = [json_of(f)["apart_ns"] for f in frames(other) if f.kind == NOTE and "apart_ns" in json_of(f)]
        assert apart_ns >= 200 * MS
        os.unlink(other)


def test_however_little_room_there_is_the_total_stays(long: str, tmp_path: Path) -> None:
    (tmp_path / "run.parts").mkdir()
    other = str(tmp_path / "run.parts" / "node01.part")
    rewrite(long, other, os.stat(long).st_size, 1)
    rewrite(other, other + ".coarser", os.stat(other).st_size, 1)
    os.rename(other + ".coarser", other)
    machine, window_ns = long_machine(), (10**15, 10**15 + 3600 * S)
    truth_j = sum(machine.truth_j(zone.path, *window_ns) for zone in machine.zones if zone.name != "core")
    energy = result_of(assemble(os.path.dirname(other))).metrics["energy_j"]
    assert energy.lower is not None
    assert energy.upper is not None
    assert energy.lower < truth_j < energy.upper < energy.lower + 200  # W, for a few tenths of a second


def test_each_time_is_coarser_than_the_last(long: str) -> None:
    sizes = [os.stat(long).st_size]
    for number in range(9):
        rewrite(f"{long}{number or ''}", f"{long}{number + 1}", sizes[-1], sizes[-1])
        sizes.append(os.stat(f"{long}{number + 1}").st_size)
    assert all(after < 0.75 * before for before, after in pairwise(sizes[:7]))
    assert sizes[7] == sizes[8] == sizes[9]  # a row every ten seconds


def test_what_was_added_meanwhile_is_not_lost(long: str) -> None:
    part, size = Part(long, again=True), os.stat(long).st_size
    rewrite(long, long + ".coarser", size, size // 4)
    part.write(ROWS, b"late" * 500_000, sequence=999_999)
    part.become(long + ".coarser", size)
    part.write(ROWS, b"later", sequence=1_000_000)
    part.close()
    assert [(f.sequence, len(f.payload)) for f in list(frames(long))[-2:]] == [(999_999, 2_000_000), (1_000_000, 5)]


BECOMES_WITHIN_A_LIMIT = """
import os, resource, sys
from perun_like.sampling.spool import Part
part, beside, since_b = Part(sys.argv[1], again=True), sys.argv[1] + ".coarser", int(sys.argv[2])
left_b = 10_000  # of room: less than what has been added meanwhile
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (os.stat(beside).st_size + left_b,))
try:
    part.become(beside, since_b)
except OSError as error:
    print(error.strerror)
"""


def test_a_part_is_not_replaced_by_what_had_no_room(long: str) -> None:
    part, size = Part(long, again=True), os.stat(long).st_size
    rewrite(long, long + ".coarser", size, size // 4)
    part.write(ROWS, b"late" * 5_000, sequence=999_999)
    part.close()
    whole = Path(long).read_bytes()
    command = [sys.executable, "-c", BECOMES_WITHIN_A_LIMIT, long, str(size)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Path(long).read_bytes() == whole
    assert said == "File too large\n"


REWRITES = """
import os, sys
from perun_like.sampling.coarser import rewrite
from perun_like.sampling.spool import ROWS, Part
part, number = Part(sys.argv[1], again=True), 10**6
while True:
    size = part.size_b
    rewrite(part.path, part.path + ".coarser", size, size // 2)
    number += 1
    part.write(ROWS, b"x" * 100_000, stream=5, sequence=number)
    part.become(part.path + ".coarser", size)
    print(number, flush=True)
"""


def test_killed_at_any_moment_one_whole_part_is_left(long: str) -> None:
    random, expected = Random(1), sequences(long)
    for _ in range(12):
        beside = Path(long + ".coarser")
        beside.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", REWRITES, long], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = process.stdout.readline()
        time.sleep(random.uniform(0, 0.1))  # so that the kill comes at any moment of a rewriting
        process.kill()
        last = int((said + process.communicate()[0]).split()[-1])
        found = sequences(long)
        assert found[: len(expected)] == expected
        assert last in found
        expected = found


def test_a_killed_sampler_s_rewriting_ends_and_leaves_nothing(long: str) -> None:
    program = (
        "import sys\nfrom perun_like.sampling.budget import Budget\nfrom perun_like.sampling.spool import Part\n"
        "budget = Budget(Part(sys.argv[1], again=True), 1)\nbudget.look()\n"
        "print(budget._pid, flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", program, long]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    end = os.pidfd_open(pid)
    os.kill(pid, signal.SIGSTOP)  # it is at work when the sampler dies
    process.kill()
    process.communicate()
    os.kill(pid, signal.SIGCONT)
    assert select.select([end], [], [], PATIENCE_S)[0]
    os.close(end)
    assert not os.path.exists(long + ".coarser")


def test_a_rewriting_that_fails_costs_nothing_and_is_tried_again_later(
    long: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(long, again=True)
    whole, size = list(frames(long)), part.size_b
    monkeypatch.setattr(budget, "_BOOT", "raise SystemExit(1)")
    kept = Budget(part, size // 2)
    kept.look()
    wait_for(kept)
    assert list(frames(long)) == whole
    monkeypatch.undo()
    kept.look()
    assert kept._pid == 0
    part.write(ROWS, bytes(size), sequence=10**6)
    kept.look()
    wait_for(kept)
    assert part.size_b < 1.5 * size
    assert sorted(os.listdir(os.path.dirname(long))) == ["node01.part"]
    part.close()


def wait_for(kept: Budget) -> None:
    os.waitid(os.P_PID, kept._pid, os.WEXITED | os.WNOWAIT)
    kept.look()
    assert kept._pid == 0


def test_a_rewriting_is_given_up_when_the_run_ends(long: str) -> None:
    part = Part(long, again=True)
    kept = Budget(part, 1)
    kept.look()
    pid = kept._pid
    assert pid
    kept.abandon()
    assert not os.path.exists(f"/proc/{pid}")
    assert os.listdir(os.path.dirname(long)) == ["node01.part"]


@pytest.mark.parametrize("moment", [Budget.look, Budget.abandon])
def test_a_rewriting_that_somebody_else_has_waited_for_is_given_up(long: str, moment: Callable[[Budget], None]) -> None:
    part = Part(long, again=True)
    whole = Path(long).read_bytes()
    kept = Budget(part, part.size_b - 1)
    kept.look()
    os.waitpid(kept._pid, 0)
    moment(kept)
    assert kept._pid == 0
    assert Path(long).read_bytes() == whole
    assert os.listdir(os.path.dirname(long)) == ["node01.part"]


REWRITES_ONCE = """
import os, sys
from perun_like.sampling.budget import Budget
from perun_like.sampling.host import detach
from perun_like.sampling.spool import Part
detach()
part = Part(sys.argv[1], again=True)
budget = Budget(part, part.size_b // 2)
budget.look()
os.waitid(os.P_PID, budget._pid, os.WEXITED | os.WNOWAIT)
budget.look()
"""


def test_a_sampler_started_where_ended_children_are_ignored_knows_how_its_own_end(long: str) -> None:
    size = os.stat(long).st_size
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # survives exec
    try:
        process = subprocess.Popen([sys.executable, "-c", REWRITES_ONCE, long])
    finally:
        signal.signal(signal.SIGCHLD, ignored)
    assert process.wait() == 0
    assert os.stat(long).st_size < size


@pytest.mark.skipif(not os.path.exists("/proc/self/autogroup"), reason="this kernel doesn't share CPUs among sessions")
def test_a_rewriting_gives_way_to_everybody_but_the_sampler_to_nobody(long: str) -> None:
    before = Path("/proc/self/autogroup").read_text()
    part = Part(long, again=True)
    kept = Budget(part, 1)
    kept.look()
    own, deadline = Path(f"/proc/{kept._pid}/autogroup"), time.monotonic() + PATIENCE_S
    try:
        while not own.read_text().endswith(" nice 19\n"):
            assert time.monotonic() < deadline
            assert os.waitid(os.P_PID, kept._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
    finally:
        kept.abandon()
    part.close()
    assert Path("/proc/self/autogroup").read_text() == before
