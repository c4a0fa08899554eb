"""Regions marked by a real program, seen in the recording of its run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import PERUN, Run

import perun_like
from perun_like.model.node import NodeType
from perun_like.model.recording import Recording, RegionCalls
from perun_like.store.reader import read_recording

Recorded = Callable[[str], tuple[Recording, str]]


@pytest.fixture
def recorded(perun: Run, script: Callable[[str], str], tmp_path: Path) -> Recorded:
    """Profile a script; returns its recording and what it printed."""

    def run(source: str) -> tuple[Recording, str]:
        ended = perun("profile", "--no-report", script(source))
        assert ended.returncode == 0, ended.stderr
        (path,) = tmp_path.glob("perun_results/script/*.h5")
        return read_recording(str(path)), ended.stdout

    return run


def calls(recording: Recording, name: str) -> list[RegionCalls]:
    return [c for c in recording.hosts[0].regions if name in c.names]


def intervals(recording: Recording, name: str) -> list[tuple[int, int]]:
    """Start and stop of each row of a region, in order of entry."""
    rows = []
    for c in calls(recording, name):
        mine = c.region == c.names.index(name)
        rows += list(zip(c.start_ns[mine].tolist(), c.stop_ns[mine].tolist(), strict=True))
    return sorted(rows)


def test_marks_carry_the_program_s_own_times(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import time\nfrom perun_like import region\n"
        "for i in range(3):\n"
        "    a = time.monotonic_ns()\n"
        "    with region('r'):\n        b = time.monotonic_ns(); c = time.monotonic_ns()\n"
        "    print(a, b, c, time.monotonic_ns())\n"
    )
    clock = [[int(word) for word in line.split()] for line in printed.splitlines()]
    for (start, stop), (before, first, last, after) in zip(intervals(recording, "r"), clock, strict=True):
        assert before <= start <= first
        assert last <= stop <= after


def test_nested_recursive_and_raising_calls_are_paired(recorded: Recorded) -> None:
    recording, _ = recorded(
        "from perun_like import region\n"
        "@region\ndef down(n):\n    if n == 0: raise ValueError\n    down(n - 1)\n"
        "with region('outer'):\n"
        "    try: down(3)\n    except ValueError: pass\n"
        "    with region('inner'): pass\n"
    )
    outer, inner, down = (intervals(recording, name) for name in ("outer", "inner", "down"))
    assert len(down) == 4
    assert all(a[0] <= b[0] and b[1] <= a[1] for a, b in pairwise(down))
    assert outer[0][0] <= down[0][0] <= down[0][1] <= inner[0][0] <= inner[0][1] <= outer[0][1]


def test_threads_have_marks_of_their_own(recorded: Recorded) -> None:
    recording, _ = recorded(
        "import threading\nfrom perun_like import region\n"
        "gate = threading.Barrier(8)\n"
        "def work():\n    for _ in range(500):\n        with region('r'): pass\n    gate.wait()\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    (marks,) = calls(recording, "r")
    assert len(marks.region) == 4000
    assert np.unique(marks.thread, return_counts=True)[1].tolist() == [500] * 8
    assert (marks.stop_ns >= marks.start_ns).all()


def test_a_generator_counts_only_its_own_steps(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import time\nfrom perun_like import region\n"
        "@region('g')\ndef g():\n    got = yield 1\n    try: yield got\n    except KeyError: yield 'caught'\n"
        "    return 'end'\n"
        "it = g(); print(next(it), it.send('sent')); a = time.monotonic_ns()\n"
        "with region('consumer'): pass\n"
        "b = time.monotonic_ns(); print(it.throw(KeyError()))\n"
        "try: next(it)\nexcept StopIteration as stop: print(stop.value)\n"
        "print(a, b)\n"
    )
    *words, outside = printed.splitlines()
    assert words == ["1 sent", "caught", "end"]
    a, b = map(int, outside.split())
    steps = intervals(recording, "g")
    assert all(stop <= a or start >= b for start, stop in steps)
    (marks,) = calls(recording, "g")
    assert np.count_nonzero(~marks.resumed & (marks.region == marks.names.index("g"))) == 1


def test_coroutines_and_async_generators_work_as_before(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import asyncio, inspect\nfrom perun_like import region\n"
        "@region\nasync def one(): await asyncio.sleep(0.001); return 1\n"
        "@region\nasync def many():\n    for i in range(3): yield i\n"
        "async def main():\n    print(await asyncio.gather(*(one() for _ in range(5))))\n"
        "    print([i async for i in many()])\n"
        "print(inspect.iscoroutinefunction(one), inspect.isasyncgenfunction(many), one.__name__)\n"
        "asyncio.run(main())\n"
    )
    assert printed.splitlines() == ["True True one", "[1, 1, 1, 1, 1]", "[0, 1, 2]"]
    assert len(intervals(recording, "one")) == 5
    (marks,) = calls(recording, "many")
    assert np.count_nonzero(~marks.resumed & (marks.region == marks.names.index("many"))) == 1


INTERLEAVED = {
    "tasks": (
        "import asyncio\n"
        "async def call(number):\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); await asyncio.sleep(0.01 * (3 - number)); last = now()\n"
        "    print(before, first, last, now())\n"
        "async def main(): await asyncio.gather(*map(call, range(3)))\n"
        "asyncio.run(main())\n"
    ),
    "tasks that end in the order in which they began": (
        "import asyncio\n"
        "async def call(number):\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); await asyncio.sleep(0.01 * (1 + number)); last = now()\n"
        "    print(before, first, last, now())\n"
        "async def main(): await asyncio.gather(*map(call, range(3)))\n"
        "asyncio.run(main())\n"
    ),
    "generators": (
        "def call():\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); yield; last = now()\n"
        "    print(before, first, last, now())\n"
        "several = [call() for _ in range(3)]\n"
        "[next(one) for one in several]; [next(one, None) for one in several]\n"
    ),
    "recursion": (
        "def call(depth):\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); depth and call(depth - 1); last = now()\n"
        "    print(before, first, last, now())\n"
        "call(2)\n"
    ),
    "a signal handler": (
        "import signal\n"
        "def call(*_):\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); signal.raise_signal(signal.SIGUSR1); last = now()\n"
        "    print(before, first, last, now())\n"
        "def handler(*_):\n"
        "    signal.signal(signal.SIGUSR1, signal.SIG_IGN); call()\n"
        "signal.signal(signal.SIGUSR1, handler); call()\n"
    ),
    "threads": (
        "import threading\n"
        "gates = [threading.Barrier(3) for _ in range(2)]\n"
        "def call():\n"
        "    before = now()\n"
        "    with region('r'):\n"
        "        first = now(); [gate.wait() for gate in gates]; last = now()\n"
        "    line = f'{before} {first} {last} {now()}'; lines.append(line)\n"
        "lines = []; threads = [threading.Thread(target=call) for _ in range(3)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print(*lines, sep='\\n')\n"
    ),
}


@pytest.mark.parametrize("source", INTERLEAVED.values(), ids=INTERLEAVED)
def test_calls_of_one_name_that_overlap_each_have_their_own_end(recorded: Recorded, source: str) -> None:
    recording, printed = recorded(f"from time import monotonic_ns as now\nfrom perun_like import region\n{source}")
    clock = sorted([int(word) for word in line.split()] for line in printed.splitlines())
    for (start, stop), (before, first, last, after) in zip(intervals(recording, "r"), clock, strict=True):
        assert before <= start <= first
        assert last <= stop <= after


def test_more_names_than_objects_are_kept_for(recorded: Recorded) -> None:
    recording, _ = recorded(
        "from perun_like import region\n"
        "for _ in range(2):\n"
        "    for number in range(3000):\n        with region(f'r {number}'): pass\n"
    )
    (marks,) = recording.hosts[0].regions
    assert np.bincount(marks.region).tolist() == [2] * 3000
    assert list(marks.names) == [f"r {number}" for number in range(3000)]


def test_a_forked_child_within_a_region_has_its_own_calls_of_the_same_name(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import os, sys, time\nfrom perun_like import region\n"
        "with region('r'):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        for _ in range(3):\n            with region('r'): pass\n"
        "    else:\n        os.wait(); print(os.getpid(), time.monotonic_ns())\n"
        "if pid == 0: sys.exit(0)\n"
        "with region('r'): pass\n"
    )
    pid, last = map(int, printed.split())
    of_each = {found.pid: list(zip(found.start_ns, found.stop_ns, strict=True)) for found in calls(recording, "r")}
    (outer, second), (child,) = of_each.pop(pid), of_each.values()
    assert outer[1] >= last
    assert second[0] >= outer[1]
    assert len(child) == 3
    assert all(outer[0] <= start <= stop <= outer[1] for start, stop in child)


def test_a_forked_child_marks_for_itself_and_leaves_its_parent_s_calls_alone(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import os, sys, time\nfrom perun_like import region\n"
        "with region('parent'):\n"
        "    if os.fork() == 0:\n"
        "        with region('child'): pass\n"
        "        sys.exit(0)\n"
        "    os.wait()\n"
        "    last = time.monotonic_ns()\n"
        "print(os.getpid(), last)\n"
    )
    pid, last = map(int, printed.split())
    ((_, stop),) = intervals(recording, "parent")
    assert stop >= last
    (child,) = calls(recording, "child")
    assert child.pid != pid


def test_a_program_that_replaces_itself_keeps_both_sets_of_marks(recorded: Recorded) -> None:
    recording, _ = recorded(
        "import os, sys\nfrom perun_like import region\n"
        "if len(sys.argv) == 1:\n"
        "    with region('before'): pass\n"
        "    os.execv(sys.executable, [sys.executable, __file__, 'again'])\n"
        "with region('after'): pass\n"
    )
    assert len(intervals(recording, "before")) == len(intervals(recording, "after")) == 1


def test_a_call_open_at_a_sudden_end_lasts_until_then(recorded: Recorded) -> None:
    recording, _ = recorded("import os\nfrom perun_like import region\nwith region('open'): os._exit(0)\n")
    ((_, stop),) = intervals(recording, "open")
    assert stop == recording.window_ns[1]


def test_names_are_any_text(recorded: Recorded) -> None:
    names = ["a/b", "new\nline", "nul\0", "𝄞☃", "x" * 10_000, "", "\ud800"]
    recording, _ = recorded(
        f"from perun_like import region\nfor name in {names!r}:\n    with region(name): pass\n".encode(
            "utf-8", "backslashreplace"
        ).decode()
    )
    (marks,) = recording.hosts[0].regions
    assert [marks.names[i] for i in marks.region] == [name or "(no name)" for name in names]


def test_a_million_calls_fit_and_the_rest_is_counted(recorded: Recorded) -> None:
    recording, _ = recorded(
        "from perun_like.sampling import marks\nmarks.MAX_FILES = 2\n"  # a smaller budget keeps the test short
        "from perun_like import region\nfor _ in range(2 * marks.FILE_ROWS + 1000):\n    with region('r'): pass\n"
    )
    (marks,) = recording.hosts[0].regions
    assert len(marks.region) == 2 * 2**14
    assert marks.lost_calls == {"r": 1000}


def test_a_deleted_directory_of_marks_goes_unnoticed(recorded: Recorded) -> None:
    _, printed = recorded(
        "import os, shutil\nfrom perun_like import region\n"
        "with region('first'): shutil.rmtree(os.path.dirname(os.environ['PERUN_RUN']))\n"
        "with region('second'): print(os.getpid())\n"
    )
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    assert printed.strip() not in [row.split()[4] for row in rows]


def test_what_a_program_of_root_s_truncates_ends_nobody(recorded: Recorded) -> None:
    recording, printed = recorded(
        "import os\nfrom perun_like import region\nwith region('first'): pass\n"
        "for path in os.scandir(os.environ['PERUN_RUN']):\n"
        "    if not path.is_symlink():\n        os.chmod(path, 0o600); os.truncate(path, 0)\n"
        "with region('second'): print('fine')\n"
        "with region('third'): pass\n"
    )
    assert printed == "fine\n"
    (marks,) = recording.hosts[0].regions
    assert [marks.names[number] for number in marks.region] == ["(name lost)", "second", "third"]


WITHOUT_ROOM = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (1 << 20,))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_calls_that_a_part_had_no_room_for_count_once(
    script: Callable[[str], str], tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    """Its sampler kept whose they are, but not the calls: then who makes the result looks at both again."""
    source = "from perun_like import region\nfor _ in range(40_000):\n    with region('r'): pass\n"
    command = [sys.executable, "-c", WITHOUT_ROOM, PERUN, "profile", "--no-report", script(source)]
    ended = subprocess.run(command, cwd=tmp_path, env=clean_environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    [marks] = read_recording(str(path)).hosts[0].regions
    assert len(marks.region) == 40_000


def test_without_a_monitor_nothing_is_written(tmp_path: Path, clean_environ: dict[str, str]) -> None:
    source = "from perun_like import region\nwith region('r'): print('ran')\n@region\ndef f(): return 5\nprint(f())"
    ended = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, env=clean_environ, capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr, list(tmp_path.iterdir())) == ("ran\n5\n", "", [])


@pytest.mark.parametrize(
    "wrong",
    [
        "region(3)",
        "region(None)",
        "region([])",
        "region({'a': 1})",
        "region(b'r')",
        "region('x')(3)",
        "region('x')(int)",
    ],
)
def test_misuse_is_told_at_once(wrong: str, clean_environ: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"from perun_like import region\n{wrong}"],
        env=clean_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "TypeError" in ended.stderr.splitlines()[-1]


def test_a_call_open_when_a_worker_is_killed_has_no_exact_end(recorded: Recorded, tmp_path: Path) -> None:
    recorded(
        "import os, signal, time\nfrom perun_like import region\n"
        "r, w = os.pipe()\npid = os.fork()\n"
        "if pid == 0:\n    region('work').__enter__(); os.write(w, b'x'); signal.pause()\n"
        "os.read(r, 1); os.kill(pid, signal.SIGKILL); os.wait(); time.sleep(0.5)\n"
        "region('mine').__enter__(); time.sleep(0.1)\n"
    )
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    regions = {region.name: region for region in perun_like.load(str(path)).find(NodeType.RUN)[0].regions}
    work, mine = (regions[name].metrics["runtime_s"] for name in ("work", "mine"))
    assert work.lower < 0.1 < 0.5 < work.upper
    assert mine.lower == mine.value == mine.upper
    assert "open when their process died" in (regions["work"].metrics["energy_j"].method or "")
