"""A run of several ranks: one of those on a host has the sampler started that all of them share.

Nothing is ever communicated: who samples is a lock that the kernel keeps, who is left is a pipe that it keeps, and what
a rank has to say it writes into a directory on its host.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from perun_like.config import Settings
from perun_like.errors import SamplerError
from perun_like.launch.claim import Claim, Roll, job_directory
from perun_like.launch.comm import Comm
from perun_like.launch.launchers import launch_of
from perun_like.launch.turns import door, first_to_say, sweep
from perun_like.monitoring.measurement import READY_TIMEOUT_S, Measurement
from perun_like.sampling.host import host_identity
from perun_like.sampling.local import marks_directory, private_directory
from perun_like.sampling.process import SamplerProcess
from perun_like.sampling.ranks import (
    OF_A_VIEW,
    VISIBILITY,
    bound_cpus,
    hides_devices,
    is_ready,
    ranks_in,
    read_notes,
    write_note,
)
from perun_like.store.place import PARTS_SUFFIX, RunPlace

if TYPE_CHECKING:
    from perun_like.monitoring.leaving import Leaving

_LOOK_EVERY_S = 0.003  # while a rank waits for its host's sampler to be ready
_ALL_COME_S = 1.0  # for the ranks of a host to come, where they may see different devices


def measurement_together(comm: Comm, config: Settings, run: Mapping[str, Any], output: str) -> Measurement:
    """The measurement of a run by this process together with its job's other ranks.

    Args:
        comm: Which process of which job this is.
        config: Settings.
        run: Name, id and metadata of the run.
        output: Directory of results.

    Raises:
        InputError: another run has this id, or the directory can't be written.
    """
    launch, job, number = launch_of(), "", 0
    by_launcher = launch is not None and launch.pid == os.getppid()
    with suppress(OSError):  # no place on this host: nothing can be measured, but the program can run
        job = _job(comm)
        with door(job) as inside:
            number = inside.next_run(comm.rank, launch.identity if launch else "")
    launched_unix_s = (launch.started_unix_s if launch else time.time()) if comm.rank == 0 else None
    place = RunPlace.claim_together(output, run["name"], config.run_id, f"{comm.job_id} {number}", launched_unix_s)
    run = {**run, "job": os.path.basename(place.parts).removesuffix(PARTS_SUFFIX)}  # wherever its parts are copied to
    return SharedMeasurement(place, comm, config, run, Turn(job, number, by_launcher))


def is_first_to_say(comm: Comm, text: str) -> bool:
    """Whether no other rank of the job on this host has told people the same."""
    if comm.job_id is None:
        return True
    launch = launch_of()
    try:
        return first_to_say(_job(comm), comm.rank, launch.identity if launch else "", text)
    except OSError:
        return True


def _job(comm: Comm) -> str:
    return job_directory(private_directory(), host_identity(), str(comm.job_id))


class Turn(NamedTuple):
    """Which of its launch's runs this is.

    Attributes:
        job: The job's directory on this host; empty if there can be none.
        number: From 0.
        by_launcher: Whether the launcher itself has started this process, and not a script that may start others.
    """

    job: str
    number: int
    by_launcher: bool


class SharedMeasurement(Measurement):
    """A rank's part in the measurement of its job.

    Args:
        place: Where the run's parts are.
        comm: Which process of which job this is.
        config: Settings.
        run: Name, id and metadata of the run.
        turn: Which of its launch's runs this is.
    """

    def __init__(self, place: RunPlace, comm: Comm, config: Settings, run: Mapping[str, Any], turn: Turn) -> None:
        super().__init__(place, comm, config, run)
        self._turn = turn
        self._directory = ""
        self._note: dict[str, Any] = {}
        self._roll: Roll | None = None
        self._leaving: Leaving | None = None
        self._in_place = False

    def prepare(
        self,
        backends: Mapping[str, str],
        assigned: Mapping[str, Sequence[str]],
        sampler: SamplerProcess | None = None,
        *,
        in_place: bool = False,
        get_ready: Callable[[], None] = lambda: None,
    ) -> bool:
        """Be one of the host's ranks; whether it is this one that has a sampler started."""
        if sampler is not None:
            sampler.release()  # whether it is needed, and what it shall hold, is known only now
        self._in_place = in_place
        get_ready()
        if in_place:
            self.place.unlock()  # the last rank makes the result
        try:
            self._join()
            self._have_sampler(self._directory, backends, assigned)
            mine = self._directory_of(self._note["view"])
            if mine != self._directory:
                os.makedirs(mine, 0o700, exist_ok=True)
                of_a_view = {name: spec for name, spec in backends.items() if name in OF_A_VIEW}
                self._have_sampler(mine, of_a_view, assigned)
        except (SamplerError, OSError, TimeoutError) as error:
            self._lose(error)
        return self.sampler is not None

    def _join(self) -> None:
        rank = self._comm.rank
        if not self._turn.job:
            raise SamplerError("there is no room for a directory in /dev/shm or among temporary files")
        with door(self._turn.job) as inside:
            self._directory = inside.run_directory(self._turn.number)
            self.marks = marks_directory(self._directory, rank)
            os.makedirs(self.marks, 0o700, exist_ok=True)
            environ = {key: os.environ[key] for key in VISIBILITY if key in os.environ}
            self._note = {"cpus": bound_cpus(), "environ": environ, "run": dict(self._run)}
            self._note |= {"by_launcher": self._turn.by_launcher, "view": _view()}
            write_note(self.marks, self._note)
            self._roll = Roll(self._directory)
            self._roll.enter(rank)

    def _have_sampler(self, directory: str, backends: Mapping[str, str], assigned: Mapping[str, Sequence[str]]) -> None:
        """Have a sampler in a directory that has read everything once: another rank's, or one of our own."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(directory):
            claim = Claim(directory)
            if claim.try_take():
                self._start_sampler(claim, directory, backends, assigned)
                return
            if time.monotonic() > deadline:
                raise SamplerError(f"no sampler of this host was ready within {READY_TIMEOUT_S:g} s")
            time.sleep(_LOOK_EVERY_S)

    def _start_sampler(
        self, claim: Claim, directory: str, backends: Mapping[str, str], assigned: Mapping[str, Sequence[str]]
    ) -> None:
        """Start a sampler that has the claim from now on, and lives until the host's last rank has ended."""
        first = directory == self._directory
        if first:
            _write(os.path.join(directory, "view"), self._note["view"])
        try:
            self.sampler = SamplerProcess(os.environ, orphan=self._in_place, held=claim.fds)
        finally:
            claim.close()
        self._local = os.path.join(directory, f"sampler-{os.urandom(4).hex()}")
        os.mkdir(self._local, 0o700)
        order = self._order(backends, assigned) | {
            "part": self.place.part(f"{os.uname().nodename}-{os.path.basename(self._local)}"),
            "run_token": self._directory,
            "shared": self._directory,
            "directory": directory,
            "expected": self._comm.local_size,
            "view": self._note["view"],
            "marks": self._directory if first else None,
        }
        self.sampler.send("prepare", **order)
        if first:
            sweep(os.path.dirname(self._turn.job))
        self.sampler.wait_ready(READY_TIMEOUT_S)

    def _directory_of(self, view: str) -> str:
        """The directory of the sampler for ranks with this view: the run's, if the host's own sampler has it too."""
        with open(os.path.join(self._directory, "view")) as file:
            if file.read() == view:
                return self._directory
        return os.path.join(self._directory, f"view-{zlib.crc32(view.encode()):08x}")

    def begin(self) -> None:
        """Have everything read for a first time, also by samplers of other ranks if the run includes what they see."""
        super().begin()
        if not self._in_place and self.problem is None and hides_devices(self._directory):
            try:
                self._await_views()
            except (OSError, SamplerError) as error:
                self._lose(error)

    def _await_views(self) -> None:
        deadline = time.monotonic() + _ALL_COME_S
        while len(ranks_in(self._directory)) < (self._comm.local_size or 0) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        deadline = time.monotonic() + READY_TIMEOUT_S
        for note in read_notes(self._directory).values():
            while not is_ready(self._directory_of(note["view"])):
                if time.monotonic() > deadline:
                    raise SamplerError(f"not all samplers of this host were ready within {READY_TIMEOUT_S:g} s")
                time.sleep(_LOOK_EVERY_S)

    def tell(self, type_: str, **content: Any) -> None:
        """Note something for the sampler."""
        if type_ == "watch":
            self._note["process"] = content["process"]
        elif type_ == "note":
            functions = self._note.setdefault("functions", {})
            functions[content["content"]["function"]] = content["content"]["place"]
        else:
            super().tell(type_, **content)
            return
        if self.marks is not None:
            try:
                write_note(self.marks, self._note)
            except OSError as error:
                self._lose(error)

    def sync(self, after_ns: int = 0) -> bool:
        """Have everything read that shows what there was at an instant: by asking, or by waiting for the next time."""
        if self.sampler is not None:
            return super().sync(after_ns)
        time.sleep(2 * self._config.period_ns / 1e9)
        return self.problem is None

    def stop(self, stop_ns: int) -> None:  # noqa: ARG002 - it is in the note
        """Leave the others."""
        from perun_like.monitoring.leaving import Leaving  # what only the end needs

        if self._roll is not None and self._leaving is None:
            try:
                waits = not self._in_place
                self._leaving = Leaving(self._directory, self._roll, self.place, self._comm, waits=waits)
            except OSError as error:
                self._lose(error)

    def abandon(self) -> None:
        """Have no part in the run: nothing was run here. What others have is left."""
        if self._roll is not None:
            self._roll.leave()
        self.place.unlock()

    def finish(self, failed: bool, get_ready: Callable[[], None]) -> bool:
        """Wait as long as it is of use; whether all is there and it is this rank that makes a result of it.

        The launcher must see a failure at once: then nobody waits.
        """
        if failed:
            self.tell_failure()
            return False
        if self._leaving is None or not self._leaving.makes_result(get_ready):
            if self._leaving is not None:
                self.problem = self.problem or self._leaving.problem
            return False
        return True

    def keep(self) -> None:
        """Leave what was sampled to whoever recovers it; other ranks and hosts may still add to it."""
        self.place.unlock()

    def tell_failure(self) -> None:
        """Have people told, once in a job, where to find what was sampled."""
        if self._roll is not None and self.place.is_first("told"):
            self.problem = (
                f"rank {self._comm.rank} has failed: unless a report follows, what was sampled is in "
                f"{self.place.parts}: perun-like recover {self.place.parts}"
            )

    def disown(self) -> None:
        """In a forked child: have no part in it, so that our parent's end is noticed."""
        super().disown()
        if self._roll is not None:
            self._roll.leave()

    def release(self) -> None:
        """Let the sampler go: it ends by itself, and removes what is left."""
        if self.sampler is not None:
            self.sampler.disown()
            self.sampler = None
        if self._roll is not None:
            self._roll.leave()

    def _lose(self, error: Exception) -> None:
        self.problem = self.problem or f"there is no complete measurement: {error}"
        if self.sampler is not None:
            self.sampler.disown()
            self.sampler = None


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _view() -> str:
    """What decides which GPUs this process can open: those that differ in it may see different ones.

    The kernel asks a device cgroup here too. Opening would tell as well, but wakes a GPU that sleeps.
    """
    devices = [name for name in sorted(os.listdir("/dev")) if name.startswith("nvidia") and name[6:].isdigit()]
    allowed = [name for name in devices if os.access(f"/dev/{name}", os.R_OK | os.W_OK)]
    return json.dumps([allowed, *(os.environ.get(name) for name in ("NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"))])
