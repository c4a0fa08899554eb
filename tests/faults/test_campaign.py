"""Every kind of fault once, at a moment that is another one each time; a failure says how to repeat it.

And the campaign itself: nothing of the machine can be written by it, one bad try doesn't end it, and what was tried is
told however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults import campaign, isolation
from faults.catalogue import FAULTS
from faults.checks import Outcome
from faults.table import BEGIN, END, table
from faults.worker import PROGRAM, Worker, reason_not_apart

LIMIT_S = 600
# It takes a minute to come, and what happens then is what happens at other moments.
LEFT_OUT = ("host lost at the worst moment",)


@pytest.fixture(scope="session")
def apart() -> None:
    """Skip where the kernel doesn't let us make namespaces."""
    reason = reason_not_apart()
    if reason:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)


def test_no_fault_loses_hangs_orphans_or_changes_anything() -> None:
    count = len(FAULTS) - len(LEFT_OUT)
    without = [word for name in LEFT_OUT for word in ("--without", name)]
    command = [*PROGRAM, "--jobs", "4", "--count", str(count), *without]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} tries in " in done.stdout


PROBE = """
import errno, os, sys
sys.path[0] = {tests!r}
from faults import isolation
isolation.enter()
for directory in {directories!r}:
    try:
        open(os.path.join(directory, "perun-probe"), "w").close()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        sys.exit(f"{{directory}} can be written")
assert not os.path.exists({secret!r})
for directory in isolation.WRITABLE:
    open(os.path.join(directory, "perun-probe"), "w").close()
print("kept apart,", len([name for name in os.listdir("/proc") if name.isdigit()]), "processes")
"""


def test_a_worker_can_write_nothing_of_the_machine_and_sees_none_of_its_processes(apart: None, tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    directories = ["/etc", "/usr", "/root", "/home", "/var/tmp", "/sys/fs/cgroup", "/", str(tests), sys.prefix]
    (tmp_path / "secret").touch()
    source = PROBE.format(
        tests=str(tests),
        directories=[path for path in directories if os.path.isdir(path)],
        secret=str(tmp_path / "secret"),
    )
    command = [*isolation.COMMAND, sys.executable, "-c", source]
    environ = {**os.environ, **isolation.environ([])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "kept apart, 2 processes\n", done.stderr
    assert not any(os.path.exists(f"{path}/perun-probe") for path in [*directories, *isolation.WRITABLE])


def test_who_shares_the_machine_s_mounts_does_not_go_on() -> None:
    environ = {**os.environ, **isolation.environ([])}
    done = subprocess.run([*PROGRAM, "--probe"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "shares its mounts or its memory" in done.stderr


def test_without_a_place_apart_what_could_do_harm_is_not_tried() -> None:
    tries = [("output directory removed", 1), ("kill -9 of the application", 2)]
    outcomes = {outcome.fault: outcome for outcome in campaign.run(tries, 1, "no place apart")}
    assert outcomes["output directory removed"].unavailable == "no place apart"
    assert not outcomes["kill -9 of the application"].unavailable
    assert not outcomes["kill -9 of the application"].problems


def test_a_worker_that_dies_costs_its_try_and_no_other() -> None:
    worker = Worker("no place apart")
    try:
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.attempt("kill -9 of the application", 1).failed
        assert not worker.attempt("kill -9 of the application", 2).problems
    finally:
        worker.close()


def test_an_interrupted_campaign_writes_what_it_has_tried(tmp_path: Path) -> None:
    document = tmp_path / "table.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    command = [*PROGRAM, "--only", "kill -9 of the application", "--count", "500", "--jobs", "1"]
    process = subprocess.Popen([*command, "--table", document], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "lacking" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| kill -9 of the application |" in text
    assert "old" not in text


def test_the_table_counts_tries_that_went_wrong_and_tells_what_was_not_tried() -> None:
    first, second, *_ = FAULTS
    outcomes = [
        Outcome(first, 1, lost=["a", "b"], loss_s=0.25),
        Outcome(first, 2, hung=["a"], loss_s=0.5),
        Outcome(first, 3),
        Outcome(first, 4, failed="Traceback"),
        Outcome(second, 5, unavailable="there is no C compiler"),
    ]
    lines = table(outcomes).splitlines()
    assert lines[2] == f"| {first} | 3 | 1 | 1 | 0 | 0 | 0 | 0.50 s |"
    assert lines[3] == "| **all 1** | 3 | 1 | 1 | 0 | 0 | 0 | 0.50 s |"
    assert f"Not tried: {second}: there is no C compiler" in lines
    assert lines[-1].endswith(": 1")
