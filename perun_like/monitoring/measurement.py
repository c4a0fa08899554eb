"""One run being measured: where its data goes, and the sampler that reads while it lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perun_like.config import Settings
from perun_like.errors import SamplerError
from perun_like.launch.comm import Comm
from perun_like.monitoring.callbacks import Live
from perun_like.sampling.local import make_local_directory, marks_directory, remove_directory
from perun_like.sampling.process import SamplerProcess
from perun_like.sampling.ranks import bound_cpus
from perun_like.sensing.discovery import import_paths
from perun_like.store.place import RunPlace

READY_TIMEOUT_S = 5.0  # the sampler itself gives slow backends two
_CLOSED_TIMEOUT_S = 10.0


class Measurement:
    """A run's place and sampler. A sampler that fails is never fatal: the application runs all the same.

    Args:
        place: Where the run's parts are.
        comm: Which process of which job this is.
        config: Settings.
        run: Name, id and metadata of the run.

    Attributes:
        place: Where the run's parts are.
        marks: The directory for marks of regions and rounds on this host; None where there is no room for one.
        sampler: The sampling process; None before it has been started, and after it was lost.
        problem: Why there is no complete measurement; None while nothing is wrong.
        threads: How many threads of this process it has started: one if newest values are wanted.
    """

    def __init__(self, place: RunPlace, comm: Comm, config: Settings, run: Mapping[str, Any]) -> None:
        self.place = place
        self.marks: str | None = None
        self.sampler: SamplerProcess | None = None
        self.problem: str | None = None
        self.threads = 0
        self._comm, self._config, self._run = comm, config, run
        self._local: str | None = None

    def prepare(
        self,
        backends: Mapping[str, str],
        assigned: Mapping[str, Sequence[str]],
        sampler: SamplerProcess | None = None,
        *,
        in_place: bool = False,
        get_ready: Callable[[], None] = lambda: None,
    ) -> bool:
        """Have a sampler that can read; whether there is one.

        Args:
            backends: ``module:Class`` by name.
            assigned: Sensor ids to read, by backend; one that is left out is read whole.
            sampler: A sampling process that has been started already.
            in_place: Whether this process is the application.
            get_ready: Called while the sampler finds out what can be read.
        """
        try:
            self._local = make_local_directory(os.urandom(8).hex(), self._comm.rank)
            self.marks = marks_directory(self._local, self._comm.rank)
            self.sampler = sampler or SamplerProcess(os.environ, orphan=in_place)
            live = Live.wanted()
            order = self._order(backends, assigned)
            order |= {"application_pid": os.getpid(), "in_place": self.marks} if in_place else {}
            self.sampler.send("prepare", **order, live=live is not None)
            get_ready()
            import inspect  # noqa: F401  # pyright: ignore[reportUnusedImport]  # numpy will: 3 ms less then

            self.sampler.wait_ready(READY_TIMEOUT_S)
            if live is not None:
                self.sampler.queue.pump(live.taker(self.sampler.ready.content["sensors"]))
                self.threads = 1
        except (SamplerError, OSError, TimeoutError) as error:
            self._lose(error)
        return self.sampler is not None

    def _order(self, backends: Mapping[str, str], assigned: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        config = self._config
        return {
            "backends": dict(backends),
            "paths": import_paths(backends),
            "assigned": {name: list(ids) for name, ids in assigned.items()},
            "period_ns": config.period_ns,
            "spool_budget_b": config.spool_budget_b,
            "part": self.place.part(os.uname().nodename),
            "local": self._local,
            "run_token": self.marks,
            "context": {"powercap_root": config.powercap_root, "cpu_tdp_w": config.cpu_tdp_w},
            "run": dict(self._run),
            "rank": self._comm.rank,
            "cpus": bound_cpus(),
        }

    def begin(self) -> None:
        """Have everything read for a first time."""
        if self.sampler is not None:
            try:
                self.sampler.start.set()
                self.sampler.queue.get(READY_TIMEOUT_S)
            except (SamplerError, TimeoutError) as error:
                self._lose(error)

    def tell(self, type_: str, **content: Any) -> None:
        """Tell the sampler something that it doesn't answer."""
        if self.sampler is not None:
            try:
                self.sampler.send(type_, **content)
            except SamplerError as error:
                self._lose(error)

    def sync(self, after_ns: int = 0) -> bool:
        """Have everything read once so that it shows what there was at an instant; whether it was."""
        if self.sampler is not None:
            self.sampler.wake()
        self.tell("sync", after_ns=after_ns)
        try:
            while self.sampler is not None and self.sampler.queue.get(READY_TIMEOUT_S)["type"] != "synced":
                pass
        except (SamplerError, TimeoutError) as error:
            self._lose(error)
        return self.sampler is not None

    def stop(self, stop_ns: int) -> None:
        """Have everything read for a last time, a little after an instant, and the part completed."""
        if self.sampler is not None:
            self.sampler.wake()
            try:
                self.sampler.stop.set(stop_ns=stop_ns)
                self.sampler.close.set()
            except SamplerError as error:
                self._lose(error)

    def abandon(self) -> None:
        """Have everything removed: nothing was run."""
        self.stop(0)
        self._await_part()  # it would put its part back
        self.place.release()

    def finish(self, failed: bool, get_ready: Callable[[], None]) -> bool:  # noqa: ARG002 - it matters among several
        """Wait until everything that was sampled is in its place; whether a result is to be made of it here.

        Args:
            failed: Whether the application has failed.
            get_ready: Called when a result is likely to be made here, while the sampler completes its part.
        """
        get_ready()
        self._await_part()
        return True

    def _await_part(self) -> None:
        try:
            while self.sampler is not None and self.sampler.queue.get(_CLOSED_TIMEOUT_S)["type"] != "closed":
                pass
        except (SamplerError, TimeoutError) as error:
            self._lose(error)

    def keep(self) -> None:
        """Leave what was sampled for people to recover, on this host too: a killed sampler's newest is only there."""
        if self.place.is_empty():
            self.place.release()
        else:
            self._local = None
            self.place.unlock()

    def give_way(self) -> None:
        """Have no sampler any more, so that the program can be started."""
        self._lose(SamplerError("a limit on processes leaves no room for a sampling process beside the program"))

    def tell_failure(self) -> None:
        """The application has failed: people are told what they couldn't know otherwise."""

    def disown(self) -> None:
        """In a forked child: have no part in it, so that the sampler notices when our parent dies."""
        if self.sampler is not None:
            self.sampler.disown()

    def release(self) -> None:
        """Let the sampler go and remove what is left on this host. Safe to repeat."""
        if self.sampler is not None:
            self.sampler.release()
        if self._local is not None:
            remove_directory(self._local)

    def _lose(self, error: Exception) -> None:
        self.problem = self.problem or f"there is no complete measurement: {error}"
        if self.sampler is not None:
            self.sampler.release(0)
        self.sampler = None


def measurement_for(comm: Comm, config: Settings, run: Mapping[str, Any], output: str) -> Measurement:
    """The measurement of a run by this process, alone or together with its job's other ranks.

    Args:
        comm: Which process of which job this is.
        config: Settings.
        run: Name, id and metadata of the run.
        output: Directory of results.

    Raises:
        InputError: another run has this id, or the directory can't be written.
    """
    if comm.job_id is None:
        return Measurement(RunPlace.claim(output, run["name"], str(run["run_id"])), comm, config, run)
    from perun_like.monitoring.shared import measurement_together  # 3 ms that only ranks of a job need

    return measurement_together(comm, config, run, output)
