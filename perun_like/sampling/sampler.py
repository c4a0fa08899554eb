"""The sampling process: finds sensors, reads them on a time grid, and keeps what it read safe.

It is a fresh interpreter that has inherited nothing from the application but its environment. It obeys the messages of
:mod:`perun_like.sampling.protocol` on its standard streams; when the monitor is gone it saves everything and ends.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Container, Mapping
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

from perun_like.sampling import marks, ranks
from perun_like.sampling.activity import REST_AFTER_S, Activity
from perun_like.sampling.host import clocks, host_facts, peak_memory_b
from perun_like.sampling.local import remove_directory
from perun_like.sampling.protocol import Message
from perun_like.sampling.spool import FOOTER, HEADER, MARKS, NOTE, ROUNDS, STREAM, Part, Tail
from perun_like.sampling.sweeper import Sweeper, closest_ns
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
        self._shared: str | None = order.get("shared")
        self._cpus: set[int] = set()
        until = order.get("until")
        self.until_fd = None if until is None else os.open(until, os.O_RDONLY | os.O_NONBLOCK)
        self._marks: str | None = order.get("marks", self._local)
        header = {"run": order["run"], "local": self._local, "marks": self._marks}
        header |= {"host": host_facts(), "clocks": clocks()}
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
        if self._shared is not None:
            ranks.say_ready(self._shared)

    def watch(self, process: dict[str, Any]) -> None:
        """A process of the application has been started, or has ended."""
        is_first = self._context.application_pid is None
        self._context.watch(process["pid"])
        self._part.write_json(NOTE, {"process": process})
        for sweeper in self._sweepers.values():
            if is_first and sweeper.reads_energy:  # what the run uses is counted from here
                sweeper.sync(process["start_ns"])

    def note(self, content: dict[str, Any]) -> None:
        """Keep something beside the samples."""
        self._part.write_json(NOTE, content)

    def sync(self, after_ns: int) -> None:
        """Sweep once that shows what there was at an instant, resting or not; return when that is done."""
        self._rests = False
        if self._activity is not None:
            self._activity.touch()
        self._wait_for([sweeper.sync(after_ns) for sweeper in self._sweepers.values()])

    def look(self) -> None:
        """Once a second: rest if there is nothing to measure; see which ranks have come."""
        if self._activity is not None and not self._rests and self._activity.idle_s() > REST_AFTER_S:
            self._rests = True
            self._wait_for([sweeper.rest() for sweeper in self._sweepers.values()])
        if self._shared is not None:
            self._heed(ranks.read_notes(self._shared))

    @property
    def looks(self) -> bool:
        """Whether once a second there is anything to do."""
        return bool(self._order.get("live") or self._shared) or (self._activity is not None and not self._rests)

    def _heed(self, notes: dict[int, dict[str, Any]]) -> None:
        """Watch the processes of ranks that have started since, and keep out of the way of those that are bound."""
        for note in notes.values():
            if "process" in note:
                self._context.watch(note["process"]["pid"])
        free = ranks.unbound_cpus(notes, set(range(os.cpu_count() or 1)))
        if free and free != self._cpus:
            self._cpus = free
            ranks.move_to(free)

    def goes_on_alone(self) -> bool:
        """Whether there are ranks left although the one that has started us has gone."""
        if self.until_fd is None:
            return False
        waiting = select.poll()
        waiting.register(self.until_fd, 0)  # a hang-up is always told
        return not waiting.poll(0)

    def end_alone(self) -> None:
        """Nobody is left: complete the part."""
        notes = {} if self._shared is None else ranks.read_notes(self._shared)
        ends_ns = [note["process"].get("stop_ns", 0) for note in notes.values() if "process" in note]
        self.stop(max([*ends_ns, 0]) if self._shared is not None else time.monotonic_ns())
        self.close(None if self._shared is not None else "the profiler was killed")

    def sensors(self) -> list[dict[str, Any]]:
        """What is read, in the order of the values that are told."""
        return [sensor._asdict() for sweeper in self._sweepers.values() for sensor in sweeper.sensors]

    def newest(self) -> dict[str, list[Any]]:
        """When each sweeper has read last and what, if somebody wants to know and it isn't what was told before."""
        newest = [sweeper.newest for sweeper in self._sweepers.values()] if self._order.get("live") else []
        when = [t_ns for t_ns, _ in newest]
        if when == self._told:
            return {}
        self._told = when
        return {"t_ns": when, "raw": [list(raw) for _, raw in newest]}

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
        if self._marks is not None:
            self._keep_marks(self._marks)
        notes = {} if self._shared is None or self._marks is None else ranks.read_notes(self._shared)
        for note in notes.values():
            self._keep_note(note)
        stats = self._stats()
        self._part.write_json(FOOTER, {"stats": stats, "clocks": clocks(), "cut": cut, "ranks": list(notes)})
        if self._shared is not None:
            self.fsync()  # another host reads it, and job systems may end us at any moment
        self._part.close()
        remove_directory(self._local)
        if self._marks is not None:
            remove_directory(self._marks)
        return stats

    def _keep_marks(self, directory: str) -> None:
        for rank in sorted(name for name in os.listdir(directory) if name.isdigit()):
            for number, (facts, calls, rounds) in enumerate(marks.collect(os.path.join(directory, rank), int(rank))):
                self._part.write_json(NOTE, {"marks": facts, "number": number})
                self._part.write(MARKS, calls, stream=int(rank), sequence=number)
                self._part.write(ROUNDS, rounds, stream=int(rank), sequence=number)

    def _keep_note(self, note: dict[str, Any]) -> None:
        """What a rank has noted, as the monitor of a single process would have told it."""
        if "process" in note:
            self._part.write_json(NOTE, {"process": note["process"]})
        for function, place in note.get("functions", {}).items():
            self._part.write_json(NOTE, {"function": function, "place": place})

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
                self._missing.append(self._lost(name, reason))
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
        rows = int((MOVE_PERIOD_S + 5) * NS_PER_S / closest_ns(backend, sensors, period_ns)) + 8
        try:
            tail = Tail(os.path.join(self._local, f"tail-{stream}"), len(sensors), rows)
            return Sweeper(backend, sensors, self._context, period_ns, tail)
        except Exception as error:  # noqa: BLE001 - a stranger's backend is reported, never fatal
            self._missing.append(self._lost(backend.name, f"{type(error).__name__}: {error}"))
            return None

    def _lost(self, name: str, reason: str) -> Missing:
        """A backend that can't be used as a whole."""
        return Missing(name, "all sensors", reason, domains=discovery.domains_of(self._order["backends"][name]))

    def _stats(self) -> dict[str, Any]:
        return {
            "cpu_s": time.process_time(),
            "max_rss_b": peak_memory_b(),
            "missed_ticks": sum(sweeper.missed for sweeper in self._sweepers.values()),
            "dropped_sweeps": sum(sweeper.dropped for sweeper in self._sweepers.values()),
            "worst_lateness_ns": max((sweeper.worst_lateness_ns for sweeper in self._sweepers.values()), default=0),
            "failures": {s.sensors[0].backend: s.failure for s in self._sweepers.values() if s.failure is not None},
        }
