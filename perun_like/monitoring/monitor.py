"""The monitor: conducts one application and its sampler from setup to result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perun_like.config import Settings
from perun_like.errors import CannotExecuteError, InputError, InterruptedStartError, PerunError, SamplerError
from perun_like.launch.child import Child, Ending, SignalGate
from perun_like.launch.comm import Comm
from perun_like.monitoring.application import Application
from perun_like.monitoring.metadata import run_metadata
from perun_like.monitoring.status import MonitorStatus
from perun_like.sampling.local import make_local_directory, marks_directory, remove_directory
from perun_like.sampling.marks import RUN_VARIABLE
from perun_like.sampling.process import SamplerProcess
from perun_like.sensing.discovery import import_paths
from perun_like.store.place import RunPlace

if TYPE_CHECKING:
    from perun_like.model.node import DataNode
    from perun_like.sampling.protocol import Event, Queue

_READY_TIMEOUT_S = 5.0  # the sampler itself gives slow backends two
_CLOSED_TIMEOUT_S = 10.0


class PerunMonitor:
    """Runs an application and measures it.

    Args:
        app: The application.
        comm: Which process of which job this is.
        backends: Sensor backends by name, as ``module:Class``.
        l_assigned_sensors: Sensor ids to read, by backend; a backend that is left out is read whole.
        config: Settings.
        sampler: A sampling process that has been started already, to save the application the wait.
        gate: Signals that the caller has held back already, and lets through when it is ready to end; without it
            they are held back from the program's start until its data is safe.

    Attributes:
        status: Where it is.
        sp_ready_event: Raised by the sampler when it can read; None until it has been started, as the next five.
        start_event, stop_event, close_event: Raised by the monitor.
        queue: The sampler's reports.
        perunSP: The sampling process.
        problem: What went wrong, for people; None while nothing did.
        exit_code: What a command should end with if nothing was run.
        ending: How the program ended; None until it has.
        path: The results file; None until it has been written.
    """

    def __init__(
        self,
        app: Application,
        comm: Comm,
        backends: Mapping[str, str],
        l_assigned_sensors: Mapping[str, Sequence[str]],
        config: Settings,
        sampler: SamplerProcess | None = None,
        gate: SignalGate | None = None,
    ) -> None:
        self._app = app
        self._comm = comm
        self._backends = dict(backends)
        self._assigned = {name: tuple(ids) for name, ids in l_assigned_sensors.items()}
        self._config = config
        self._gate = gate
        self._local: str | None = None
        self.status = MonitorStatus.SETUP
        self.sp_ready_event: Event | None = None
        self.start_event: Event | None = None
        self.stop_event: Event | None = None
        self.close_event: Event | None = None
        self.queue: Queue | None = None
        self._early_sampler = sampler
        self.perunSP: SamplerProcess | None = None
        self.problem: str | None = None
        self.exit_code = 1
        self.ending: Ending | None = None
        self.path: str | None = None

    def run_application(self, run_id: str, record: bool = True) -> tuple[MonitorStatus, DataNode | None, Any]:
        """Run the application once.

        Args:
            run_id: The id its results are filed under.
            record: Whether to measure it.

        Returns:
            The status; the result tree, None if there is none; the program's exit code, negative for the signal that
            ended it, None if it was not run.

        Raises:
            InputError: the results can't be filed under this id or in this directory. Nothing was run.
            InterruptedStartError: a signal to end came before the program was started.
        """
        self.problem = self.path = self.ending = None
        try:
            self._comm.check()
        except InputError as error:
            return self._failed(MonitorStatus.MPI_ERROR, error)
        gate = self._gate or SignalGate()
        try:
            return self._recorded(run_id, gate) if record else self._unrecorded(gate)
        except CannotExecuteError as error:
            return self._failed(MonitorStatus.FILE_NOT_FOUND, error)
        finally:
            if gate is not self._gate:
                gate.close()

    def close(self) -> None:
        """Let the sampler go and remove what it left on this host. Safe to repeat."""
        self._release_sampler()
        self.status = MonitorStatus.CLOSED

    def _release_sampler(self) -> None:
        if self.perunSP is not None:
            self.perunSP.release()
        if self._local is not None:
            remove_directory(self._local)

    def _failed(self, status: MonitorStatus, error: PerunError) -> tuple[MonitorStatus, None, None]:
        self.status, self.problem, self.exit_code = status, str(error), error.exit_code
        return status, None, None

    def _unrecorded(self, gate: SignalGate) -> tuple[MonitorStatus, None, int]:
        self.status = MonitorStatus.RUNNING
        ending = self._watch(self._app.environ, gate)[1]
        return self._status_after(ending), None, _result(ending)

    def _recorded(self, run_id: str, gate: SignalGate) -> tuple[MonitorStatus, DataNode | None, int]:
        place = RunPlace.claim(self._config.output, self._config.name or self._app.name, run_id)
        try:
            self._start_sampler(place, run_id)
            process, ending = self._watch(self._watched_environ(), gate)
        except (CannotExecuteError, InterruptedStartError):
            self._stop_sampler(None)
            place.release()
            raise
        self._stop_sampler(process)
        self.status = MonitorStatus.PROCESSING
        tree = self._process(place, run_id, process)
        return self._status_after(ending), tree, _result(ending)

    def _start_sampler(self, place: RunPlace, run_id: str) -> None:
        """Have a sampler ready and its first sweep done; without one the application runs all the same."""
        self._release_sampler()
        try:
            token = os.urandom(8).hex()
            self._local = make_local_directory(token, self._comm.rank)
            sampler = self.perunSP = self._early_sampler or SamplerProcess(os.environ)
            self._early_sampler = None
            self.sp_ready_event, self.queue = sampler.ready, sampler.queue
            self.start_event, self.stop_event, self.close_event = sampler.start, sampler.stop, sampler.close
            sampler.send("prepare", **self._order(place, run_id))
            sampler.wait_ready(_READY_TIMEOUT_S)
            self.status = MonitorStatus.READY
            sampler.start.set()
            sampler.queue.get(_READY_TIMEOUT_S)
        except (SamplerError, OSError, TimeoutError) as error:
            self._lose_sampler(error)

    def _order(self, place: RunPlace, run_id: str) -> dict[str, Any]:
        config = self._config
        return {
            "backends": self._backends,
            "paths": import_paths(self._backends),
            "assigned": self._assigned,
            "period_ns": config.period_ns,
            "part": place.part(os.uname().nodename),
            "local": self._local,
            "run_token": self._watched_environ()[RUN_VARIABLE],
            "context": {"powercap_root": config.powercap_root, "cpu_tdp_w": config.cpu_tdp_w},
            "run": self._run_facts(run_id),
        }

    def _watched_environ(self) -> dict[str, str]:
        if self._local is None:
            return dict(self._app.environ)
        return {**self._app.environ, RUN_VARIABLE: marks_directory(self._local, self._comm.rank)}

    def _watch(self, environ: Mapping[str, str], gate: SignalGate) -> tuple[dict[str, Any], Ending]:
        """Run the program to its end; returns what the recording keeps of it, and how it ended."""
        child = Child(self._app.argv, environ, gate)
        process: dict[str, Any] = {"rank": self._comm.rank, "pid": child.pid, "start_ns": child.start_ns}
        self.status = MonitorStatus.RUNNING
        self._tell_sampler("watch", process=process)
        self.ending = ending = child.wait()
        process |= {
            "stop_ns": ending.stop_ns,
            "exit_code": ending.exit_code,
            "signal": ending.signal,
            "cpu_s": ending.cpu_s,
            "max_rss_b": ending.max_rss_b,
            "max_rss_floor_b": child.floor_rss_b,
        }
        return process, ending

    def _tell_sampler(self, type_: str, **content: Any) -> None:
        if self.perunSP is not None:
            try:
                self.perunSP.send(type_, **content)
            except SamplerError as error:
                self._lose_sampler(error)

    def _stop_sampler(self, process: dict[str, Any] | None) -> None:
        if process is not None:
            self._tell_sampler("watch", process=process)
        if self.perunSP is not None:
            try:
                self.perunSP.stop.set(stop_ns=process["stop_ns"] if process is not None else 0)
                self.perunSP.close.set()
            except SamplerError as error:
                self._lose_sampler(error)

    def _await_sampler(self) -> None:
        """Until its part is complete."""
        try:
            while self.perunSP is not None and self.perunSP.queue.get(_CLOSED_TIMEOUT_S)["type"] != "closed":
                pass
        except (SamplerError, TimeoutError) as error:
            self._lose_sampler(error)

    def _lose_sampler(self, error: Exception) -> None:
        self.problem = self.problem or f"there is no complete measurement: {error}"
        if self.perunSP is not None:
            self.perunSP.release(0)
        self.perunSP = None
        self.queue = self.sp_ready_event = self.start_event = self.stop_event = self.close_event = None

    def _process(self, place: RunPlace, run_id: str, process: dict[str, Any]) -> DataNode | None:
        """Turn what was sampled into the result and save it; on failure the parts stay."""
        tree = None
        try:
            from perun_like.monitoring import results  # numpy and h5py: imported while the sampler completes its part

            self._await_sampler()
            recording = results.recording_of(place, process, self._run_facts(run_id), self.problem)
            tree = results.result_of(recording)
            results.save(recording, tree, place)
        except Exception as error:  # noqa: BLE001 - whatever we fail at, the program's end must be told as it was
            from traceback import format_exc

            self.status = MonitorStatus.PERUN_ERROR
            known = isinstance(error, (PerunError, OSError))
            self.problem = (
                f"the results could not be saved: {error if known else format_exc()}; "
                f"what was sampled is in {place.parts}: perun-like recover {place.parts}"
            )
            self._local = None  # if the sampler was killed, its newest samples are only there
            place.unlock()
            return tree
        self.path = place.path
        return tree

    def _run_facts(self, run_id: str) -> dict[str, Any]:
        config = self._config
        return {"name": config.name or self._app.name, "run_id": run_id, "metadata": run_metadata(self._app, config)}

    def _status_after(self, ending: Ending) -> MonitorStatus:
        """What the whole amounts to: our own failures are told first."""
        if self.status is not MonitorStatus.PERUN_ERROR:
            if self.problem is not None:
                self.status = MonitorStatus.SP_ERROR
            elif ending.status != 0:
                self.status = MonitorStatus.SCRIPT_ERROR
            else:
                self.status = MonitorStatus.PROCESSING
        return self.status


def _result(ending: Ending) -> int:
    return -ending.signal if ending.signal is not None else ending.exit_code or 0
