"""Functions and blocks measured by the program that runs them: nothing changes for it, and everything is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PYTHON, Run

import perun_like
from perun_like.model.node import DataNode, NodeType
from perun_like.model.recording import UNENDED, Recording
from perun_like.store.reader import read_recording
from perun_like.testing import FuseUnavailableError, Machine, Ramp, SquareWave, Sum, Zone, simulated_powercap

MS = 1_000_000

Ended = subprocess.CompletedProcess[str]
Python = Callable[..., Ended]


@pytest.fixture
def python(tmp_path: Path, clean_environ: dict[str, str]) -> Python:
    """Run a program as ``python script.py``, without us in front of it."""

    def run(source: str, *args: str, **options: object) -> Ended:
        (tmp_path / "script.py").write_text(source)
        given = {"cwd": tmp_path, "env": clean_environ, "timeout": 60, "text": True, "capture_output": True}
        command = [PYTHON, "script.py", *args]
        return subprocess.run(command, check=False, **{**given, **options})  # type: ignore[call-overload,no-any-return]

    return run


def results(tmp_path: Path, name: str) -> tuple[DataNode, Recording]:
    """The only result of a name."""
    (path,) = tmp_path.glob(f"perun_results/{name}/*.h5")
    return perun_like.load(path), read_recording(path)


def rounds_of(tree: DataNode) -> list[DataNode]:
    return tree.find(NodeType.RUN)


KINDS = """
import asyncio, functools
{decorator}
class Model:
    @decorate
    def method(self, x): return ('method', x)
    @classmethod
    @decorate
    def of_class(cls, x): return (cls.__name__, x)
    @staticmethod
    @decorate
    def static(x): return ('static', x)
@decorate
def plain(a, *args, b=2, **kwargs):
    "What it does."
    return a, args, b, kwargs
@decorate
def numbers(n):
    for i in range(n):
        got = yield i
        if got: print('got', got)
    return 'done'
def delegating(n):
    print('returned', (yield from numbers(n)))
@decorate
async def waits(x):
    await asyncio.sleep(0.01)
    return x + 1
@decorate
async def stream(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
@decorate
def factorial(n): return 1 if n < 2 else n * factorial(n - 1)
async def main():
    print(await asyncio.gather(waits(1), waits(2), waits(3)))
    print([i async for i in stream(3)])
    print(asyncio.iscoroutinefunction(waits) if hasattr(asyncio, 'iscoroutinefunction') else None)
print(Model().method(1), Model.of_class(2), Model.static(3), plain(1, 2, b=3, c=4), factorial(5))
print(plain.__name__, plain.__doc__, plain.__module__, plain.__qualname__)
print(list(delegating(3)))
g = numbers(3); next(g); g.send('sent'); g.close()
asyncio.run(main())
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whatever_is_decorated_does_what_it_did(python: Python, tmp_path: Path) -> None:
    without = python(KINDS.format(decorator="decorate = lambda function: function"))
    with_us = python(KINDS.format(decorator="from perun_like import profile as decorate"))
    assert without.returncode == 0, without.stderr
    assert (with_us.returncode, with_us.stdout) == (0, without.stdout)
    made = {path.parent.name for path in tmp_path.glob("perun_results/*/*.h5")}
    assert made == {
        *("Model.method", "Model.of_class", "Model.static", "factorial"),
        *("numbers", "plain", "stream", "waits"),
    }
    assert not list(tmp_path.rglob("*.parts"))


def test_calls_are_rounds_of_one_run_with_one_file(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile\nimport time\ncalls = []\n"
        "@profile\ndef work(n):\n    calls.append((time.monotonic_ns(), sum(range(n)), time.monotonic_ns()))\n"
        "for n in (100_000, 2_000_000, 1_000_000): work(n)\n"
        "print(*[(a, b) for a, _, b in calls])\n"
    )
    assert ended.returncode == 0, ended.stderr
    tree, recording = results(tmp_path, "work")
    (whole,) = tree.find(NodeType.MULTI_RUN)
    assert whole.metrics["runtime_s"].n == 3 == len(rounds_of(tree))
    (rounds,) = recording.hosts[0].rounds
    inside = eval(ended.stdout.replace(") (", "), (").strip())  # what the program itself measured
    for (start, stop), outer in zip(inside, zip(rounds.start_ns, rounds.stop_ns, strict=True), strict=True):
        assert outer[0] <= start <= stop <= outer[1]
        assert outer[1] - outer[0] - (stop - start) < 2_000_000
    assert "work" in ended.stderr
    assert "3 rounds" in ended.stderr
    assert ended.stderr.splitlines()[-1].endswith(".h5")


FAILING = """
import sys
{decorator}
@decorate
def fails():
    x = sum(range(1_000_000))
    {statement}
def outer(): fails()
outer()
"""


@pytest.mark.parametrize(
    "statement",
    ["raise ValueError('for a reason')", "sys.exit(3)", "sys.exit('text')", "sys.exit(0)", "raise KeyboardInterrupt"],
)
def test_what_is_raised_reaches_the_caller_and_the_data_is_safe(python: Python, tmp_path: Path, statement: str) -> None:
    without = python(FAILING.format(decorator="decorate = lambda function: function", statement=statement))
    program = FAILING.format(decorator="from perun_like import profile as decorate", statement=statement)
    with_us = python(program)
    assert with_us.returncode == without.returncode
    frames = [line for line in without.stderr.splitlines() if line.strip()]
    assert [line for line in frames if line not in with_us.stderr.splitlines()] == []
    tree, recording = results(tmp_path, "fails")
    assert recording.hosts[0].rounds[0].failed.tolist() == [True]
    assert rounds_of(tree)[0].metrics["energy_j"].value
    assert recording.hosts[0].streams


def test_nested_calls_are_regions_of_the_outermost(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile, region\n"
        "@profile\ndef inner(n):\n    with region('deep'): return sum(range(n))\n"
        "@profile\ndef outer():\n    inner(500_000); inner(500_000)\n"
        "    with profile('block') as b: sum(range(900_000))\n"
        "    return b\n"
        "b = outer()\nprint(b.energy_j > 0, b.runtime_s > 0)\n"
    )
    assert ended.stdout == "True True\n", ended.stderr
    assert [path.parent.name for path in tmp_path.glob("perun_results/*/*.h5")] == ["outer"]
    tree, _ = results(tmp_path, "outer")
    calls = {region.name: region.calls for region in rounds_of(tree)[0].regions}
    assert calls == {"inner": 2, "deep": 2, "block": 1}


def test_in_a_watched_program_calls_are_regions(perun: Run, script: Callable[[str], str], tmp_path: Path) -> None:
    source = (
        "from perun_like import profile\n"
        "@profile(period='10ms', output='elsewhere')\ndef work(): return sum(range(10**6))\n"
        "work()\nwith profile('block') as p: work()\nprint(p.energy_j, p.result, p)\n"
    )
    ended = perun("profile", script(source))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("None None <profile block: no result: it is measured as a part of a whole")
    assert not (tmp_path / "elsewhere").exists()
    tree, _ = results(tmp_path, "script")
    assert {region.name: region.calls for region in rounds_of(tree)[0].regions} == {"work": 2, "block": 1}


def test_recursion_threads_and_raising_pair_up(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "@profile\ndef fib(n):\n    if n == 1: raise KeyError(n)\n"
        "    try: return fib(n - 1) + fib(n - 2)\n    except KeyError: return 1\n"
        "@profile\ndef threaded(n): return sum(range(n))\n"
        "fib(5)\nwith ThreadPoolExecutor(8) as pool: list(pool.map(threaded, [20_000] * 400))\n"
    )
    assert ended.returncode == 0, ended.stderr
    tree, _ = results(tmp_path, "fib")
    assert len(rounds_of(tree)) == 1
    assert {region.name: region.calls for region in rounds_of(tree)[0].regions} == {"fib": 11}  # nested in the first
    _, recording = results(tmp_path, "threaded")
    (rounds,) = recording.hosts[0].rounds
    assert len(rounds.start_ns) == 400
    assert (rounds.stop_ns >= rounds.start_ns).all()
    assert not rounds.failed.any()


def test_a_generator_s_round_is_the_steps_that_it_executes(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile\nimport time\n"
        "@profile\ndef numbers():\n    for i in range(3): yield i\n"
        "for i in numbers():\n    end = time.monotonic() + 0.1\n    while time.monotonic() < end: pass\n"
    )
    assert ended.returncode == 0, ended.stderr
    tree, recording = results(tmp_path, "numbers")
    (rounds,) = recording.hosts[0].rounds
    assert rounds.round.tolist() == [0] * 4
    assert (np.diff(rounds.start_ns) > 90_000_000).sum() == 3
    runtime_s = rounds_of(tree)[0].metrics["runtime_s"].value
    assert runtime_s is not None
    assert runtime_s < 0.01


FULL = """
from perun_like import profile
from perun_like.sampling import marks
marks.MAX_FILES = 1  # a smaller budget keeps the test short
@profile
def steps(): yield from range(2)
@profile
def late(): pass
for _ in range(6_000): assert list(steps()) == [0, 1]
for _ in range(7): late()
"""


def test_calls_that_find_no_more_room_are_all_counted_once(python: Python, tmp_path: Path) -> None:
    """A generator's call of three steps is one call, and one of a function that was never marked is told as well."""
    done = python(FULL)
    assert done.returncode == 0, done.stderr
    tree, recording = results(tmp_path, "steps")
    [of_run] = tree.find(NodeType.MULTI_RUN)
    assert of_run.metadata["rounds"] == 6_000
    assert of_run.metadata["only_counted"] > 0
    [host] = recording.hosts
    assert [dict(calls.lost_calls) for calls in host.regions] == [{"late": 7}]


def test_no_guard_is_needed_and_children_are_part_of_it(python: Python, tmp_path: Path) -> None:
    """The sampler never imports the program again; children of the program's own are regions of its call."""
    ended = python(
        "import multiprocessing as mp, os, sys\nfrom perun_like import profile, region\n"
        "print('imported', __name__)\n"
        "@region\ndef part(n): return sum(range(n))\n"
        "@profile\ndef alone(): return part(10)\n"
        "@profile\ndef pooled():\n"
        "    with mp.get_context('fork').Pool(2) as pool: return pool.map(part, [300_000] * 4)\n"
        "alone(); print(pooled())\n"
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("imported") == 1
    tree, recording = results(tmp_path, "pooled")
    assert {region.name: region.calls for region in rounds_of(tree)[0].regions} == {"part": 4}
    assert os.getpid() not in {calls.pid for calls in recording.hosts[0].regions}


def test_a_forked_child_leaves_its_parent_s_measurement_alone(python: Python, tmp_path: Path) -> None:
    ended = python(
        "import os, sys\nfrom perun_like import profile\n"
        "@profile\ndef work(): return sum(range(200_000))\n"
        "work()\n"
        "with profile('forks'):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n        work()\n"
        "    else:\n        print(os.waitpid(pid, 0)[1])\n"
        "if pid == 0: work(); sys.exit(0)\n"
        "work()\n"
    )
    assert ended.stdout == "0\n", ended.stderr
    _, recording = results(tmp_path, "work")
    assert len(recording.hosts[0].rounds[0].start_ns) == 2
    _, forks = results(tmp_path, "forks")
    assert len(forks.hosts[0].rounds[0].start_ns) == 1
    assert not list(tmp_path.rglob("*.parts"))


def test_the_program_finds_no_child_it_has_not_started(python: Python) -> None:
    ended = python(
        "import os, threading\nfrom perun_like import profile\n"
        "@profile\ndef work(): return 1\n"
        "work()\n"
        "try: print(os.wait())\nexcept ChildProcessError: print('none')\n"
        "print(threading.active_count())\n"
    )
    assert ended.stdout == "none\n1\n", ended.stderr


def test_a_program_that_closes_all_descriptors_keeps_its_own_files(python: Python, tmp_path: Path) -> None:
    ended = python(
        "import os\nfrom perun_like import profile\n"
        "@profile\ndef work(): return 1\n"
        "work()\n"
        "os.closerange(3, 100)\n"
        "files = [os.open(f'mine{i}', os.O_RDWR | os.O_CREAT) for i in range(10)]\n"
        "work()\nwith profile('other') as p: work()\nprint(p.energy_j)\n"
        "print([os.lseek(fd, 0, os.SEEK_END) for fd in files])\n"
    )
    assert ended.stdout == f"None\n{[0] * 10}\n", ended.stderr
    assert [path.stat().st_size for path in tmp_path.glob("mine*")] == [0] * 10
    assert "pipes were closed by the program" in ended.stderr


def test_results_go_where_the_program_began(python: Python, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    source = (
        "import os\nfrom perun_like import profile\nwith profile('a'): os.chdir('below')\nwith profile('b'): pass\n"
    )
    ended = python(source)
    assert ended.returncode == 0, ended.stderr
    assert {path.parent.name for path in tmp_path.glob("perun_results/*/*.h5")} == {"a", "b"}
    assert not (tmp_path / "below/perun_results").exists()


def test_a_killed_program_s_rounds_are_recovered(
    perun: Run, tmp_path: Path, clean_environ: dict[str, str], script: Callable[[str], str]
) -> None:
    name = script(
        "import os, sys\nfrom perun_like import profile\n"
        "@profile\ndef work(n): return sum(range(n))\n"
        "work(10**6); work(10**6)\n"
        "with profile('killed in'):\n    print('now', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [PYTHON, name], cwd=tmp_path, env=clean_environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    (parts,) = tmp_path.glob("perun_results/script/*.parts")
    recovered = wait_and_recover(perun, parts)
    assert len(recovered.stdout.splitlines()) == 2
    _, recording = results(tmp_path, "work")
    assert len(recording.hosts[0].rounds[0].start_ns) == 2
    tree, recording = results(tmp_path, "killed in")
    assert recording.hosts[0].rounds[0].failed.tolist() == [UNENDED]
    assert rounds_of(tree)[0].metrics["runtime_s"].value
    assert "the recording ends before the call did" in str(rounds_of(tree)[0].metrics["energy_share_j"].reason)
    (file,) = tmp_path.glob("perun_results/killed in/*.h5")
    report = perun("report", str(file)).stdout
    assert "end not recorded" in report.splitlines()[0]
    assert "raised" not in report
    assert "is incomplete: the program ended and saved nothing;" in " ".join(report.split())


def wait_and_recover(perun: Run, parts: Path) -> Ended:
    """Recover once the sampler has noticed the end, which it holds a lock until."""
    while "still being written" in (ended := perun("recover", str(parts))).stderr:
        pass
    assert ended.returncode == 0, ended.stderr
    return ended


def test_where_nothing_can_be_written_the_program_runs_all_the_same(python: Python, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = python(
        "from perun_like import profile\n@profile(output='file')\ndef work(): return 7\nprint(work(), work())\n"
    )
    assert (ended.returncode, ended.stdout) == (0, "7 7\n")
    assert ended.stderr.count("nothing is measured: can't write results") == 1


def test_wrong_settings_are_told_where_they_stand_and_change_nothing_elsewhere(python: Python, tmp_path: Path) -> None:
    ended = python("from perun_like import profile\n@profile(period='1h')\ndef work(): pass\n")
    assert ended.returncode == 1
    assert "period too long: '1h'; at least 1ms, at most 60s" in ended.stderr
    ended = python("from perun_like import profile\n@profile(perod='1s')\ndef work(): pass\n")
    assert "profile has no option 'perod': allowed are name, rounds, warmup, output, period" in ended.stderr
    (tmp_path / "perun.toml").write_text("perod = 1\n")
    ended = python("from perun_like import profile\n@profile\ndef work(): return 7\nprint(work())\n")
    assert (ended.returncode, ended.stdout) == (0, "7\n")
    assert "nothing is measured" in ended.stderr


def test_rounds_and_warm_up_of_a_function(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile\nimport asyncio\ncalls = 0\n"
        "@profile(rounds=3, warmup=2)\ndef work():\n    global calls\n    calls += 1\n    return calls\n"
        "@profile(rounds=2)\nasync def waits(): await asyncio.sleep(0); return 'waited'\n"
        "print(work(), asyncio.run(waits()))\n"
    )
    assert ended.stdout == "5 waited\n", ended.stderr
    for name, rounds in {"work": 3, "waits": 2}.items():
        _, recording = results(tmp_path, name)
        assert len(recording.hosts[0].rounds[0].start_ns) == rounds


def test_under_pytest(python: Python, tmp_path: Path, clean_environ: dict[str, str]) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom perun_like import profile\n"
        "@profile\n@pytest.mark.parametrize('n', [1, 2])\ndef test_sum(n, tmp_path): assert sum(range(10**5)) > n\n"
        "@pytest.fixture\ndef energy():\n    with profile('fixture') as p: yield p\n"
        "def test_energy(energy):\n    with profile('inside') as p: pass\n    assert energy.stop_ns == 0\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_it.py"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=clean_environ, timeout=60, text=True, capture_output=True, check=False
    )
    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr
    _, recording = results(tmp_path, "test_sum")
    assert len(recording.hosts[0].rounds[0].start_ns) == 2


def test_the_sampler_is_a_fresh_interpreter_and_the_program_is_never_forked(python: Python) -> None:
    """Even after MPI_Init, when a forked child would believe that it is the rank."""
    pytest.importorskip("mpi4py.MPI", exc_type=ImportError, reason="no MPI library can be loaded")
    ended = python(
        "import os\nfrom mpi4py import MPI\nfrom perun_like import profile\nforks = []\n"
        "os.register_at_fork(before=lambda: forks.append(1))\n"
        "def samplers():\n"
        "    found = []\n"
        "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "        try:\n"
        "            with open(f'/proc/{pid}/cmdline', 'rb') as f: command = f.read().split(b'\\0')\n"
        "            if b'-I' in command and b'perun_like.sampling.serve' in command[4]:\n"
        "                found.append(pid)\n"
        "        except (OSError, IndexError): pass\n"
        "    return found\n"
        "with profile('work') as p:\n"
        "    ours = [pid for pid in samplers() if open(f'/proc/{pid}/environ').read().find('PMI_') < 0]\n"
        "    print(bool(ours), any('libmpi' in open(f'/proc/{pid}/maps').read() for pid in ours), forks)\n"
        "MPI.Finalize()\n"
    )
    assert ended.stdout == "True False []\n", ended.stderr


def test_callbacks_get_the_tree_and_newest_values(python: Python, tmp_path: Path) -> None:
    ended = python(
        "from perun_like import profile, register_callback, register_live_callback\nimport threading\n"
        "seen = threading.Event(); got = []\n"
        "@register_live_callback\ndef live(values):\n    got.append(values)\n    if len(got) > 1: seen.set()\n"
        "@register_live_callback\ndef broken(values): raise ValueError('of a callback')\n"
        "@register_callback\ndef after(tree): print('after', tree.type.value, tree.metrics['runtime_s'].value > 0)\n"
        "@profile\ndef work():\n    while not seen.wait(0.01): sum(range(10000))\n"
        "work()\n"
        "first, last = got[0]['host:cpu_busy'], got[-1]['host:cpu_busy']\n"
        "print(last.unit, last.value > first.value, 0 < last.rate <= 1024, last.t_ns > first.t_ns, first.rate)\n"
        "print(got[-1]['memory:used'].unit, got[-1]['memory:used'].value > 0, got[-1]['memory:used'].rate)\n"
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "s True True True None\nB True None\nafter APP True\n"
    assert "ValueError: of a callback" in ended.stderr


def test_a_sampler_is_never_held_up_by_who_does_not_read(python: Python, tmp_path: Path) -> None:
    """A live callback that blocks fills the pipe; samples go on as if nobody listened."""
    ended = python(
        "from perun_like import profile, register_live_callback\nimport threading, time\n"
        "called = threading.Event(); end = threading.Event()\n"
        "@register_live_callback\ndef stuck(values): called.set(); end.wait()\n"
        "with profile('work', period='10ms') as p:\n"
        "    called.wait()\n    start = time.monotonic()\n    while time.monotonic() - start < 1.5: pass\n"
        "end.set()\n"
    )
    assert ended.returncode == 0, ended.stderr
    _, recording = results(tmp_path, "work")
    stream = max(recording.hosts[0].streams, key=lambda stream: len(stream.t0_ns))
    assert np.diff(stream.t0_ns).max() < 1_000_000_000


@pytest.mark.parametrize("way", ["decorator", "monitor"])
def test_three_rounds_of_a_fifth_of_a_second_on_the_simulated_machine(
    python: Python, tmp_path: Path, clean_environ: dict[str, str], way: str
) -> None:
    wave = SquareWave(40, 160, 90 * MS, high_ns=37 * MS)
    rising = Sum([wave, Ramp([(0, 0.0), (10_000 * MS, 60.0)])])
    machine = Machine([Zone("intel-rapl:0", "package-0", rising), Zone("intel-rapl:1", "package-1", wave)])
    wait = "end = time.monotonic() + 0.2\n    while time.monotonic() < end: pass"
    spin = f"import time\ndef work(x):\n    {wait}\n    return x\n"
    ways = {
        "decorator": "from perun_like import profile\nwork = profile(work, period='10ms')\n"
        "for _ in range(3): work(1); time.sleep(0.03)\n",
        "monitor": "from perun_like import Application, PerunMonitor\nfrom perun_like.config import resolve\n"
        "from perun_like.launch.comm import Comm\nfrom perun_like.sensing.discovery import backend_specs\n"
        "import os, sys\nconfig = resolve('.', os.environ, {'rounds': '3', 'period_ns': '10ms'})\n"
        "app = Application.function(work, (7,))\n"
        "m = PerunMonitor(app, Comm(), backend_specs(sys.path), {}, config)\n"
        "status, tree, result = m.run_application('one')\nassert result == 7, result\nm.close()\n",
    }
    try:
        with simulated_powercap(machine) as powercap:
            ended = python(spin + ways[way], env={**clean_environ, **powercap.environ})
    except FuseUnavailableError as error:
        pytest.skip(f"the simulated powercap tree needs FUSE: {error}")
    assert ended.returncode == 0, ended.stderr
    tree, recording = results(tmp_path, "work")
    (rounds,) = recording.hosts[0].rounds
    windows = list(zip(rounds.start_ns.tolist(), rounds.stop_ns.tolist(), strict=True))
    truth = [sum(powercap.machine.truth_j(zone, *w) for zone in ("intel-rapl:0", "intel-rapl:1")) for w in windows]
    found = [run.metrics["cpu_energy_j"] for run in rounds_of(tree)]
    for metric, true_j in zip(found, truth, strict=True):
        assert metric.lower is not None
        assert metric.upper is not None
        assert metric.lower <= true_j <= metric.upper
    energy = tree.find(NodeType.MULTI_RUN)[0].metrics["cpu_energy_j"]
    assert energy.n == 3
    assert energy.mean == pytest.approx(np.mean(truth), rel=0.01)
    assert energy.std == pytest.approx(np.std(truth, ddof=1), abs=0.02 * np.mean(truth))


def test_a_block_tells_its_energy_at_once(python: Python, tmp_path: Path, clean_environ: dict[str, str]) -> None:
    machine = Machine([Zone("intel-rapl:0", "package-0", SquareWave(20, 220, 70 * MS, high_ns=30 * MS))])
    try:
        with simulated_powercap(machine) as powercap:
            ended = python(
                "from perun_like import profile\nimport time\n"
                "def spin():\n    end = time.monotonic() + 0.3\n    while time.monotonic() < end: pass\n"
                "for _ in range(3):\n"
                "    with profile('block', period='10ms') as p: spin()\n"
                "    m = p.metrics['cpu_energy_j']\n"
                "    print(p.start_ns, p.stop_ns, m.lower, p.cpu_energy_j, m.upper, m.provenance.value)\n",
                env={**clean_environ, **powercap.environ},
            )
    except FuseUnavailableError as error:
        pytest.skip(f"the simulated powercap tree needs FUSE: {error}")
    assert ended.returncode == 0, ended.stderr
    for line in ended.stdout.splitlines():
        start, stop, lower, value, upper, provenance = line.split()
        true_j = powercap.machine.truth_j("intel-rapl:0", int(start), int(stop))
        assert float(lower) <= true_j <= float(upper)
        assert float(value) == pytest.approx(true_j, rel=0.03)
        assert provenance == "measured"
    assert len(ended.stdout.splitlines()) == 3
