"""The host's claim and roll, held and lost by real processes. Pipes synchronise them, never time."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perun_like.launch.claim import Claim, Roll, all_gone, job_directory

HELPER = """
import os, sys
from perun_like.launch.claim import Claim, Roll, all_gone
claim, roll = Claim(sys.argv[1]), Roll(sys.argv[1])
def take():  # of a dying holder's descriptors the pipe is closed first
    while not claim.try_take():
        pass
    return "taken"
def heir():
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, sys.argv[1] + "/stop", os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, fd, 100 + fd) for fd in claim.fds)])
    return pid
for line in sys.stdin:
    print(eval(line), flush=True)
"""

POLL_S = 20.0


class Process:
    """Another process; each call evaluates an expression there."""

    def __init__(self, directory: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", HELPER, directory], text=True, **pipes)  # type: ignore[call-overload]
        self.pid: int = self._process.pid

    def tell(self, expression: str) -> None:
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()

    def hear(self, limit_s: float = POLL_S) -> str:
        assert select.select([self._process.stdout], [], [], limit_s)[0], "no answer"
        return str(self._process.stdout.readline().strip())

    def __call__(self, expression: str) -> str:
        self.tell(expression)
        return self.hear()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        self._process.stdin.close()
        self._process.stdout.close()


Start = Callable[[], Process]


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return job_directory(str(tmp_path), "host", "job")


@pytest.fixture
def start(directory: str) -> Iterator[Start]:
    made: list[Process] = []

    def one() -> Process:
        made.append(Process(directory))
        return made[-1]

    yield one
    for process in made:
        process.close()


def test_one_process_has_it(start: Start, directory: str) -> None:
    a, b, ours = start(), start(), Claim(directory)
    assert a("claim.try_take()") == "True"
    assert a("claim.try_take()") == "True"
    assert b("claim.try_take()") == "False"
    assert not ours.try_take()
    assert ours.fds == ()
    a("claim.close()")
    assert ours.try_take()
    assert b("claim.try_take()") == "False"
    ours.close()
    assert b("claim.try_take()") == "True"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_holder_s_death_is_heard_and_its_claim_is_free(start: Start, number: int) -> None:
    holder, *others = [start() for _ in range(4)]
    assert holder("claim.try_take()") == "True"
    for other in others:
        other("globals().update(ends=[claim.end_fd()])")
        other.tell("all_gone(ends, 20)")
    holder.kill(number)
    assert [other.hear() for other in others] == ["True"] * 3
    assert [others[0]("take()"), others[1]("claim.try_take()"), others[2]("claim.try_take()")] == [
        "taken",
        "False",
        "False",
    ]


def test_nobody_s_claim_has_no_end(start: Start, directory: str) -> None:
    ours = Claim(directory)
    assert ours.end_fd() is None
    holder = start()
    assert holder("claim.try_take()") == "True"
    end = ours.end_fd()
    assert end is not None
    holder.kill()
    assert ours.end_fd() is None
    assert all_gone([end], 0)


def test_all_of_several_are_waited_for(start: Start, directory: str) -> None:
    holder, rank = start(), start()
    assert holder("claim.try_take()") == "True"
    rank("roll.enter(0)")
    claim_end = Claim(directory).end_fd()
    assert claim_end is not None
    ends = [claim_end, Roll(directory).end_fd()]
    assert not all_gone(ends, 0)
    holder.kill()
    assert not all_gone(ends, 0.05)
    assert len(ends) == 1
    rank.kill()
    assert all_gone(ends, POLL_S)
    assert ends == []


def test_the_claim_lives_with_who_inherited_it(start: Start, directory: str) -> None:
    """The profiler that took it may go: the sampler that it started still samples."""
    os.mkfifo(f"{directory}/stop")
    holder, other, ours = start(), start(), Claim(directory)
    assert holder("claim.try_take()") == "True"
    holder.tell("heir()")
    stop = os.open(f"{directory}/stop", os.O_WRONLY)  # when the heir has opened it
    heir = os.pidfd_open(int(holder.hear()))
    holder("claim.close()")
    holder.kill()
    assert other("claim.try_take()") == "False"
    assert not ours.try_take()
    other("globals().update(ends=[claim.end_fd()])")
    other.tell("all_gone(ends, 20)")
    os.close(stop)  # the end of cat's input
    assert select.select([heir], [], [], POLL_S)[0]
    os.close(heir)
    assert other.hear() == "True"
    assert other("take()") == "taken"


def test_the_roll_has_those_that_live_with_their_notes(start: Start, directory: str) -> None:
    ours = Roll(directory)
    assert ours.ranks_alive() == {}
    a, b, c = start(), start(), start()
    a("roll.enter(0, 'first/marks')")
    b("roll.enter(7, 'Grüße')")
    c("roll.enter(12)")
    assert ours.ranks_alive() == {0: "first/marks", 7: "Grüße", 12: ""}
    assert a("sorted(roll.ranks_alive())") == "[0, 7, 12]"
    b.kill()
    assert ours.ranks_alive() == {0: "first/marks", 12: ""}
    a("roll.leave()")
    assert ours.ranks_alive() == {12: ""}
    a("roll.enter(0, '2nd')")
    assert ours.ranks_alive() == {0: "2nd", 12: ""}


def test_the_last_rank_s_end_is_heard(start: Start, directory: str) -> None:
    roll, heard = Roll(directory), select.poll()
    a, b = start(), start()
    a("roll.enter(0)")
    b("roll.enter(1)")
    end = roll.end_fd()
    heard.register(end, 0)
    assert heard.poll(0) == []
    a("roll.leave()")
    assert heard.poll(0) == []
    b.kill()
    assert heard.poll(POLL_S * 1000) == [(end, select.POLLHUP)]
    os.close(end)


def test_jobs_and_hosts_have_their_own_directories(tmp_path: Path) -> None:
    ids = [
        "a",
        "a b",
        "a_20_b",
        "a/b",
        "../a",
        "",
        ".",
        "Ünï",
        "x" * 300,
        "x" * 301,
        "a\udc80",
        "hydra kvs_4752_0_1_vm",
    ]
    made = {job_directory(str(tmp_path), host, job) for host in ("host", "host a") for job in ids}
    assert len(made) == 2 * len(ids)
    for path in made:
        assert os.path.dirname(path) == str(tmp_path)
        assert job_directory(*args_of(path, tmp_path, ids)) == path
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    claims = [Claim(path) for path in made]
    assert all(claim.try_take() for claim in claims)
    for claim in claims:
        claim.close()


def args_of(path: str, ours: Path, ids: list[str]) -> tuple[str, str, str]:
    """The arguments that gave a path."""
    pairs = [(host, job) for host in ("host", "host a") for job in ids]
    return next((str(ours), *pair) for pair in pairs if job_directory(str(ours), *pair) == path)


def test_what_is_held_is_not_inherited_unasked(directory: str) -> None:
    claim, roll = Claim(directory), Roll(directory)
    assert claim.try_take()
    roll.enter(0)
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in (*claim.fds, *roll._fds))
    claim.close()
    roll.leave()
