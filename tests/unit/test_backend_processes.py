"""The process tree: real forks, daemons and deaths, and a simulated forest in which everything can happen."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil
import pytest
from process_forest import ROOT, Forest

from perun_like.sensing import linux_processes
from perun_like.sensing.contract import Context
from perun_like.sensing.linux_processes import ProcessTree
from perun_like_sensors.processes import ProcessesBackend

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Values(NamedTuple):
    ticks: int | None
    rss: int | None
    rss_peak: int | None
    count: int | None
    disk_read: int | None
    disk_written: int | None

    @property
    def cpu_s(self) -> float:
        assert self.ticks is not None
        return self.ticks / TICKS_PER_S


class App:
    """A program under test: it prints a line where it stands, and goes on when it is given one."""

    def __init__(self, process: subprocess.Popen[str], context: Context, probe: ProcessTree) -> None:
        self.process = process
        self.context = context
        self._probe = probe

    def look(self) -> Values:
        return Values(*self._probe.read())

    def line(self) -> str:
        stream: IO[str] | None = self.process.stdout
        assert stream is not None
        return stream.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> float:
        """CPU seconds of the process and all it waited for, from the kernel."""
        before = os.times()
        self.process.communicate()
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system


PRELUDE = """
import os, sys, time, signal, resource
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))
def say(*words):
    print(*words, flush=True)
def wait():
    sys.stdin.readline()
def forked(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid
def times():
    return sum(os.times()[:4])
class Gate:
    def __init__(self):
        self.out, self.into = os.pipe()
    def hold(self):
        os.close(self.into)  # so that the end of the one who could open it opens it, too
        os.read(self.out, 1)
    def open(self):
        os.write(self.into, b"x")
gate, other = Gate(), Gate()
"""

Start = Callable[..., App]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    apps: list[App] = []

    def begin(source: str, token: str = "", late: bool = False) -> App:
        context = Context(run_token=token)
        early = ProcessTree(context)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PRELUDE + source], cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PERUN_RUN": "abc"},
        )  # fmt: skip
        context.watch(process.pid)
        apps.append(App(process, context, ProcessTree(context) if late else early))
        return apps[-1]

    yield begin
    for app in apps:
        with app.process:  # closes its streams and waits
            app.process.kill()


def test_nothing_is_read_before_the_application_starts():
    context = Context()
    assert ProcessTree(context).read() == (None,) * 6
    context.watch(2**22 + 1)  # above every pid
    assert ProcessTree(context).read() == (None,) * 6


def test_time_and_memory_of_one_process(start: Start):
    app = start("burn(0.3); block = bytearray(os.urandom(1)) * 50_000_000; say(times()); wait(); burn(0.1)")
    burnt = float(app.line())
    values = app.look()
    assert values.count == 1
    assert values.cpu_s == pytest.approx(burnt, abs=0.05)
    assert values.rss == pytest.approx(psutil.Process(app.process.pid).memory_info().rss, rel=0.01)
    assert values.rss_peak is not None
    assert values.rss_peak >= 50_000_000
    app.go_on()
    used = app.end()
    assert values.cpu_s <= used
    ended = app.look()
    assert (ended.cpu_s, ended.rss, ended.count) == (values.cpu_s, None, 0)


def test_the_peak_outlasts_the_memory(start: Start):
    app = start(
        "before = int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "block = bytearray(os.urandom(1)) * 80_000_000; del block\n"
        # Not ru_maxrss: it counts the process that this one was forked from.
        "say(before + 80_000_000); wait()"
    )
    truth = int(app.line())
    values = app.look()
    assert values.rss_peak == pytest.approx(truth, rel=0.01)
    assert values.rss is not None
    assert values.rss < 60_000_000


def test_children_that_come_and_go_unseen_are_in_their_parents_time(start: Start):
    app = start(
        "app = forked(lambda: (os.waitpid(forked(lambda: burn(0.2)), 0), burn(0.1)))\n"
        "os.waitpid(app, 0); say(times()); wait()"
    )
    truth = float(app.line())
    assert truth > 0.28
    assert app.look().cpu_s == pytest.approx(truth, abs=0.05)


def test_a_child_seen_alive_is_not_counted_again_when_it_is_reaped(start: Start):
    app = start(
        "child = forked(lambda: (burn(0.2), say('burnt'), gate.hold()))\n"
        "wait(); gate.open(); os.waitpid(child, 0); say(times()); wait()"
    )
    assert app.line() == "burnt"
    alive = app.look()
    assert alive.count == 2
    app.go_on()
    truth = float(app.line())
    for _ in range(3):
        values = app.look()
        assert values.count == 1
        assert values.cpu_s == pytest.approx(truth, abs=0.05)
        assert values.cpu_s >= alive.cpu_s


def test_a_child_that_nobody_waits_for_is_kept_as_last_seen(start: Start):
    app = start(
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "child = forked(lambda: (burn(0.2), say(os.getpid()), gate.hold()))\n"
        "wait(); gate.open()\n"
        "while os.path.exists(f'/proc/{child}'): pass\n"
        "say(times()); wait()"
    )
    app.line()
    alive = app.look()
    assert alive.cpu_s > 0.18
    app.go_on()
    own = float(app.line())
    for _ in range(3):
        values = app.look()
        assert values.count == 1
        assert alive.cpu_s <= values.cpu_s == pytest.approx(own + 0.2, abs=0.1)


DAEMON = """
def daemon():
    os.setsid()
    burn(0.1); say(os.getpid()); other.hold()
def between():
    forked(daemon)
    {pause}
middle = forked(between)
{seen}
os.waitpid(middle, 0); say('orphaned'); wait(); other.open()
"""


def test_a_daemon_never_seen_with_its_parents_is_known_by_its_environment(start: Start):
    app = start(DAEMON.format(pause="", seen=""), token="abc")
    assert "orphaned" in {app.line(), app.line()}
    values = app.look()
    assert values.count == 2
    assert values.cpu_s > 0.08


def test_another_runs_daemon_is_not_ours(start: Start):
    app = start(DAEMON.format(pause="", seen=""), token="abcd")
    assert "orphaned" in {app.line(), app.line()}
    assert app.look().count == 1


def test_a_daemon_seen_with_its_parents_stays_a_member(start: Start):
    app = start(DAEMON.format(pause="gate.hold()", seen="wait(); gate.open()"))
    app.line()
    assert app.look().count == 3
    app.go_on()
    assert app.line() == "orphaned"
    assert app.look().count == 2


def test_a_late_reader_finds_the_whole_tree(start: Start):
    app = start(
        "forked(lambda: (forked(lambda: (say('deep'), gate.hold())), os.close(gate.into), os.wait()))\n"
        "wait(); gate.open(); os.wait()"
    )
    assert app.line() == "deep"
    late = ProcessTree(app.context)
    assert Values(*late.read()).count == 3


def test_bytes_written_outlast_the_process_that_wrote_them(start: Start):
    app = start(
        "def write():\n"
        "    with open('data', 'wb') as file:\n"
        "        file.write(os.urandom(3_000_000)); file.flush(); os.fsync(file.fileno())\n"
        "write(); say('written'); wait()\n"
        "os.waitpid(forked(write), 0); say('again'); wait()"
    )
    app.line()
    first = app.look()
    truth = psutil.Process(app.process.pid).io_counters()
    assert (first.disk_read, first.disk_written) == (truth.read_bytes, truth.write_bytes)
    app.go_on()
    app.line()
    second = app.look()
    assert first.disk_written is not None
    assert second.disk_written is not None
    assert second.disk_written - first.disk_written >= 3_000_000
    assert second.disk_written == psutil.Process(app.process.pid).io_counters().write_bytes


CHURN = """
def churn(depth, rng=[12345]):
    for _ in range(3):
        rng[0] = rng[0] * 1103515245 + 12345 & 0x7FFFFFFF
        burn(rng[0] % 7 / 1000)
        pid = os.fork()
        if pid == 0:
            if depth:
                churn(depth - 1)
            os._exit(0)
        if rng[0] % 3:
            os.waitpid(pid, 0)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
churn(3)
say('done', times()); wait()
"""


def test_a_hundred_short_processes_are_counted_once_each_however_often_one_looks(start: Start):
    app = start(CHURN)
    os.set_blocking(app.process.stdout.fileno(), False)  # type: ignore[union-attr]
    seen: list[float] = []
    line = ""
    while not line:
        seen.append(app.look().cpu_s)
        line = app.line()
    truth = float(line.split()[1])
    seen += [app.look().cpu_s, app.look().cpu_s]
    assert seen == sorted(seen)
    assert len(seen) > 10
    assert seen[-1] == pytest.approx(truth, abs=0.03)


# ---- the simulated forest


def in_forest(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> ProcessTree:
    def slurp(path: str, size: int = 0) -> bytes:
        return forest.file(path)

    monkeypatch.setattr(linux_processes, "_slurp", slurp)
    monkeypatch.setattr(linux_processes, "_ROUNDING_TICKS", 0)  # the forest's ticks are exact
    monkeypatch.setattr(ProcessTree, "_listing", lambda _: forest.listing())
    context = Context(run_token="token")
    context.watch(ROOT)
    return ProcessTree(context)


@pytest.mark.parametrize("reaping", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_between_two_files_nothing_is_counted_twice(
    reaping: bool, seed: int, monkeypatch: pytest.MonkeyPatch
):
    forest = Forest(random.Random(seed), reaping)
    tree = in_forest(forest, monkeypatch)
    last = 0
    for _ in range(60):
        ticks = tree.read()[0]
        assert ticks is not None
        assert last <= ticks <= forest.total()
        last = ticks
    assert last > 0


def test_all_is_found_when_parents_wait_and_outlive_their_children(monkeypatch: pytest.MonkeyPatch):
    class Orderly(Forest):
        def _end(self, process: Any) -> None:
            if not any(child.parent == process.pid for child in self.alive.values()):
                super()._end(process)

    for seed in range(40):
        forest = Orderly(random.Random(seed))
        tree = in_forest(forest, monkeypatch)
        for _ in range(40):
            tree.read()
        forest.step = lambda: None  # type: ignore[method-assign]  # and now it stands still
        assert [tree.read()[0] for _ in range(2)][-1] == forest.total()


def test_a_number_given_to_another_process_is_not_a_member(tmp_path: Path):
    def write(pid: int, parent: int, start: int, ticks: int) -> None:
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        (tmp_path / str(pid) / "stat").write_text(
            f"{pid} (x) S {parent} 1 1 0 -1 0 7 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} 4096 1 0 0\n"
        )

    context = Context(proc_root=str(tmp_path))
    context.watch(10)
    write(10, 1, 1000, 5)
    write(11, 10, 1001, 7)
    tree = ProcessTree(context)
    assert Values(*tree.read())[::3] == (12, 2)
    write(11, 1, 2000, 400)
    assert [Values(*tree.read())[::3] for _ in range(3)] == [(12, 1)] * 3


def test_the_backend_gives_the_values_asked_for(start: Start):
    app = start("say('up'); wait()")
    app.line()
    backend = ProcessesBackend()
    sensors = {sensor.quantity: sensor for sensor in backend.find(app.context).sensors}
    reader = backend.open([sensors["processes"], sensors["memory_rss"]], app.context)
    count, rss = reader.read()
    assert count == 1
    assert rss == pytest.approx(psutil.Process(app.process.pid).memory_info().rss, rel=0.01)
    reader.close()
