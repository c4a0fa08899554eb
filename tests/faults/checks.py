"""What is left after a fault, seen from outside: files, processes, memory, and how much is lacking at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import perun_like
from perun_like.model.node import DataNode, NodeType, Provenance
from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording
from perun_like.testing import SimulatedPowercap

from . import processes, segments
from .fault import Fate
from .trial import OURS, PERUN, Trial

GONE_S = 5.0  # how long anything of ours may outlive the command
RECOVERS_S = 30.0
MEASURED_J = "cpu_energy_j"
LONG_S = 0.05  # no power is so low that this gives less than a unit of energy


@dataclass
class Outcome:
    """What came of one try.

    Attributes:
        fault: Its name.
        seed: What it is repeated with.
        lost: Results that are unreadable or lack more than they may.
        hung: Commands that didn't end.
        orphaned: Processes, files and memory that were left behind.
        changed: How the application's end or output was another one than without us.
        wrong: Figures without the truth in their bounds, and missing ones that are 0.
        loss_s: How much is lacking before the moment until which there should be samples; None if nothing was due.
        unavailable: Why it could not be tried.
        failed: What went wrong with the campaign itself.
    """

    fault: str
    seed: int
    lost: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    loss_s: float | None = None
    unavailable: str = ""
    failed: str = ""

    @property
    def problems(self) -> list[str]:
        """All that must not be."""
        kinds = {k: v for k, v in asdict(self).items() if isinstance(v, list)}
        told = [f"{kind}: {problem}" for kind, found in kinds.items() for problem in found]
        return [*told, f"the campaign itself: {self.failed}"] if self.failed else told


def examine(trial: Trial, ended: Fate, bare: Fate, outcome: Outcome) -> None:
    """Look at everything that a trial has left, and recover what can be recovered."""
    if trial.hung:
        outcome.hung.append(f"the command was still there {trial.fault.ends_s:g} s after its program's time")
    elif not _is_alike(trial, ended, bare):
        outcome.changed.append(f"{ended} in place of {bare}; standard error: {trial.text('err')[-1500:]}")
    for left in processes.left_over(trial.token, trial.app, GONE_S):
        outcome.orphaned.append(f"a process: {left.role} {left.pid} {left.command}")
    processes.kill_all(trial.token)
    for action in trial.afterwards:
        action()
    _recover(trial, outcome)
    _look_at_results(trial, outcome)
    outcome.orphaned += [f"host-local memory: {_tree(path)}" for path in host_local(trial) if not _is_spent(path)]
    outcome.orphaned += [f"shared memory: {line}" for line in segments.left()] if trial.apart else []
    outcome.orphaned += [f"a file beside the results: {path}" for path in sorted(trial.results.rglob("*.tmp"))]


def _is_alike(trial: Trial, ended: Fate, bare: Fate) -> bool:
    same_output = not trial.fault.output or ended.output == bare.output
    return same_output and ended.code in (bare.code, *trial.fault.codes)


def host_local(trial: Trial) -> list[Path]:
    """What is left in the worker's own memory, and among this trial's temporary files."""
    roots = [Path(OURS)] if trial.apart else []  # else others have theirs there
    roots.append(Path(trial.environ["TMPDIR"], Path(OURS).name))
    return [entry for root in roots if root.is_dir() for entry in root.iterdir()]


def _is_spent(path: Path) -> bool:
    """Whether this is all that a job keeps for a while, to tell its runs apart: a later job removes it."""
    return path.name.startswith("job_") and not any(entry.is_dir() for entry in path.iterdir())


def _tree(path: Path) -> str:
    return ", ".join(map(str, [path, *sorted(path.rglob("*"))]))


def _recover(trial: Trial, outcome: Outcome) -> None:
    """One command makes a file of what was left, and again does no harm."""
    for parts in sorted(trial.directory.rglob("*.parts")):
        done = recover(trial, parts)
        if done.returncode == 0:
            files = _files(trial)
            again = recover(trial, parts)
            if "Traceback" in again.stderr or files != _files(trial):
                outcome.lost.append(f"recovering twice does harm: {again}")
        elif trial.app is not None or "Traceback" in done.stderr:
            outcome.lost.append(f"can't be recovered: {done.stderr}")


def _files(trial: Trial) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in trial.directory.rglob("*.h5")}


def recover(trial: Trial, parts: Path) -> subprocess.CompletedProcess[str]:
    """``perun-like recover``, in the trial's directory."""
    environ = {**trial.environ, processes.TOKEN: ""}
    command = [PERUN, "recover", str(parts)]
    return subprocess.run(
        command, cwd=trial.directory, env=environ, capture_output=True, text=True, timeout=RECOVERS_S, check=False
    )


def _look_at_results(trial: Trial, outcome: Outcome) -> None:
    paths = sorted(trial.directory.rglob("*.h5"))
    if not paths and trial.app is not None and trial.fault.samples:
        outcome.lost.append(f"there is no result; standard error: {trial.text('err')[-1500:]}")
    for path in paths:
        try:
            tree, recording = perun_like.load(str(path)), read_recording(str(path))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file is what is looked for
            outcome.lost.append(f"{path.name} can't be read: {error!r}")
            continue
        _look_at_samples(trial, recording, outcome)
        _look_at_gaps(trial, recording, outcome)
        if trial.powercap is not None:
            known = trial.fault.truth and trial.fault.samples
            outcome.wrong += _untrue(tree, recording, trial.powercap if known else None)
            outcome.wrong += trial.fault.look(tree, recording)


def _look_at_samples(trial: Trial, recording: Recording, outcome: Outcome) -> None:
    """How much time before the moment that counts is not covered."""
    if not trial.fault.samples:
        return
    last_ns = [max((int(s.t1_ns[-1]) for s in host.streams if len(s.t1_ns)), default=0) for host in recording.hosts]
    until_ns = trial.struck_ns if trial.cuts else recording.window_ns[1]
    if min(last_ns, default=0) == 0:
        last_ns = [recording.window_ns[0]]
        if trial.fault.most_lost_s <= trial.length_s and trial.app is not None:
            outcome.lost.append("there are no samples")
    outcome.loss_s = max(0.0, (until_ns - min(last_ns)) / 1e9)
    if outcome.loss_s > trial.fault.most_lost_s:
        outcome.lost.append(f"the last {outcome.loss_s:.3f} s have no samples")


def _look_at_gaps(trial: Trial, recording: Recording, outcome: Outcome) -> None:
    """Whether there is time between the program's start and the last sample in which something was not read."""
    if not trial.fault.samples:
        return
    for stream in (stream for host in recording.hosts for stream in host.streams if len(stream.t0_ns)):
        # How long a sweep took says itself; the first one was before the program.
        ended_ns = [recording.window_ns[0] - stream.period_ns, *stream.t1_ns.tolist()]
        idle_ns = [begin - end for begin, end in zip(stream.t0_ns.tolist(), ended_ns, strict=False)]
        gap_s = (max(idle_ns) - stream.period_ns) / 1e9
        if gap_s > trial.fault.most_gap_s:
            outcome.lost.append(f"{stream.backend} was not read for {gap_s:.3f} s beyond its period")


def _untrue(tree: DataNode, recording: Recording, powercap: SimulatedPowercap | None) -> Iterator[str]:
    """Figures that can't be."""
    runs = tree.find(NodeType.RUN)
    for run in runs:
        energy = run.metrics[MEASURED_J]
        if energy.value == 0 and (run.metrics["runtime_s"].value or 0) > LONG_S:
            yield f"{MEASURED_J} is 0: {energy}"
        if energy.value is None and not (energy.reason or energy.missing):
            yield f"{MEASURED_J} is missing without a reason"
    if powercap is not None and len(runs) == 1:
        energy = runs[0].metrics[MEASURED_J]
        if energy.provenance is Provenance.ESTIMATED:
            yield f"{MEASURED_J} is estimated, although it could be measured: {energy}"
            return
        true_j = sum(powercap.truth_j(zone.path, *recording.window_ns) for zone in powercap.machine.zones)
        if (energy.lower or 0) > true_j or (energy.upper is not None and energy.upper < true_j):
            yield f"the truth is {true_j} J, and not within {energy}"
