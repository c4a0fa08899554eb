"""The monitor: conducts one application and its sampler from setup to result."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perun_like.config import Settings
from perun_like.errors import CannotExecuteError, InputError, InterruptedStartError, PerunError
from perun_like.launch.child import Child, Ending, SignalGate
from perun_like.launch.comm import Comm
from perun_like.monitoring.application import Application
from perun_like.monitoring.measurement import Measurement, measurement_for
from perun_like.monitoring.metadata import run_metadata
from perun_like.monitoring.status import MonitorStatus
from perun_like.sampling.process import SamplerProcess
from perun_like.sampling.spawn import RUN_VARIABLE
from perun_like.store.place import RunPlace

if TYPE_CHECKING:
    from perun_like.model.node import DataNode
    from perun_like.model.recording import Recording
    from perun_like.monitoring.own_process import OwnProcess
    from perun_like.sampling.protocol import Event, Queue


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
        problem: What went wrong, for people; None while nothing did.
        exit_code: What a command should end with if nothing was run.
        ending: How the program ended, in its last round; None until it has, and for a function.
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
        self._backends = backends
        self._assigned = {name: tuple(ids) for name, ids in l_assigned_sensors.items()}
        self._config = config
        self._gate = gate
        self._name = config.name or app.name
        self._early_sampler = sampler
        self._measurement: Measurement | None = None
        self.status = MonitorStatus.SETUP
        self.problem: str | None = None
        self.exit_code = 1
        self.ending: Ending | None = None
        self.path: str | None = None

    @property
    def perunSP(self) -> SamplerProcess | None:  # noqa: N802 - the name its users know
        """The sampling process; None before it has been started and after it was lost."""
        return None if self._measurement is None else self._measurement.sampler

    @property
    def sp_ready_event(self) -> Event | None:
        """Raised by the sampler when it can read; None without one, as the next four."""
        return None if self.perunSP is None else self.perunSP.ready

    @property
    def start_event(self) -> Event | None:
        """Raised by the monitor: the sampler reads from then on."""
        return None if self.perunSP is None else self.perunSP.start

    @property
    def stop_event(self) -> Event | None:
        """Raised by the monitor: the sampler reads a last time."""
        return None if self.perunSP is None else self.perunSP.stop

    @property
    def close_event(self) -> Event | None:
        """Raised by the monitor: the sampler completes its part and ends."""
        return None if self.perunSP is None else self.perunSP.close

    @property
    def queue(self) -> Queue | None:
        """The sampler's reports."""
        return None if self.perunSP is None else self.perunSP.queue

    def run_application(self, run_id: str, record: bool = True) -> tuple[MonitorStatus, DataNode | None, Any]:
        """Run the application, as many times as the settings say.

        Args:
            run_id: The id its results are filed under. A run of several ranks is named by the settings, or else by when
                it was started.
            record: Whether to measure it.

        Returns:
            The status; the result tree, None if there is none; and what came of the last round. Of a function: what it
            returned. Of a program: its exit code, negative for the signal that ended it, None if it was not run.

        Raises:
            InputError: the results can't be filed under this id or in this directory. Nothing was run.
            InterruptedStartError: a signal to end came before the program was started.
            BaseException: whatever the function raised, SystemExit too, once its data is safe.
        """
        self.problem = self.path = self.ending = None
        try:
            self._comm.check()
        except InputError as error:
            return self._failed(MonitorStatus.MPI_ERROR, error)
        if self._app.call is not None:
            return self._recorded_in_place(self._app.call, run_id) if record else self._unrecorded_in_place()
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
        if self._measurement is not None:
            self._measurement.release()
        self.status = MonitorStatus.CLOSED

    def _failed(self, status: MonitorStatus, error: PerunError) -> tuple[MonitorStatus, None, None]:
        self.status, self.problem, self.exit_code = status, str(error), error.exit_code
        return status, None, None

    def _unrecorded(self, gate: SignalGate) -> tuple[MonitorStatus, None, int]:
        ending = self._watch(self._app.environ, gate)[1]
        for _ in range(self._config.warmup + self._config.rounds - 1):
            if ending.status == 0:
                ending = self._watch(self._app.environ, gate)[1]
        return self._status_after(ending.status != 0), None, _result(ending)

    def _recorded(self, run_id: str, gate: SignalGate) -> tuple[MonitorStatus, DataNode | None, int]:
        measurement = self._measurement_of(run_id)
        try:
            ending = self._warm_up(gate)
            if ending is not None:
                measurement.abandon()
                return self._status_after(True), None, _result(ending)
            self._start(measurement)
            gate.threads = 1 + measurement.threads  # it has been started since, and holds signals back as well
            processes, ending = self._watch_rounds(measurement, gate)
        except (CannotExecuteError, InterruptedStartError):
            measurement.abandon()
            raise
        measurement.stop(processes[-1]["stop_ns"])
        self.status = MonitorStatus.PROCESSING
        tree = self._process(measurement, run_id, processes, ending.status != 0)
        return self._status_after(ending.status != 0), tree, _result(ending)

    def _warm_up(self, gate: SignalGate) -> Ending | None:
        """Run the program without recording; how it ended if that wasn't well."""
        for number in range(1, self._config.warmup + 1):
            ending = self._watch(self._app.environ, gate)[1]
            if ending.status != 0:
                self.problem = f"round {number} of the warm-up failed: nothing was recorded"
                return ending
        return None

    def _watch_rounds(self, measurement: Measurement, gate: SignalGate) -> tuple[list[dict[str, Any]], Ending]:
        """Run the program as often as asked for, until it fails."""
        environ = self._watched_environ(measurement)
        process, ending = self._watch(environ, gate, measurement)
        processes = [process]
        while ending.status == 0 and len(processes) < self._config.rounds:
            process, ending = self._watch(environ, gate, measurement, len(processes))
            processes.append(process)
        return processes, ending

    def _watched_environ(self, measurement: Measurement) -> dict[str, str]:
        marks = {} if measurement.marks is None else {RUN_VARIABLE: measurement.marks}
        return {**self._app.environ, **marks}

    def _watch(
        self, environ: Mapping[str, str], gate: SignalGate, measurement: Measurement | None = None, number: int = 0
    ) -> tuple[dict[str, Any], Ending]:
        """Run the program to its end; returns what the recording keeps of it, and how it ended."""
        child = self._child(environ, gate, measurement)
        process: dict[str, Any] = {
            "rank": self._comm.rank,
            "pid": child.pid,
            "start_ns": child.start_ns,
            "round": number,
        }
        self.status = MonitorStatus.RUNNING
        if measurement is not None:
            measurement.tell("watch", process=process)
        self.ending = ending = child.wait()
        process |= {
            "stop_ns": ending.stop_ns,
            "exit_code": ending.exit_code,
            "signal": ending.signal,
            "cpu_s": ending.cpu_s,
            "max_rss_b": ending.max_rss_b,
            "max_rss_floor_b": child.floor_rss_b,
        }
        if measurement is not None:
            measurement.tell("watch", process=process)
        return process, ending

    def _child(self, environ: Mapping[str, str], gate: SignalGate, measurement: Measurement | None) -> Child:
        """Start the program: in the sampler's place, where a limit on processes leaves no room for both."""
        try:
            return Child(self._app.argv, environ, gate)
        except CannotExecuteError as error:
            if measurement is None or measurement.sampler is None or error.number != errno.EAGAIN:
                raise
            measurement.give_way()
        return Child(self._app.argv, environ, gate)

    def _unrecorded_in_place(self) -> tuple[MonitorStatus, None, Any]:
        self.status = MonitorStatus.RUNNING
        call, times = self._app.call, self._config.warmup + self._config.rounds
        result = None
        for _ in range(times):
            result = call() if call is not None else None
        return self._status_after(False), None, result

    def _recorded_in_place(self, call: Callable[[], Any], run_id: str) -> tuple[MonitorStatus, DataNode | None, Any]:
        """Call the function; whatever it raises goes on to our caller once everything has been saved."""
        from perun_like.monitoring.own_process import OwnProcess  # what watches programs from outside needs none of it

        measurement = self._measurement_of(run_id)
        self._start(measurement, in_place=True)
        place = OwnProcess(measurement, self._comm)
        failed = True
        try:
            self.status = MonitorStatus.RUNNING
            result = self._call_rounds(call, place)
            failed = False
        except SystemExit as error:
            failed = error.code not in (None, 0)
            raise
        finally:
            process = place.close()
            measurement.stop(process["stop_ns"])
            self.status = MonitorStatus.PROCESSING
            tree = self._process(measurement, run_id, [process], failed)
            self._status_after(failed)
        return self.status, tree, result

    def _call_rounds(self, call: Callable[[], Any], place: OwnProcess) -> Any:
        for _ in range(self._config.warmup):
            call()
        result = None
        for _ in range(self._config.rounds):
            interval, raised = place.begin(self._name), True
            try:
                result = call()
                raised = False
            finally:
                if interval is not None:
                    interval.end(raised)
        return result

    def _measurement_of(self, run_id: str) -> Measurement:
        if self._measurement is not None:
            self._measurement.release()
        self._measurement = measurement_for(self._comm, self._config, self._run_facts(run_id), self._config.output)
        return self._measurement

    def _start(self, measurement: Measurement, *, in_place: bool = False) -> None:
        """Have a sampler ready and its first sweep done; without one the application runs all the same."""
        early, self._early_sampler = self._early_sampler, None
        ready = measurement.prepare(
            self._backends, self._assigned, early, in_place=in_place, get_ready=_import_what_starts
        )
        if ready:
            self.status = MonitorStatus.READY
        measurement.begin()

    def _process(
        self, measurement: Measurement, run_id: str, processes: list[dict[str, Any]], failed: bool
    ) -> DataNode | None:
        """Turn what was sampled into the result and save it; on failure the parts stay."""
        tree, place = None, measurement.place
        try:
            makes_result = measurement.finish(failed, self._import_what_saves)
            self.problem = measurement.problem
            if not makes_result:
                place.unlock()
                return None
            from perun_like.monitoring import results, saving

            if self._comm.job_id is not None:
                tree, self.path = saving.save_job(place, self._name)
            else:
                recording = self._recording(place, processes, run_id)
                tree = results.result_of(recording)
                saving.save(recording, tree, place)
                self.path = place.path
        except Exception as error:  # noqa: BLE001 - whatever we fail at, the application's end must be told as it was
            self.status = MonitorStatus.PERUN_ERROR
            measurement.keep()
            self.problem = not_saved(error, place)
            return tree
        from perun_like.monitoring.callbacks import after_run

        after_run(tree)
        return tree

    def _import_what_saves(self) -> None:
        """Numpy, h5py: while the sampler completes its part.

        Raises:
            PerunError: there may be no room for them.
        """
        from perun_like.monitoring.room import check_room

        check_room()
        if self._app.call is None:  # else what is set here would be set for the application
            import platform

            # The import of h5py asks for it, and platform would run the command uname to know it: 3 ms.
            platform.uname().__dict__["processor"] = os.uname().machine
        import perun_like.monitoring.saving  # noqa: F401  # pyright: ignore[reportUnusedImport]

    def _recording(self, place: RunPlace, processes: list[dict[str, Any]], run_id: str) -> Recording:
        from perun_like.model.slicing import named
        from perun_like.monitoring.results import recording_of

        recording = recording_of(place, processes, self._run_facts(run_id), self.problem)
        if any(host.rounds for host in recording.hosts):
            recording = named(recording, self._name)
        return recording

    def _run_facts(self, run_id: str) -> dict[str, Any]:
        together = self._comm.job_id is not None
        return {
            "name": self._name,
            "run_id": self._config.run_id if together else run_id,
            "size": self._comm.size,
            "metadata": run_metadata(self._app, self._config),
        }

    def _status_after(self, failed: bool) -> MonitorStatus:
        """What the whole amounts to: our own failures are told first."""
        if self.status is not MonitorStatus.PERUN_ERROR:
            if self._measurement is not None and self._measurement.problem is not None:
                self.status = MonitorStatus.SP_ERROR
            elif failed:
                self.status = MonitorStatus.SCRIPT_ERROR
            else:
                self.status = MonitorStatus.PROCESSING
        return self.status


def _import_what_starts() -> None:
    """Ctypes, to start a program with: while the sampler finds out what it can read."""
    import ctypes  # noqa: F401  # pyright: ignore[reportUnusedImport]


def not_saved(error: Exception, place: RunPlace) -> str:
    """What to say when results couldn't be saved."""
    there = os.path.isdir(place.parts)
    left = f"; what was sampled is in {place.parts}: perun-like recover {place.parts}" if there else ""
    return f"the results could not be saved: {_told(error)}{left}"


def _told(error: Exception) -> str:
    """What people can do something about in a line; our own faults with all that helps to find them."""
    if isinstance(error, (PerunError, OSError)):
        return str(error)
    from traceback import format_exc  # where no file can be opened any more, it may not be there

    return format_exc()


def _result(ending: Ending) -> int:
    return -ending.signal if ending.signal is not None else ending.exit_code or 0
