"""The sampling process: finds sensors, reads them on a time grid, and keeps what it read safe.

It is a fresh interpreter that has inherited nothing from the application but its environment. It obeys the messages of
:mod:`perun_like.sampling.protocol` on its standard streams; when the monitor is gone it saves everything and ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Container, Mapping
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

from perun_like.errors import SamplerError
from perun_like.sampling import marks
from perun_like.sampling.activity import REST_AFTER_S, Activity
from perun_like.sampling.host import clocks, detach, host_facts, peak_memory_b
from perun_like.sampling.local import remove_directory
from perun_like.sampling.protocol import Connection, Message
from perun_like.sampling.spool import FOOTER, HEADER, MARKS, NOTE, ROUNDS, STREAM, Part, Tail
from perun_like.sampling.sweeper import Sweeper
from perun_like.sensing import discovery
from perun_like.sensing.contract import MEASURED, Backend, Context, Missing, Sensor
from perun_like.sensing.overlap import covered_estimates
from perun_like.units import NS_PER_S

T = TypeVar("T")
Found = tuple[Backend, tuple[Sensor, ...]]

PREPARE_TIMEOUT_S = 2.0  # the application waits no longer than this for a slow backend
MOVE_PERIOD_S = 30.0  # losing the host loses at most this much
LAST_SWEEP_TIMEOUT_S = 2.0
LOOK_PERIOD_S = 1.0  # how often newest values are told, and whether anything is measured in place is looked up


class Sampler:
    """Everything the sampling process holds, and what each message does to it."""

    def __init__(self, order: Message) -> None:
        self._order = order
        sys.path += [path for path in order.get("paths", ()) if path not in sys.path]
        self._local: str = order["local"]
        self._context = Context(run_token=order["run_token"], environ=os.environ, **order["context"])
        self._part = Part(order["part"])
        self._missing: list[Missing] = []
        self._sweepers: dict[int, Sweeper] = {}  # by the number of their stream
        self._next_stream = 0
        self._rests = False
        self._told: list[int] = []  # when the values last told were read
        if "application_pid" in order:
            self._context.watch(order["application_pid"])
        directory = order.get("in_place")
        self._activity = Activity(directory) if directory is not None else None
        header = {"run": order["run"], "local": self._local, "host": host_facts(), "clocks": clocks()}
        self._part.write_json(HEADER, header)

    def prepare(self) -> None:
        """Find what can be read and open it."""
        specs = self._order["backends"]
        found = self._unique(self._in_threads({name: partial(self._find, name) for name in specs}))
        measured = {name: what for name, what in found.items() if any(s.provenance == MEASURED for s in what[1])}
        self._open_all(measured)
        # An estimate of what is really measured would only cost time.
        opened = [sensor for sweeper in self._sweepers.values() for sensor in sweeper.sensors]
        estimated = {name: what for name, what in found.items() if name not in measured}
        superfluous = covered_estimates([*opened, *(s for _, sensors in estimated.values() for s in sensors)])
        self._open_all(estimated, superfluous)
        self._part.write_json(NOTE, {"missing": [missing._asdict() for missing in self._missing]})

    def start(self) -> None:
        """Sweep everything once; return when that is done."""
        for sweeper in self._sweepers.values():
            sweeper.start()
        deadline = time.monotonic() + PREPARE_TIMEOUT_S
        for sweeper in self._sweepers.values():
            sweeper.first_sweep.wait(max(0.0, deadline - time.monotonic()))

    def watch(self, process: dict[str, Any]) -> None:
        """The application has been started, or has ended."""
        self._context.watch(process["pid"])
        self._part.write_json(NOTE, {"process": process})

    def note(self, content: dict[str, Any]) -> None:
        """Keep something beside the samples."""
        self._part.write_json(NOTE, content)

    def sync(self, after_ns: int) -> None:
        """Sweep once that shows what there was at an instant, resting or not; return when that is done."""
        self._rests = False
        if self._activity is not None:
            self._activity.touch()
        self._wait_for([sweeper.sync(after_ns) for sweeper in self._sweepers.values()])

    def look(self, connection: Connection) -> None:
        """Once a second: rest if there is nothing to measure, tell the newest values if they are wanted."""
        if self._activity is not None and not self._rests and self._activity.idle_s() > REST_AFTER_S:
            self._rests = True
            self._wait_for([sweeper.rest() for sweeper in self._sweepers.values()])
        if self._order.get("live"):
            self._tell_newest(connection)

    @property
    def looks(self) -> bool:
        """Whether ``look`` has anything to do."""
        return bool(self._order.get("live")) or (self._activity is not None and not self._rests)

    def sensors(self) -> list[dict[str, Any]]:
        """What is read, in the order of the values that are told."""
        return [sensor._asdict() for sweeper in self._sweepers.values() for sensor in sweeper.sensors]

    def _tell_newest(self, connection: Connection) -> None:
        newest = [sweeper.newest for sweeper in self._sweepers.values()]
        if (when := [t_ns for t_ns, _ in newest]) != self._told:
            content: dict[str, Any] = {"t_ns": when, "raw": [list(raw) for _, raw in newest]}
            _report_if_room(connection, "values", **content)
            self._told = when

    def _wait_for(self, done: list[Event]) -> None:
        deadline = time.monotonic() + LAST_SWEEP_TIMEOUT_S
        for event in done:
            event.wait(max(0.0, deadline - time.monotonic()))

    def stop(self, stop_ns: int) -> None:
        """Sweep everything a last time."""
        for sweeper in self._sweepers.values():
            sweeper.stop(stop_ns)
        deadline = time.monotonic() + LAST_SWEEP_TIMEOUT_S
        for sweeper in self._sweepers.values():
            if not sweeper.join(max(0.0, deadline - time.monotonic())):
                sweeper.failure = f"a read did not return within {LAST_SWEEP_TIMEOUT_S:g} s"

    def move(self) -> None:
        """Bring the newest samples from this host's memory to the run's directory."""
        for stream, sweeper in self._sweepers.items():
            self._part.move(stream, sweeper.tail)

    def fsync(self) -> None:
        """Wait until the run's directory has everything."""
        self._part.sync()

    def close(self, cut: str | None) -> dict[str, Any]:
        """Complete the part and remove the host-local files; returns the sampler's own figures."""
        self.move()
        for rank in sorted(name for name in os.listdir(self._local) if name.isdigit()):
            for number, (facts, calls, rounds) in enumerate(marks.collect(os.path.join(self._local, rank), int(rank))):
                self._part.write_json(NOTE, {"marks": facts, "number": number})
                self._part.write(MARKS, calls, stream=int(rank), sequence=number)
                self._part.write(ROUNDS, rounds, stream=int(rank), sequence=number)
        stats = self._stats()
        self._part.write_json(FOOTER, {"stats": stats, "clocks": clocks(), "cut": cut})
        self._part.close()
        remove_directory(self._local)
        return stats

    def _in_threads(self, jobs: Mapping[str, Callable[[], T | None]]) -> dict[str, T]:
        """Do something for each backend, so that one that takes its time holds up the others for 2 s at most."""
        done: dict[str, T] = {}

        def work(name: str) -> None:
            result = jobs[name]()
            if result is not None:
                done[name] = result

        threads = {name: Thread(target=work, args=(name,), daemon=True) for name in jobs}
        for thread in threads.values():
            thread.start()
        deadline = time.monotonic() + PREPARE_TIMEOUT_S
        for name, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                reason = f"the backend was not ready within {PREPARE_TIMEOUT_S:g} s"
                self._missing.append(Missing(name, "all sensors", reason))
        return {name: done[name] for name in jobs if name in done and not threads[name].is_alive()}

    def _find(self, name: str) -> Found | None:
        result = discovery.find_all({name: self._order["backends"][name]}, self._context)
        self._missing.extend(result.missing)
        return (result.backends[name], result.sensors[name]) if name in result.backends else None

    def _unique(self, found: dict[str, Found]) -> dict[str, Found]:
        """Without the sensors whose ids another backend has already."""
        taken: set[str] = set()
        unique: dict[str, Found] = {}
        for name, (backend, sensors) in found.items():
            repeated = [sensor.id for sensor in sensors if sensor.id in taken]
            if repeated:
                self._missing.append(Missing(name, ", ".join(repeated), "another backend has these ids"))
            unique[name] = (backend, tuple(sensor for sensor in sensors if sensor.id not in taken))
            taken.update(sensor.id for sensor in sensors)
        return unique

    def _open_all(self, found: dict[str, Found], unwanted: Container[str] = ()) -> None:
        jobs: dict[str, Callable[[], Sweeper | None]] = {}
        streams: dict[str, int] = {}
        for name, (backend, sensors) in found.items():
            assigned = self._order["assigned"].get(name)
            wanted = [s for s in sensors if s.id not in unwanted and (assigned is None or s.id in assigned)]
            if wanted:
                streams[name] = self._next_stream + len(streams)
                jobs[name] = partial(self._open, backend, wanted, streams[name])
        for name, sweeper in self._in_threads(jobs).items():
            self._sweepers[streams[name]] = sweeper
            sensors_data = [sensor._asdict() for sensor in sweeper.sensors]
            facts = {"backend": name, "period_ns": sweeper.period_ns, "sensors": sensors_data}
            self._part.write_json(STREAM, facts, streams[name])
        self._next_stream += len(streams)

    def _open(self, backend: Backend, sensors: list[Sensor], stream: int) -> Sweeper | None:
        period_ns = max(self._order["period_ns"], backend.min_period_ns)
        rows = int((MOVE_PERIOD_S + 5) * NS_PER_S / period_ns) + 8
        try:
            tail = Tail(os.path.join(self._local, f"tail-{stream}"), len(sensors), rows)
            return Sweeper(backend, sensors, self._context, period_ns, tail)
        except Exception as error:  # noqa: BLE001 - a stranger's backend is reported, never fatal
            self._missing.append(Missing(backend.name, "all sensors", f"{type(error).__name__}: {error}"))
            return None

    def _stats(self) -> dict[str, Any]:
        return {
            "cpu_s": time.process_time(),
            "max_rss_b": peak_memory_b(),
            "missed_ticks": sum(sweeper.missed for sweeper in self._sweepers.values()),
            "dropped_sweeps": sum(sweeper.dropped for sweeper in self._sweepers.values()),
            "worst_lateness_ns": max((sweeper.worst_lateness_ns for sweeper in self._sweepers.values()), default=0),
            "failures": {s.sensors[0].backend: s.failure for s in self._sweepers.values() if s.failure is not None},
        }


def serve(connection: Connection) -> None:
    """Do what the monitor says until it says ``close``, or is gone."""
    sampler: Sampler | None = None
    next_move = time.monotonic() + MOVE_PERIOD_S
    while True:
        left_s = max(0.0, next_move - time.monotonic())
        try:
            message = connection.receive(
                min(left_s, LOOK_PERIOD_S) if sampler is not None and sampler.looks else left_s
            )
        except EOFError:
            if sampler is not None:
                sampler.stop(time.monotonic_ns())
                sampler.close("the profiler was killed")
            return
        if message is None and sampler is not None and sampler.looks:
            sampler.look(connection)
        if message is None and time.monotonic() < next_move:
            continue
        if message is None and sampler is not None:
            with contextlib.suppress(OSError):  # a full disk may have room again; until then the tails keep the samples
                sampler.move()
                sampler.fsync()
        if message is None:
            next_move = time.monotonic() + MOVE_PERIOD_S
            continue
        sampler = sampler or Sampler(message)
        if message["type"] == "sync":  # what is synced stays where it is until it has been read
            next_move = time.monotonic() + MOVE_PERIOD_S
        if _obey(sampler, message, connection):
            return


def _obey(sampler: Sampler, message: Message, connection: Connection) -> bool:
    """Do what one message says; True when it was the last."""
    kind = message["type"]
    if kind == "prepare":
        sampler.prepare()
        _report(connection, "ready", **({"sensors": sampler.sensors()} if message.get("live") else {}))
    elif kind == "start":
        sampler.start()
        _report(connection, "started")
    elif kind == "watch":
        sampler.watch(message["process"])
    elif kind == "note":
        sampler.note(message["content"])
    elif kind == "sync":
        sampler.sync(message["after_ns"])
        _report(connection, "synced")
    elif kind == "stop":
        sampler.stop(message["stop_ns"])
        _report(connection, "stopped")
    elif kind == "close":
        _report(connection, "closed", stats=sampler.close(message.get("cut")))
    return bool(kind == "close")


def _report(connection: Connection, type_: str, **content: Any) -> None:
    # A monitor that is gone is noticed when its pipe ends, after everything it said has been done.
    with contextlib.suppress(SamplerError):
        connection.send(type_, **content)


def _report_if_room(connection: Connection, type_: str, **content: Any) -> None:
    """Report what the next report will replace: never wait for a monitor that doesn't read."""
    with contextlib.suppress(OSError):
        if connection.has_room(64 * sum(map(len, content.values())) + 4096):
            _report(connection, type_, **content)


def main() -> None:
    """Entry point of the sampling process."""
    connection = Connection(0, 1)
    try:
        detach()
        serve(connection)
    except Exception as error:  # a process edge: the monitor is told, with the traceback
        import traceback  # takes 3 ms that the application would wait for

        _report(connection, "failed", reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise SystemExit(1) from error
