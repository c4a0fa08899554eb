"""What this process measures of itself: one sampler and one set of marks for all functions with the same settings.

A session begins with the first call and lasts until the process ends: then each name becomes a results file. The
sampler rests while nothing is called.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import allocate_lock
from contextlib import suppress
from typing import TYPE_CHECKING

from perun_like.clock import Clock
from perun_like.config import Settings
from perun_like.errors import InputError, PerunError
from perun_like.inplace.mpi import own_place
from perun_like.inplace.saver import Saved, Saver
from perun_like.inplace.stderr import complain, write_error
from perun_like.inplace.surroundings import patient, undisturbed
from perun_like.launch.comm import Comm
from perun_like.monitoring.application import Application, file_name
from perun_like.monitoring.callbacks import after_run, awaited
from perun_like.monitoring.measurement import Measurement, measurement_for
from perun_like.monitoring.metadata import run_metadata
from perun_like.monitoring.monitor import not_saved
from perun_like.monitoring.own_process import OwnProcess, Round
from perun_like.monitoring.room import check_room
from perun_like.sampling.activity import REST_AFTER_S
from perun_like.sampling.handlers import pass_on
from perun_like.sampling.spawn import RUN_VARIABLE
from perun_like.sensing.discovery import chosen_specs
from perun_like.store.place import new_run_id

if TYPE_CHECKING:
    from perun_like.model.node import DataNode

# The sampler can't be resting yet, so soon after a call: there is no need to ask.
_SURELY_AWAKE_NS = int(REST_AFTER_S * 1e9 / 2)
_OF_A_CALL = ("name", "run_id", "rounds", "warmup", "origins")  # settings in which functions of a session may differ


class Session:
    """Measures this process from its first profiled call to its end.

    Args:
        config: Settings, but for those of single functions.

    Attributes:
        problem: Why nothing, or not everything, is measured, for people; None while all is well.
    """

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._lock = allocate_lock()
        self._last_ns = Clock.now_ns()
        self._measurement: Measurement | None = None
        self._in_place: OwnProcess | None = None
        # Kept when all is over: to unmap marks closes descriptors by number, which may be the program's files by now.
        self._over: OwnProcess | None = None
        self._places: dict[str, str | None] = {}
        self.problem: str | None = None
        self._app = Application(program_name(), (), os.environ, sys.executable)
        try:
            comm = own_place(os.environ)
            if comm.problem is not None:
                complain(comm.problem)
            comm.check()
            with undisturbed():
                self._open(comm)
        except (PerunError, OSError) as error:
            pass_on(error)
            self._complain(f"nothing is measured: {error}")
        finally:
            if self._in_place is None:  # interrupted, say: what has been begun must not be found later
                self._abandon()

    def _abandon(self) -> None:
        measurement, self._measurement = self._measurement, None
        if measurement is not None:
            with suppress(Exception):  # whatever has gone wrong is on its way already
                measurement.abandon()
            measurement.release()

    def _open(self, comm: Comm) -> None:
        config = self._config
        name, output = config.name or self._app.name, _absolute(config.output)  # it may change its directory
        run_id = config.run_id or (new_run_id() if comm.job_id is None else None)
        metadata = run_metadata(self._app, config)
        if comm.job_id is not None:
            # Ranks needn't come to sessions with different settings in one order.
            comm = comm._replace(job_id=f"{comm.job_id}{_given(config)}")
        self._run = {"name": name, "run_id": run_id, "size": comm.size, "metadata": metadata}
        self._measurement = measurement_for(comm, config, self._run, output)
        self._measurement.prepare(chosen_specs(sys.path, config.backend), {}, in_place=True)
        self._measurement.begin()
        in_place = OwnProcess(self._measurement, comm)
        if in_place.marks is None:
            in_place.close()
            raise PerunError(f"there is no room for marks: {in_place.problem}")
        self._in_place = in_place

    @property
    def open(self) -> bool:
        """Whether it measures: not once it is over, in a forked child, or if it couldn't begin."""
        return self._in_place is not None

    def begin(self, name: str, place: str | None, first: int | None) -> Round | None:
        """Begin a round of a function or block, or its next interval; None where nothing can be measured."""
        in_place = self._in_place
        if in_place is None:
            return None
        now_ns = Clock.now_ns()
        if now_ns - self._last_ns > _SURELY_AWAKE_NS:
            self._wake()
        if name not in self._places:
            self._introduce(name, place)
        self._last_ns = now_ns
        try:
            return in_place.begin(name, first, now_ns)
        except OSError as error:
            pass_on(error)
            self._give_up(in_place, error)
            return None

    def _give_up(self, in_place: OwnProcess, error: OSError) -> None:
        with self._lock:
            if self._in_place is not None:  # of several threads the first one tells
                self._in_place = None
                in_place.close()
                self._abandon()
                self._complain(f"nothing is measured: there is no room for marks: {error.strerror}")

    def _wake(self) -> None:
        with self._lock:
            if self._measurement is not None:
                self._measurement.sync()

    def _introduce(self, name: str, place: str | None) -> None:
        """Say once where a function stands."""
        with self._lock:
            self._places[name] = place
            if place is not None and self._measurement is not None:
                self._measurement.tell("note", content={"function": name, "place": place})

    def result_of(self, name: str, start_ns: int, stop_ns: int) -> DataNode | None:
        """The result of a call that has ended; None once the session is over, or if its sampler has died."""
        with self._lock:
            if self._measurement is None or not self._measurement.sync(stop_ns):
                return None
            check_room()
            from perun_like.monitoring import results

            return results.result_of_call(self._measurement.place, name, start_ns, stop_ns)

    def finish(self) -> None:
        """Save what was measured, and say so. Safe to repeat."""
        with self._lock:
            measurement, in_place = self._measurement, self._in_place
            self._measurement = self._in_place = None
        if measurement is not None and in_place is not None:
            self._over = in_place
            try:
                with undisturbed(), patient():
                    saved = self._save(measurement, in_place)
            finally:
                measurement.release()
            if saved is not None:
                self._tell(saved)

    def leave(self) -> None:
        """In a forked child: it is our parent's, and so are its pipes."""
        if self._measurement is not None:
            self._measurement.disown()
        self._measurement = self._in_place = None
        self._lock = allocate_lock()

    def _save(self, measurement: Measurement, in_place: OwnProcess) -> Saved | None:
        savers: list[Saver] = []
        try:
            process = in_place.close()
            measurement.stop(process["stop_ns"])
            if not measurement.finish(failed=False, get_ready=lambda: savers.append(Saver())):
                self._leave_to_others(measurement, savers)
                return None
            saver = savers[0] if savers else Saver()
            saved = saver.save(
                measurement.place, process, self._run, measurement.problem, colour=_coloured(), trees=awaited()
            )
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the program ends as it would have, whatever fails
            reason = error if isinstance(error, Exception) else InterruptedError("interrupted")
            measurement.keep()
            self._complain(not_saved(reason, measurement.place))
            return None
        if measurement.problem is not None:
            self._complain(measurement.problem)
        return saved

    def _tell(self, saved: Saved) -> None:
        try:
            for tree in saved.trees():
                after_run(tree)
        finally:  # a callback may end the program
            if self._config.report:
                write_error(saved.report)

    def _leave_to_others(self, measurement: Measurement, savers: list[Saver]) -> None:
        """Another rank makes the result, or nobody can yet."""
        for saver in savers:
            saver.dismiss()
        if hasattr(sys, "last_value"):  # an exception that nobody handled: the launcher may end the others
            measurement.tell_failure()
        if measurement.problem is not None:
            self._complain(measurement.problem)
        measurement.place.unlock()

    def _complain(self, problem: str) -> None:
        self.problem = problem
        complain(problem)


class Sessions:
    """The sessions of this process."""

    def __init__(self) -> None:
        self._open: dict[tuple[object, ...], Session] = {}
        self._known: dict[tuple[object, ...], Session] = {}
        self._lock = allocate_lock()
        self._watched: bool | None = None

    def covered(self) -> bool:
        """Whether a measurement from outside, or of our parent, covers this process."""
        if self._watched is None:
            self._watched = os.path.isdir(os.environ.get(RUN_VARIABLE) or "")
        return self._watched

    def known(self, options: tuple[object, ...]) -> Session | None:
        """The session of those that gave these options; None if they are the first."""
        return self._known.get(options)

    def make(self, config: Settings, options: tuple[object, ...]) -> Session:
        """The session with these settings, for those that give these options."""
        with self._lock:
            key = tuple(value for name, value in config._asdict().items() if name not in _OF_A_CALL)
            if key not in self._open:
                if not self._open:
                    atexit.register(self.finish)
                    self._await_end_of_worker()
                self._open[key] = Session(config)
            self._known[options] = self._open[key]
            return self._open[key]

    def _await_end_of_worker(self) -> None:
        """Processes that multiprocessing has forked end without Python's exit handlers, but with its own."""
        module = sys.modules.get("multiprocessing.util")
        if module is not None and sys.modules["multiprocessing"].parent_process() is not None:
            module.Finalize(None, self.finish, exitpriority=-1000)

    def finish(self) -> None:
        """End all of them."""
        for session in list(self._open.values()):
            session.finish()

    def forget(self) -> None:
        """In a forked child: they are our parent's, and measure us too."""
        atexit.unregister(self.finish)
        for session in self._open.values():
            session.leave()
        self._open, self._known, self._lock, self._watched = {}, {}, allocate_lock(), None


sessions = Sessions()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sessions.forget)


def _absolute(output: str) -> str:
    try:
        return os.path.abspath(output)
    except FileNotFoundError:
        raise InputError(
            "the current directory has been deleted, and results would go below it: give a whole path, as in "
            'profile(output="/home/me/results"), or in PERUN_OUTPUT'
        ) from None


def _coloured() -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return False


def _given(config: Settings) -> str:
    """The settings that stand in the program, and so are the same on all ranks; those of an environment may differ."""
    names = [name for name in config._fields if name not in _OF_A_CALL]
    given = [name for name in names if config.origins.get(name, "").startswith("--")]
    return "".join(f" {name}={getattr(config, name)}" for name in given)


def program_name() -> str:
    """What this process runs, for people: a script's name, ``notebook``, or ``python``."""
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    if "ipykernel" in sys.modules:
        return file_name(os.path.basename(notebook).removesuffix(".ipynb") or "notebook")
    path = sys.argv[0] if sys.argv else ""
    name = os.path.basename(path)
    if name == "__main__.py":  # python -m package
        name = os.path.basename(os.path.dirname(path))
    return file_name(name.removesuffix(".py")) if name not in ("", "-c", "-") else "python"
