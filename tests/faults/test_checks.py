"""Each check of the campaign finds what it looks for: it is shown something bad, made for it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from faults import processes
from faults.attempt import Surroundings, attempt
from faults.fault import Fault
from faults.machines import MACHINE
from faults.programs import program
from faults.trial import Trial
from perun_like.testing import Constant, FuseUnavailableError, Zone, simulated_powercap

SHORT = (0.2, 0.2)


@pytest.fixture(scope="module")
def around() -> Iterator[Surroundings]:
    """What faults are tried in that do no harm."""
    with suppress(FuseUnavailableError), simulated_powercap(MACHINE) as powercap:
        yield Surroundings(powercap)
        return
    yield Surroundings()


@dataclass(frozen=True)
class Bad:
    """Something bad, and the kind of problem that it is."""

    name: str
    kind: str
    does: Callable[[Trial], None]
    says: str
    program: str = program()
    ends_s: float = 5.0


def later(does: Callable[[Trial], None]) -> Callable[[Trial], None]:
    """Do something when the command has ended."""
    return lambda trial: trial.afterwards.append(lambda: does(trial))


def results(trial: Trial) -> list[Path]:
    return list(trial.directory.rglob("*.h5"))


def remove_results(trial: Trial) -> None:
    for path in results(trial):
        path.unlink()


def damage_results(trial: Trial) -> None:
    for path in results(trial):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)


def leave_damaged_part(trial: Trial) -> None:
    parts = trial.results / "app" / "other.parts"
    parts.mkdir()
    (parts / "host.part").write_bytes(b"damaged" * 100)


def strike_too_late(trial: Trial) -> None:
    trial.cuts = True
    trial.struck_ns += 10 * 10**9


def lose_the_end(trial: Trial) -> None:
    """As if the sampler, killed at the program's end, had lost all that the program did once it might go on."""
    trial.cuts = True
    trial.kill("sampler", after=lambda: None)
    (app,) = trial.apps
    processes.send(app, signal.SIGUSR1)
    trial.await_app()
    trial.struck_ns = time.monotonic_ns()


def lose_the_midst(trial: Trial) -> None:
    """The sampler reads nothing for as long as the program works once it might go on, and then again."""
    trial.kill("sampler", number=signal.SIGSTOP, after=lambda: None)
    (app,) = trial.apps
    processes.send(app, signal.SIGUSR1)


def leave_process(trial: Trial) -> None:
    if not trial.bare:
        process = subprocess.Popen(["sleep", "600"], env=trial.environ, start_new_session=True)
        trial.stack.callback(process.wait)


def leave_memory(trial: Trial) -> None:
    (Path(trial.environ["TMPDIR"]) / f"perun-{os.getuid()}" / "left").mkdir(parents=True)


def leave_file(trial: Trial) -> None:
    (trial.results / "app" / "run.h5.tmp").touch()


def other_truth(trial: Trial) -> None:
    assert trial.powercap is not None
    more = Zone("intel-rapl:9", "package-9", Constant(500))
    machine = replace(trial.powercap.machine, zones=(*trial.powercap.machine.zones, more))
    trial.powercap = replace(trial.powercap, machine=machine)


WATCHED = "'PERUN_RUN' in os.environ"
WAITS = program(
    "signal.sigwait({signal.SIGUSR1})\nwork(0.5)", "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})"
)
ALL_BAD = [
    Bad("no result", "lost", later(remove_results), "there is no result"),
    Bad("a damaged result", "lost", later(damage_results), "can't be read"),
    Bad("a part that can't be recovered", "lost", later(leave_damaged_part), "can't be recovered"),
    Bad("samples lacking at the end", "lost", strike_too_late, "have no samples"),
    Bad("samples of half a second lost", "lost", lose_the_end, "have no samples", WAITS),
    Bad("samples of half a second not taken", "lost", lose_the_midst, "was not read for", WAITS),
    Bad("a process left", "orphaned", leave_process, "a process: profiler"),
    Bad("host-local memory left", "orphaned", later(leave_memory), "host-local memory"),
    Bad("a temporary file left", "orphaned", later(leave_file), "a file beside the results"),
    Bad("another exit code", "changed", lambda trial: None, "code=3", program(f"work()\nif {WATCHED}: sys.exit(3)")),
    Bad("another output", "changed", lambda trial: None, "more", program(f"work()\nif {WATCHED}: print('more')")),
    Bad("no end", "hung", lambda trial: None, "still there", program(f"work()\nif {WATCHED}: time.sleep(600)"), 0.5),
    Bad("another truth", "wrong", other_truth, "the truth is"),
]


@pytest.mark.parametrize("bad", ALL_BAD, ids=lambda bad: bad.name.replace(" ", "-"))
def test_what_is_bad_is_found(around: Surroundings, bad: Bad, monkeypatch: pytest.MonkeyPatch) -> None:
    if bad.kind == "wrong" and around.powercap is None:
        pytest.skip("no counters can be simulated here: there is no FUSE")
    monkeypatch.setattr("faults.checks.GONE_S", 0.5)
    fault = Fault(bad.name, bad.does, bad.program, length_s=SHORT, ends_s=bad.ends_s)
    outcome = attempt(fault, 1, around)
    assert not outcome.failed
    assert any(bad.says in problem for problem in getattr(outcome, bad.kind)), outcome.problems
    assert outcome.problems


def test_a_program_that_nothing_happens_to_has_no_problems(around: Surroundings) -> None:
    outcome = attempt(Fault("nothing", length_s=SHORT), 1, around)
    assert outcome.problems == []
    assert outcome.loss_s == 0


def test_a_try_that_goes_wrong_by_itself_is_told_as_that(around: Surroundings) -> None:
    def fail(trial: Trial) -> None:
        raise ZeroDivisionError

    outcome = attempt(Fault("fails", fail, length_s=SHORT), 1, around)
    assert "ZeroDivisionError" in outcome.failed
    assert outcome.problems


def test_processes_of_others_are_not_found() -> None:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, processes.TOKEN: "theirs"}) as process:
        try:
            assert not list(processes.of_trial("mine"))
            assert [seen.pid for seen in processes.of_trial("theirs")] == [process.pid]
        finally:
            process.kill()


def test_nothing_is_removed_where_the_machine_can_be_written(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()

    def remove(trial: Trial) -> None:
        trial.remove(tmp_path / "results")

    outcome = attempt(Fault("removes", remove, length_s=SHORT), 1, around)
    assert "can be written" in outcome.failed
    assert (tmp_path / "results").is_dir()


GUARDED = """
import random, sys
from pathlib import Path
from faults import processes, storage
from faults.fault import Fault
from faults.trial import Trial
here = Path(sys.argv[1])
trial = Trial(Fault("any"), here / "own", random.Random(1), {processes.TOKEN: "token"})
apart = Trial(Fault("any"), here / "own", random.Random(1), {processes.TOKEN: "token"}, apart=True)
for does in (
    lambda: trial.remove(here / "own"),
    lambda: apart.remove(here / "theirs"),
    lambda: apart.remove(here / "own" / "link"),
    lambda: storage.mount(trial, here / "own", "nothing", "no such kind"),
    lambda: storage.fill(here),
    lambda: list(processes.of_trial("")),
):
    try:
        does()
    except Exception as error:
        print(type(error).__name__)
    else:
        print("no error")
"""


def test_nothing_of_others_is_touched_where_python_leaves_assertions_out(tmp_path: Path) -> None:
    for name in ("own", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "theirs")

    def can_fill_nothing() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    command = [sys.executable, "-O", "-c", GUARDED, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, preexec_fn=can_fill_nothing, timeout=60, check=False
    )
    assert done.stdout.split() == ["Harmful"] * 5 + ["ValueError"], done.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"own", "theirs", "link"}
