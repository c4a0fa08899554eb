"""Programs that do what they please while they measure themselves: they must not notice, nor lose what was measured."""

from __future__ import annotations

import errno
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PYTHON, Run

import perun_like
from perun_like.model.node import NodeType
from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording

Ended = subprocess.CompletedProcess[str]
Python = Callable[..., Ended]

WORK = "from perun_like import profile, region\n@profile\ndef work(n=10**6): return sum(range(n))\n"
SUM = str(sum(range(10**6)))


@pytest.fixture
def python(tmp_path: Path, clean_environ: dict[str, str]) -> Python:
    """Run a program as ``python script.py``, without us in front of it."""

    def run(source: str, **options: object) -> Ended:
        (tmp_path / "script.py").write_text(source)
        given = {"cwd": tmp_path, "env": clean_environ, "timeout": 60, "text": True, "capture_output": True}
        command = [PYTHON, "script.py"]
        return subprocess.run(command, check=False, **{**given, **options})  # type: ignore[call-overload,no-any-return]

    return run


def measured(tmp_path: Path) -> dict[str, Recording]:
    """Everything that was saved, by name, after a look that nothing was left behind."""
    assert not list(tmp_path.rglob("*.parts"))
    return {path.parent.name: read_recording(path) for path in tmp_path.rglob("*.h5")}


def rounds(recording: Recording) -> int:
    return len(recording.hosts[0].rounds[0].start_ns)


def test_files_that_got_the_numbers_of_our_descriptors_are_written_to_the_end(python: Python, tmp_path: Path) -> None:
    ended = python(
        WORK + "import os\nwork()\nos.closerange(3, 100)\n"
        "files = [open(f'mine{i}', 'w') for i in range(12)]\nfor file in files: file.write('mine')\n"
    )
    assert ended.returncode == 0
    assert [path.read_text() for path in tmp_path.glob("mine*")] == ["mine"] * 12
    assert "Bad file descriptor" not in ended.stderr


def test_standard_input_that_is_closed_is_no_pipe_of_ours(python: Python, tmp_path: Path) -> None:
    ended = python(
        "import os\nos.close(0)\n" + WORK + "work()\ntry: os.fstat(0)\nexcept OSError as error: print(error.errno)\n"
    )
    assert ended.stdout == f"{errno.EBADF}\n", ended.stderr
    assert rounds(measured(tmp_path)["work"]) == 1


def test_a_handler_of_children_s_ends_is_called_for_the_program_s_own(python: Python) -> None:
    ended = python(
        "import os, signal\nstatuses = []\n"
        "def reap(*args):\n"
        "    try:\n"
        "        while (found := os.waitpid(-1, os.WNOHANG))[0]: statuses.append(found[1])\n"
        "    except ChildProcessError: pass\n"
        "    calls.append(1)\n"
        "calls = []\nsignal.signal(signal.SIGCHLD, reap)\n" + WORK + "work(10)\nprint(calls, statuses)\n"
        "with profile('b'):\n"
        "    os.spawnlp(os.P_NOWAIT, 'false', 'false')\n    while not statuses: pass\n"
        "print(statuses, len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))\n"
        "import atexit\natexit.register(lambda: None)\n"
        "from perun_like.inplace import session\n"
        "end = session.sessions.finish\natexit.unregister(end)\natexit.register(lambda: print(len(calls)))\n"
        "atexit.register(end)\n"
    )
    assert ended.stdout == "[] []\n[256] 0\n1\n", ended.stderr


def test_a_child_of_the_program_s_that_ends_meanwhile_is_told_of(python: Python) -> None:
    ended = python(
        "import os, signal\nfrom perun_like.inplace.surroundings import undisturbed\ncalls = []\n"
        "signal.signal(signal.SIGCHLD, lambda *args: calls.append(1))\n"
        "with undisturbed():\n"
        "    ours = os.spawnlp(os.P_NOWAIT, 'true', 'true')\n    theirs = os.spawnlp(os.P_NOWAIT, 'true', 'true')\n"
        "    os.waitpid(ours, 0); os.waitid(os.P_PID, theirs, os.WEXITED | os.WNOWAIT)\n"
        "    assert not calls\n"
        "print(calls, os.waitpid(theirs, 0)[1])\n"
    )
    assert ended.stdout == "[1] 0\n", ended.stderr


def test_an_interrupt_while_the_sampler_starts_leaves_nothing_behind(python: Python, tmp_path: Path) -> None:
    ended = python(
        WORK + "from perun_like.inplace import session\nreal = session.chosen_specs\n"
        "def interrupted(*args):\n    session.chosen_specs = real\n    raise KeyboardInterrupt\n"
        "session.chosen_specs = interrupted\n"
        "try: work()\nexcept KeyboardInterrupt: print('interrupted')\n"
        "print(work())\nwith profile('block') as block: work()\nprint(block.energy_j > 0)\n"
    )
    assert ended.stdout == f"interrupted\n{SUM}\nTrue\n", ended.stderr
    assert {name: rounds(recording) for name, recording in measured(tmp_path).items()} == {"work": 1, "block": 1}


def test_what_a_task_calls_after_the_call_that_made_it_is_no_part_of_that(python: Python, tmp_path: Path) -> None:
    ended = python(
        "import asyncio\n" + WORK + "async def later(go):\n    await go.wait()\n    return work()\n"
        "@profile\nasync def starts(go):\n    work(10)\n    return asyncio.create_task(later(go))\n"
        "async def main():\n    go = asyncio.Event()\n    task = await starts(go)\n"
        "    go.set()\n    return await task\n"
        "print(asyncio.run(main()))\n"
    )
    assert ended.stdout == f"{SUM}\n", ended.stderr
    found = measured(tmp_path)
    assert {name: rounds(recording) for name, recording in found.items()} == {"work": 1, "starts": 1}
    (path,) = tmp_path.glob("perun_results/starts/*.h5")
    assert [part.name for part in perun_like.load(path).find(NodeType.RUN)[0].regions] == ["work"]


def test_a_block_may_end_in_another_context_than_it_began(python: Python, tmp_path: Path) -> None:
    """As the two halves of an asynchronous fixture do."""
    ended = python(
        "import contextvars\n" + WORK + "block = profile('block')\n"
        "call = contextvars.copy_context().run(block.__enter__)\nwork()\n"
        "contextvars.copy_context().run(block.__exit__, None, None, None)\nprint(call.energy_j > 0)\n"
    )
    assert ended.stdout == "True\n", ended.stderr
    (of_block,) = measured(tmp_path)["block"].hosts[0].rounds
    assert of_block.failed.tolist() == [False]
    assert of_block.stop_ns[0] > measured(tmp_path)["work"].hosts[0].rounds[0].stop_ns[0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_time_that_stands_still_is_the_program_s_alone(python: Python, tmp_path: Path, when: str) -> None:
    """Tests that freeze time replace the clocks in all modules."""
    freeze = (
        "import sys, time\nnames = 'time', 'monotonic', 'monotonic_ns', 'perf_counter'\n"
        "clocks = {id(getattr(time, name)) for name in names}\n"
        "for module in list(sys.modules.values()):\n"
        "    for name, value in list(vars(module).items()):\n"
        "        if id(value) in clocks: setattr(module, name, lambda: 0)\n"
    )
    begins = WORK + "work(10)\n"
    program = freeze + begins if when == "before" else begins + freeze
    ended = python(program + "print(work(), time.monotonic_ns())\n")
    assert ended.stdout == f"{SUM} 0\n", ended.stderr
    (both,) = measured(tmp_path)["work"].hosts[0].rounds
    assert (np.diff([both.start_ns, both.stop_ns], axis=0) > 0).all()
    (path,) = tmp_path.glob("perun_results/work/*.h5")
    assert all(run.metrics["energy_j"].value for run in perun_like.load(path).find(NodeType.RUN))


@pytest.mark.parametrize("module", ["fcntl", "resource", "select"])
def test_a_file_that_hides_a_module_of_python_s_is_named(python: Python, tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("")
    ended = python(WORK + "print(work(), work())\nwith profile('block') as block: pass\nprint(block)\n")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{SUM} {SUM}\n<profile block: no result: nothing is measured: ")
    problem = f"nothing is measured: {tmp_path}/{module}.py hides Python's own module {module}: rename it"
    assert ended.stderr.count(problem) == 2  # once for each of the two


def test_a_file_of_the_program_s_does_not_take_the_place_of_numpy(python: Python, tmp_path: Path) -> None:
    for name in ("numpy", "h5py"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')\n")
    ended = python(WORK + "print(work())\n")
    assert ended.stdout == f"{SUM}\n", ended.stderr
    assert rounds(measured(tmp_path)["work"]) == 1


FEW_DESCRIPTORS = (
    WORK + "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))\nprint(work(), work())\n"
)


def test_without_descriptors_to_be_had_the_program_runs_on(python: Python, tmp_path: Path) -> None:
    for limit in (4, 6):
        ended = python(FEW_DESCRIPTORS.format(limit))
        assert (ended.returncode, ended.stdout) == (0, f"{SUM} {SUM}\n"), ended.stderr
        assert ended.stderr.count("perun-like: nothing is measured") == 1
    assert not [*tmp_path.rglob("*.h5"), *tmp_path.rglob("*.part")]


def test_with_too_few_descriptors_to_save_what_was_measured_can_be_recovered(
    python: Python, perun: Run, tmp_path: Path
) -> None:
    ended = python(FEW_DESCRIPTORS.format(8))
    assert (ended.returncode, ended.stdout) == (0, f"{SUM} {SUM}\n"), ended.stderr
    assert ended.stderr.count("perun-like: the results could not be saved: [Errno 24]") == 1
    until_s = time.monotonic() + 10  # the sampler goes on for a moment
    while perun("recover", "perun_results").returncode != 0:
        assert time.monotonic() < until_s
    assert rounds(measured(tmp_path)["work"]) == 2


def test_calls_at_python_s_very_end_do_what_they_did(python: Python) -> None:
    source = "class Last:\n    def __del__(self): print(work())\nlast = Last()\n"
    for before in ("", "work()\n"):
        ended = python(WORK + before + source)
        assert (ended.returncode, ended.stdout) == (0, f"{SUM}\n"), ended.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_results_are_saved(python: Python, tmp_path: Path, times: int) -> None:
    """Without us the program would have ended before it: the first one passes, a second one ends the waiting."""
    ended = python(
        WORK + "import os\nfrom perun_like.inplace import saver\nreal = saver.json.dump\n"
        f"def save(*args):\n    for _ in range({times}): os.kill(os.getpid(), 2)\n    return real(*args)\n"
        "work()\nsaver.json.dump = save\n"
    )
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    if times == 1:
        assert rounds(measured(tmp_path)["work"]) == 1
    else:
        assert "the results could not be saved: interrupted; what was sampled is in" in ended.stderr
        assert len(list(tmp_path.rglob("*.parts"))) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_saves_what_it_measured(python: Python, tmp_path: Path, method: str) -> None:
    ended = python(
        WORK + "import multiprocessing\nif __name__ == '__main__':\n"
        f"    process = multiprocessing.get_context('{method}').Process(target=work)\n"
        "    process.start(); process.join(); print(process.exitcode)\n"
    )
    assert ended.stdout == "0\n", ended.stderr
    assert rounds(measured(tmp_path)["work"]) == 1


@pytest.mark.parametrize("end", ["sys.exit(4)", "raise KeyboardInterrupt", "1 / 0"])
def test_a_callback_that_ends_itself_keeps_nobody_from_the_result(python: Python, tmp_path: Path, end: str) -> None:
    ended = python(
        WORK + "import sys\nfrom perun_like import register_callback\n"
        f"@register_callback\ndef ends(tree): {end}\n@register_callback\ndef other(tree): print('other')\nwork()\n"
    )
    assert (ended.returncode, ended.stdout) == (0, "other\n")
    (path,) = tmp_path.rglob("*.h5")
    assert str(path.relative_to(tmp_path)) in ended.stderr


def test_a_deleted_directory_is_told(python: Python) -> None:
    ended = python("import os\nos.mkdir('x'); os.chdir('x'); os.rmdir('../x')\n" + WORK + "print(work())\n")
    assert ended.stdout == f"{SUM}\n"
    assert "the current directory has been deleted" in ended.stderr
    assert "PERUN_OUTPUT" in ended.stderr


def test_a_wrong_setting_is_told_once_whatever_follows(python: Python, tmp_path: Path) -> None:
    (tmp_path / "perun.toml").write_text("country = 'Atlantis'\n")
    ended = python(WORK + "for _ in range(5): work(10)\nwith profile('block') as block: pass\nprint(block)\n")
    assert ended.stderr.count("nothing is measured: unknown country 'Atlantis'") == 2, ended.stderr
    assert "no result: nothing is measured: unknown country" in ended.stdout
    assert not (tmp_path / "perun_results").exists()


def test_a_region_shared_by_threads_and_entered_within_itself_pairs_up(python: Python, tmp_path: Path) -> None:
    ended = python(
        WORK + "from concurrent.futures import ThreadPoolExecutor\nshared = region('shared')\n"
        "def nested(n):\n    with shared:\n        if n: nested(n - 1)\n        sum(range(2000))\n"
        "with profile('block'):\n    with ThreadPoolExecutor(4) as pool: list(pool.map(nested, [3] * 50))\n"
    )
    assert ended.returncode == 0, ended.stderr
    (calls,) = measured(tmp_path)["block"].hosts[0].regions
    assert len(calls.start_ns) == 200
    for thread in np.unique(calls.thread):
        mine = calls.thread == thread
        order = np.argsort(calls.start_ns[mine])
        starts, stops = calls.start_ns[mine][order], calls.stop_ns[mine][order]
        assert (np.diff(stops.reshape(-1, 4), axis=1) < 0).all()  # who began later ended earlier: four at a time
        assert (stops > starts).all()


def test_what_is_wrong_with_the_use_of_it_is_said_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile: Any = perun_like.profile
    decorators: list[Any] = [perun_like.profile, perun_like.region]
    descriptors: list[Any] = [classmethod, staticmethod]
    for decorate, kind in itertools.product(decorators, descriptors):
        with pytest.raises(TypeError, match="directly above a function"):
            decorate(kind(len))
    with pytest.raises(perun_like.PerunError, match=r"profile\(…\): unknown country 'Atlantis'"):
        profile(country="Atlantis")
    with pytest.raises(perun_like.PerunError, match=r"profile\(…\): period: '5' is not a duration"):
        profile(period=5)
    monkeypatch.setenv("PERUN_RUN", str(tmp_path))  # as in a program that is watched from outside
    with profile("block") as block:
        pass
    with pytest.raises(AttributeError, match="'energy'; its figures are runtime_s, energy_j"):
        _ = block.energy
    assert block.energy_j is None
    assert block.metrics["energy_j"].upper is None
    assert "part of a whole" in (block.metrics["energy_j"].reason or "")


def test_settings_are_read_at_the_first_call_alone(python: Python, tmp_path: Path) -> None:
    """Looking for files takes longer than all the rest of a call: a block in a loop must not do it each time."""
    ended = python(
        WORK + "import os\nlooks = []\nreal = os.getcwd\n"
        "def getcwd():\n    looks.append(1)\n    return real()\n"
        "with profile('block') as first: pass\nos.getcwd = getcwd\n"
        "for _ in range(5):\n    with profile('block') as block: pass\n"
        "work(10)\nprint(looks, block.energy_j > 0)\n"
    )
    assert ended.stdout == "[] True\n", ended.stderr
    assert {name: rounds(recording) for name, recording in measured(tmp_path).items()} == {"block": 6, "work": 1}


def test_a_time_limit_that_strikes_within_ours_reaches_the_program(python: Python, tmp_path: Path) -> None:
    ended = python(
        "import os, signal, sys, perun_like\nfrom perun_like import profile\n"
        "OURS = os.path.dirname(perun_like.__file__)\n"
        "def strike(*_): raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, strike)\n"
        "@profile\ndef limited(): return 1\n"
        "def tried(wait):\n"
        # The interpreter looks for signals where a function begins, and when it comes back from one in C.
        "    def count(frame, event, _):\n"
        "        nonlocal wait\n"
        "        if event in ('call', 'c_return') and frame.f_code.co_filename.startswith(OURS):\n"
        "            wait -= 1\n"
        "            if wait == -1: signal.raise_signal(signal.SIGALRM)\n"
        "    sys.setprofile(count)\n"
        "    try: limited()\n"
        "    except TimeoutError: return 'arrived'\n"
        "    finally: sys.setprofile(None)\n"
        "    return 'lost' if wait < 0 else 'none'\n"
        "limited()\n"
        "found = []\n"
        "while 'none' not in found: found.append(tried(len(found)))\n"
        "limited()\n"
        "print(found.count('lost'), found.count('arrived'))\n"
    )
    assert ended.returncode == 0, ended.stderr
    lost, arrived = map(int, ended.stdout.split())
    assert lost == 0
    assert arrived > 5
    assert "nothing is measured" not in ended.stderr
    assert rounds(measured(tmp_path)["limited"]) >= 2
