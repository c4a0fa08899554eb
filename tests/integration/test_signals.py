"""Signals, terminals and kills: what reaches the program, how we end, and what is left."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import PERUN, Run

import perun_like
from perun_like.model.node import NodeType
from perun_like.sampling.spool_reader import frames
from perun_like.store.reader import read_recording

Script = Callable[[str], str]
WAITS = "import signal, sys; print('ready', flush=True); signal.pause()\n"


@pytest.fixture
def started(tmp_path: Path, clean_environ: dict[str, str]) -> Callable[..., Any]:
    """Start ``perun-like profile`` and wait until its program says that it is ready."""

    @contextmanager
    def start(source: str, *options: str, **kwargs: Any) -> Iterator[subprocess.Popen[str]]:
        (tmp_path / "script.py").write_text(source)
        command = [PERUN, "profile", *options, "script.py"]
        arguments: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=tmp_path, env=clean_environ, **{**arguments, **kwargs})
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.communicate()

    return start


def children_of(process: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """The watched program and the sampling process."""
    children = {"script.py" in child.cmdline(): child for child in psutil.Process(process.pid).children()}
    return children[True], children[False]


def result_in(directory: Path) -> perun_like.DataNode:
    (path,) = directory.glob("perun_results/script/*.h5")
    return perun_like.load(str(path))


def test_a_signal_sent_to_us_alone_reaches_the_program(started: Callable[..., Any], tmp_path: Path) -> None:
    source = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(9))\n" + WAITS
    with started(source) as process:
        os.kill(process.pid, signal.SIGUSR1)
        _, report = process.communicate(timeout=30)
        assert process.returncode == 9
        assert report.splitlines()[-1].endswith(".h5")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM])
def test_we_end_by_the_signal_that_ended_the_program(
    started: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    source = "import signal, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    with started(source + f"signal.signal({int(number)}, signal.SIG_DFL)\n" + WAITS) as process:
        os.kill(process.pid, number)
        process.communicate(timeout=30)
        assert process.returncode == -number
    (run,) = result_in(tmp_path).find(NodeType.RUN)
    assert run.metadata["signal"] == number


def test_the_terminal_s_interrupt_is_seen_once(tmp_path: Path, clean_environ: dict[str, str]) -> None:
    (tmp_path / "script.py").write_text(
        "import signal\nboth = {signal.SIGINT}\nsignal.pthread_sigmask(signal.SIG_BLOCK, both)\n"
        "print('ready', flush=True)\n"
        "signal.sigwait(both)\nprint('a second one:', signal.sigtimedwait(both, 0.3))\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(PERUN, [PERUN, "profile", "script.py"], clean_environ)
    screen = b""
    while b"ready" not in screen:
        screen += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    while chunk := _read(terminal):
        screen += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"a second one: None" in screen
    assert b".h5" in screen.splitlines()[-1]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # the other end has closed
        return b""


def await_status(process: psutil.Process, status: str) -> None:
    """Wait until somebody else's process is in a state: of a group not all get a signal at one instant."""
    deadline = time.monotonic() + 10
    while process.status() != status:
        assert time.monotonic() < deadline, process.status()


def test_a_stopped_group_stops_and_continues_as_one(started: Callable[..., Any], tmp_path: Path) -> None:
    source = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(0))\n" + WAITS
    with started(source, start_new_session=True) as process:
        child, _ = children_of(process)
        os.killpg(process.pid, signal.SIGSTOP)
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED) is not None
        await_status(child, psutil.STATUS_STOPPED)
        os.killpg(process.pid, signal.SIGCONT)
        os.kill(child.pid, signal.SIGUSR1)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_we_stop_with_a_program_that_stops_itself(started: Callable[..., Any]) -> None:
    source = "import os, signal\nprint('ready', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)\nprint('on again')\n"
    with started(source) as process:
        stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert stopped is not None
        assert stopped.si_status == signal.SIGSTOP
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=30)[0] == "on again\n"
        assert process.returncode == 0


def test_we_go_on_with_a_program_that_only_was_continued(started: Callable[..., Any]) -> None:
    source = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(0))\n" + WAITS
    with started(source) as process:
        child, _ = children_of(process)
        child.suspend()
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED) is not None
        child.resume()
        child.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_terminal_that_we_lead_ends_the_program_with_it(started: Callable[..., Any], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def lead() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with started(WAITS, stdin=theirs, start_new_session=True, preexec_fn=lead) as process:
        os.close(theirs)
        os.close(ours)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGHUP
    (run,) = result_in(tmp_path).find(NodeType.RUN)
    assert run.metadata["signal"] == signal.SIGHUP


def test_a_sampler_that_was_stopped_is_woken_at_the_end(started: Callable[..., Any], tmp_path: Path) -> None:
    source = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(0))\n" + WAITS
    with started(source) as process:
        child, sampler = children_of(process)
        sampler.suspend()
        child.send_signal(signal.SIGUSR1)
        _, report = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "sampling process" not in report
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    assert read_recording(str(path)).hosts[0].cut is None


def test_the_program_dies_with_us_and_nothing_is_lost(started: Callable[..., Any], perun: Run, tmp_path: Path) -> None:
    with started(WAITS, "--run-id", "cut") as process:
        child, sampler = children_of(process)
        os.kill(process.pid, signal.SIGKILL)
        assert psutil.wait_procs([child, sampler], timeout=5)[1] == []
    parts = tmp_path / "perun_results/script/cut.parts"
    recovered = perun("recover", str(parts))
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout.strip().endswith("cut.h5")
    assert not parts.exists()
    (run,) = result_in(tmp_path).find(NodeType.RUN)
    assert run.metrics["runtime_s"].value > 0
    again = perun("report", str(tmp_path / "perun_results/script/cut.h5"))
    assert "the profiler was killed" in again.stdout


def test_the_program_outlives_the_sampler_and_the_report_says_so(started: Callable[..., Any], tmp_path: Path) -> None:
    source = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(4))\n" + WAITS
    with started(source) as process:
        child, sampler = children_of(process)
        sampler.kill()
        child.send_signal(signal.SIGUSR1)
        _, report = process.communicate(timeout=30)
        assert process.returncode == 4
        assert "sampling process" in report
    (run,) = result_in(tmp_path).find(NodeType.RUN)
    assert run.metadata["exit_code"] == 4


def test_killing_the_whole_group_leaves_readable_parts(started: Callable[..., Any], perun: Run, tmp_path: Path) -> None:
    with started(WAITS, "--run-id", "cut", start_new_session=True) as process:
        _, sampler = children_of(process)
        os.killpg(process.pid, signal.SIGKILL)
        assert psutil.wait_procs([sampler], timeout=5)[1] == []
    assert perun("recover", "perun_results/script/cut.parts").returncode == 0


def test_killing_everything_leaves_readable_parts(started: Callable[..., Any], perun: Run, tmp_path: Path) -> None:
    with started("from perun_like import region\nregion('r').__enter__()\n" + WAITS, "--run-id", "cut") as process:
        child, sampler = children_of(process)
        sampler.kill()
        child.kill()
        process.kill()
        process.wait()
    local = local_directory(tmp_path / "perun_results/script/cut.parts")
    assert local.is_dir()
    assert shared_memory_of(child) == 1
    assert perun("recover", "perun_results/script/cut.parts").returncode == 0
    (run,) = result_in(tmp_path).find(NodeType.RUN)
    assert [region.name for region in run.regions] == ["r"]
    assert not local.exists()
    assert shared_memory_of(child) == 0


def test_what_lost_its_name_and_its_sampler_is_removed_by_the_next_run(
    started: Callable[..., Any], perun: Run, script: Callable[[str], str]
) -> None:
    deletes = "import os, shutil\nfrom perun_like import region\nwith region('r'): pass\n"
    deletes += "shutil.rmtree(os.path.dirname(os.environ['PERUN_RUN']))\n"
    with started(deletes + WAITS) as process:
        child, sampler = children_of(process)
        sampler.kill()
        child.kill()
        process.kill()
        process.wait()
    assert psutil.wait_procs([child], timeout=5)[1] == []
    assert shared_memory_of(child) == 1
    assert perun("profile", script("print('next')")).returncode == 0
    assert shared_memory_of(child) == 0


def shared_memory_of(process: psutil.Process) -> int:
    """How many segments there are that a process has made."""
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return sum(int(row.split()[4]) == process.pid for row in rows)


def local_directory(parts: Path) -> Path:
    """Where a sampler kept its newest samples, from its part."""
    (part,) = parts.glob("*.part")
    return Path(json.loads(next(frames(str(part))).payload)["local"])


def test_a_full_disk_and_a_killed_sampler_lose_nothing(started: Callable[..., Any], perun: Run, tmp_path: Path) -> None:
    # The directory of results is replaced by a file while the program runs: nothing can be saved there any more.
    source = (
        "import os, signal, sys\nos.rename('perun_results/script', 'aside')\n"
        "open('perun_results/script', 'w').close()\n"
        "signal.signal(signal.SIGUSR1, lambda *a: sys.exit(0))\n"
    )
    with started(source + WAITS, "--run-id", "cut") as process:
        child, sampler = children_of(process)
        sampler.kill()
        child.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "could not be saved" in said
    recovered = perun("recover", "aside/cut.parts")
    assert recovered.returncode == 0, recovered.stderr
    recording = read_recording(str(tmp_path / "aside/cut.h5"))
    assert sum(len(stream.t0_ns) for stream in recording.hosts[0].streams) > 0


def test_a_run_in_progress_is_not_recovered(started: Callable[..., Any], perun: Run) -> None:
    with started(WAITS, "--run-id", "on"):
        refused = perun("recover", "perun_results/script/on.parts")
        assert refused.returncode == 1
        assert "still being written" in refused.stderr


def test_a_background_job_of_a_shell_ignores_the_interrupt_as_before(
    perun: Run, script: Script, tmp_path: Path
) -> None:
    script("import signal; print(signal.getsignal(signal.SIGINT))")
    line = f"{PERUN} profile --no-report script.py & wait"
    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout == "1\n"  # SIG_IGN
