"""Marking regions changes nothing about a program that forks, locks, interrupts, recurses, or hides modules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run

from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording


def recorded(tmp_path: Path) -> Recording:
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    return read_recording(str(path))


def starts_and_stops(recording: Recording, name: str) -> list[tuple[int, int]]:
    """Of each call of a region, in order of entry."""
    found: list[tuple[int, int]] = []
    for calls in recording.hosts[0].regions:
        if name in calls.names:
            mine = calls.region == calls.names.index(name)
            found += zip(calls.start_ns[mine].tolist(), calls.stop_ns[mine].tolist(), strict=True)
    return sorted(found)


def shared_memory_of(pid: int) -> int:
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return sum(int(row.split()[4]) == pid for row in rows)


def test_a_lock_that_the_program_s_forks_take_is_waited_for_by_nobody_of_ours(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    source = (
        "import os, threading\n"
        "lock, held, forking = threading.Lock(), threading.Event(), threading.Event()\n"
        "def before():\n    forking.set(); lock.acquire()\n"
        "os.register_at_fork(before=before, after_in_parent=lock.release, after_in_child=lock.release)\n"
        "from perun_like import region\n"
        "def work():\n"
        "    with lock:\n"
        "        held.set(); forking.wait()\n"  # the fork has begun, and waits for us
        "        with region('r'): pass\n"
        "thread = threading.Thread(target=work); thread.start(); held.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0)\n"
        "os.waitpid(pid, 0); thread.join(); print('done')\n"
    )
    ended = perun("profile", "--no-report", script(source))
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
    assert len(starts_and_stops(recorded(tmp_path), "r")) == 1


def test_a_child_forked_while_what_marks_need_is_imported_waits_for_nothing(
    script: Callable[[str], str], clean_environ: dict[str, str], tmp_path: Path
) -> None:
    source = (
        "import os, sys, threading\nfrom perun_like import profile\n"
        "importing, forked = threading.Event(), threading.Event()\n"
        "def slow(event, args):\n"  # within the import of ctypes, which looks for the C library
        "    if event == 'ctypes.dlopen' and not importing.is_set(): importing.set(); forked.wait()\n"
        "sys.addaudithook(slow)\n"
        "def work():\n"
        "    with profile('parent'): pass\n"
        "thread = threading.Thread(target=work); thread.start(); importing.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    with profile('child', report=False): pass\n"
        "    sys.exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
        "forked.set(); thread.join()\n"
    )
    ended = subprocess.run(
        [sys.executable, script(source)],
        cwd=tmp_path,
        env=clean_environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "3\n"
    assert {path.parent.name for path in tmp_path.glob("perun_results/*/*.h5")} == {"parent", "child"}, ended.stderr


@pytest.mark.parametrize("module", ["ctypes", "_ctypes", "struct", "_struct"])
def test_a_module_of_the_program_s_with_a_name_of_python_s_is_not_executed(
    perun: Run, script: Callable[[str], str], tmp_path: Path, module: str
) -> None:
    script("import sys\nprint('not to be executed')\nsys.exit(3)\n", f"{module}.py")
    ended = perun("profile", "--no-report", script("from perun_like import region\nwith region('r'): print('in r')\n"))
    assert (ended.returncode, ended.stdout) == (0, "in r\n"), ended.stderr
    assert len(starts_and_stops(recorded(tmp_path), "r")) == 1


def test_an_interrupt_at_any_line_of_ours_arrives(perun: Run, script: Callable[[str], str], tmp_path: Path) -> None:
    source = (
        "import os, sys\nfrom perun_like import region\nimport perun_like.monitoring.region as ours\n"
        "def interrupted_at(line):\n"
        "    left = line\n"
        "    def trace(frame, event, arg):\n"
        "        nonlocal left\n"
        "        if os.path.basename(frame.f_code.co_filename) not in ('segments.py', 'systemv.py'): return None\n"
        "        left -= 1\n"
        "        if left < 0: raise KeyboardInterrupt\n"
        "        return trace\n"
        "    sys.settrace(trace)\n"
        "    try:\n"
        "        ours.divert(None)\n"  # what there is goes, and the next region begins anew
        "        ours._process.known = False\n"
        "        with region('r'): pass\n"
        "    except KeyboardInterrupt: return 'arrived'\n"
        "    finally: sys.settrace(None)\n"
        "    return 'lost' if left < 0 else 'none'\n"
        "line, answers = 0, []\n"
        "while 'none' not in answers:\n"
        "    answers.append(interrupted_at(line)); line += 1\n"
        "print(os.getpid(), answers.count('lost'), answers.count('arrived'))\n"
    )
    ended = perun("profile", "--no-report", script(source))
    assert ended.returncode == 0, ended.stderr
    pid, lost, arrived = map(int, ended.stdout.split())
    assert lost == 0
    assert arrived > 20
    assert shared_memory_of(pid) == 0


FULL_STACK = """
import sys
from perun_like import region
kept = region('kept')

@region('decorated')
def decorated(n):
    return down(n)

def down(n):
    global depth
    depth = n
    with region('named'), kept:
        decorated(n + 1)

@region('steps')
def steps(n):
    yield n
    yield from steps(n + 1)

for limit in range(200, 240):
    sys.setrecursionlimit(limit)
    for call in (lambda: down(0), lambda: list(steps(0))):
        try: call()
        except RecursionError: pass
    print(depth)
sys.setrecursionlimit(1000)
print(kept.open_calls)
with region('outer'):
    for name in ('named', 'kept', 'decorated', 'steps', 'after'):
        with region(name): pass
    with kept: pass
"""


def test_a_full_stack_costs_the_calls_that_found_no_room_and_no_others(
    perun: Run, script: Callable[[str], str], clean_environ: dict[str, str], tmp_path: Path
) -> None:
    path = script(FULL_STACK)
    alone = subprocess.run(
        [sys.executable, path], cwd=tmp_path, env=clean_environ, capture_output=True, text=True, check=True
    )
    ended = perun("profile", "--no-report", path)
    assert (ended.returncode, ended.stdout) == (0, alone.stdout), ended.stderr
    assert ended.stdout.endswith("\n{}\n")
    recording = recorded(tmp_path)
    [(outer_start, outer_stop)] = starts_and_stops(recording, "outer")
    for name in ("named", "kept", "decorated", "steps", "after"):
        calls = starts_and_stops(recording, name)
        inside = [call for call in calls if call[0] > outer_start]
        assert len(inside) == 1 + (name == "kept")
        assert all(stop < outer_stop for _, stop in inside)
        assert all(stop < outer_start for start, stop in calls if start < outer_start)


def test_memory_that_runs_out_while_a_process_marks_its_first_region_costs_that_call_only(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    source = (
        "import os\nfrom perun_like import region\n"
        "real = os.urandom\n"
        "def full(size):\n    os.urandom = real\n    raise MemoryError\n"
        "os.urandom = full\n"
        "for name in ('first', 'next', 'last'):\n"
        "    with region(name): pass\n"
        "print(os.getpid())\n"
    )
    ended = perun("profile", "--no-report", script(source))
    assert ended.returncode == 0, ended.stderr
    assert [len(starts_and_stops(recorded(tmp_path), name)) for name in ("first", "next", "last")] == [0, 1, 1]
    assert not os.path.exists(f"/proc/{ended.stdout.strip()}")
    assert shared_memory_of(int(ended.stdout)) == 0


def test_a_handler_that_enters_regions_never_waits_for_the_thread_it_interrupts(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    """It comes a thousand times a second, most often while a new name is written down."""
    source = (
        "import signal, time\n"
        "from perun_like import region\n"
        "came, n = 0, 0\n"
        "def handler(*_):\n"
        "    global came\n"
        "    came += 1\n"
        "    with region(f'handler {came}'): pass\n"
        "    with region('handler'): pass\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "while came < 1_500:\n"
        "    n += 1\n"
        "    with region(f'own {n}'): pass\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "print(n)\n"
    )
    ended = perun("profile", "--no-report", script(source), timeout=60)
    assert ended.returncode == 0, ended.stderr
    names = {name for calls in recorded(tmp_path).hosts[0].regions for name in calls.names}
    assert {f"own {n}" for n in range(1, int(ended.stdout) + 1)} <= names


TIME_LIMIT = """
import functools, os, signal, sys
from perun_like import region
import perun_like.monitoring.region as ours

class Handler:
    def __call__(self, *_): raise TimeoutError
    def method(self, *_): raise TimeoutError
def function(*_): raise TimeoutError
FILES = ('region.py', 'marking.py', 'marks.py', 'segments.py', 'systemv.py')

def limited(kept, wait):
    # The interpreter looks for signals where a function begins, and when it comes back from one in C.
    def count(frame, event, _):
        nonlocal wait
        if event in ('call', 'c_return') and os.path.basename(frame.f_code.co_filename) in FILES:
            wait -= 1
            if wait == -1: signal.raise_signal(signal.SIGALRM)
    sys.setprofile(count)
    try:
        with kept: pass
    except TimeoutError: return 'arrived'
    finally: sys.setprofile(None)
    return 'lost' if wait < 0 else 'none'

def anew():
    ours.divert(None)
    ours._process.known, ours._process._tries = False, 0

kept, answers = region('kept'), []
for handler in (function, Handler(), Handler().method, functools.partial(function, 5)):
    signal.signal(signal.SIGALRM, handler)
    for prepare in (lambda: None, anew):
        found = []
        while 'none' not in found:
            prepare()
            kept.open_calls.clear()
            found.append(limited(kept, len(found)))
        answers += found
with region('after'): pass
print(answers.count('lost'), answers.count('arrived'))
"""


def test_a_time_limit_that_strikes_within_ours_reaches_the_program(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    ended = perun("profile", "--no-report", script(TIME_LIMIT))
    assert ended.returncode == 0, ended.stderr
    lost, arrived = map(int, ended.stdout.split())
    assert lost == 0
    assert arrived > 200
    recording = recorded(tmp_path)
    assert len(starts_and_stops(recording, "after")) == 1
    stop_ns = recording.processes[0].stop_ns
    still_open = [start for start, stop in starts_and_stops(recording, "kept") if stop >= stop_ns]
    assert len(still_open) <= 8  # where the method begins that would end it, each time that all are tried


def test_a_call_whose_name_cannot_be_written_down_is_marked_all_the_same(
    perun: Run, script: Callable[[str], str], tmp_path: Path
) -> None:
    """As after a change of user or root: what is mapped can be written, and no file can be opened any more."""
    source = (
        "import resource, time\n"
        "from perun_like import region\n"
        "with region('early'): pass\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))\n"
        "for _ in range(3):\n"
        "    with region('late'): pass\n"
        "    with region('early'): pass\n"
        "print('done')\n"
    )
    ended = perun("profile", "--no-report", script(source))
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
    assert len(starts_and_stops(recorded(tmp_path), "early")) == 4
    assert len(starts_and_stops(recorded(tmp_path), "(name lost)")) == 3
