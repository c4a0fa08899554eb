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
from typing import TYPE_CHECKING, Any, TypeVar

from perun_like.sampling import ranks, segments
from perun_like.sampling.host import clocks, host_facts, peak_memory_b
from perun_like.sampling.keeping import Clocks, Notes, keep_marks
from perun_like.sampling.local import is_of_part, name_part, remove_directory
from perun_like.sampling.protocol import Message
from perun_like.sampling.spool import FOOTER, HEADER, NOTE, STREAM, Part, Tail
from perun_like.sampling.sweeper import Sweeper, closest_ns
from perun_like.sensing import discovery
from perun_like.sensing.contract import MEASURED, Backend, Context, Missing, Sensor
from perun_like.sensing.overlap import covered_estimates
from perun_like.units import NS_PER_S

if TYPE_CHECKING:
    from perun_like.sampling.activity import Activity
    from perun_like.sampling.budget import Budget
    from perun_like.sampling.company import Company

T = TypeVar("T")
Found = tuple[Backend, tuple[Sensor, ...]]

PREPARE_TIMEOUT_S = 2.0  # the application waits no longer than this for a slow backend
MOVE_PERIOD_S = 30.0  # losing the host loses at most this much
LAST_SWEEP_TIMEOUT_S = 2.0
_PATIENCE_S = 0.02  # for a backend, before the next one has its turn beside it
SPOOL_BUDGET_B = 10**9
LOOK_PERIOD_S = 1.0  # how often newest values are told, and whether anything is measured in place is looked up


class Sampler:
    """Everything the sampling process holds, and what each message does to it.

    Args:
        order: The message that says what to read and where to write.
        read_clocks: Reads the host's clocks.

    Attributes:
        company: The ranks it works for, where they are several.
        started: Whether it reads.
    """

    def __init__(self, order: Message, read_clocks: Callable[[], dict[str, int]] = clocks) -> None:
        self._order = order
        sys.path += [path for path in order.get("paths", ()) if path not in sys.path]
        self._local: str = order["local"]
        self._context = self._context_for(os.environ)
        self._part = Part(order["part"])
        self._clocks = Clocks(self._part, read_clocks)
        self._knows_error = False
        self._budget_b: int = order.get("spool_budget_b", SPOOL_BUDGET_B)
        self._budget: Budget | None = None
        self._missing: list[Missing] = []
        self._unkept: list[dict[str, Any]] = []  # notes for which there was no room yet
        self._sweepers: dict[int, Sweeper] = {}  # by the number of their stream
        self._next_stream = 0
        self._rests = False
        self._told: list[int] = []  # when the values last told were read
        if "application_pid" in order:
            self._context.watch(order["application_pid"])
        directory = order.get("in_place")
        self._activity = _activity(directory) if directory is not None else None
        self._outside: dict[str, set[str]] = {}  # by backend, what the application can't see
        self._hides = False
        self._choices: dict[tuple[tuple[str, str], ...], list[str]] = {}  # GPUs seen, by what a rank was told
        self._cpus: set[int] = set()
        self.started = False
        self.company = _company(order)
        self._marks: str | None = order.get("marks", self._local)
        if self._marks is not None:
            segments.offer(self._marks)
        self._notes = Notes(self._part, self.company.run) if self.company is not None and self._marks else None
        header = {"run": order["run"], "rank": order.get("rank", 0), "local": self._local, "marks": self._marks}
        header |= {"host": host_facts(), "clocks": self._clocks.begin}
        self._part.write_json(HEADER, header)
        self._sign()

    def _context_for(self, environ: Mapping[str, str]) -> Context:
        return Context(run_token=self._order["run_token"], environ=environ, **self._order["context"])

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
        self._outside = {name: {s.id for s in sensors if s.outside} for name, (_, sensors) in found.items()}
        told = {name for name, (_, sensors) in found.items() if sensors}
        told |= {missing.backend for missing in self._missing if not missing.quiet}
        self._hides = any(name in told for name in ranks.OF_A_VIEW)
        self._keep_away([self._order.get("cpus", [])])

    def start(self) -> None:
        """Sweep everything once; return when that is done."""
        self._begin(list(self._sweepers.values()))
        self.started = True
        if self.company is not None:
            self.company.say_ready(hides=self._hides)

    @staticmethod
    def _begin(sweepers: list[Sweeper]) -> None:
        for sweeper in sweepers:
            sweeper.start()
        deadline = time.monotonic() + PREPARE_TIMEOUT_S
        for sweeper in sweepers:
            sweeper.first_sweep.wait(max(0.0, deadline - time.monotonic()))

    def watch(self, process: dict[str, Any]) -> None:
        """A process of the application has been started, or has ended."""
        is_first = self._context.application_pid is None
        self._context.watch(process["pid"])
        self.note({"process": process})
        for sweeper in self._sweepers.values():
            if is_first and sweeper.reads_energy:  # what the run uses is counted from here
                sweeper.sync(process["start_ns"])

    def note(self, content: dict[str, Any]) -> None:
        """Keep something beside the samples, now or as soon as there is room for it."""
        self._unkept.append(content)
        with contextlib.suppress(OSError):
            self._keep_notes()

    def _keep_notes(self) -> None:
        while self._unkept:
            self._part.write_json(NOTE, self._unkept[0])
            del self._unkept[0]

    def sync(self, after_ns: int) -> None:
        """Sweep once that shows what there was at an instant, resting or not; return when that is done."""
        self._rests = False
        if self._activity is not None:
            self._activity.touch()
        self._wait_for([sweeper.sync(after_ns) for sweeper in self._sweepers.values()])
        self._keep_clocks()  # who is asked all the time never has a second to look

    def look(self) -> None:
        """Once a second: see whether clocks were set; rest if nothing is measured; see which ranks have come."""
        self._keep_clocks()
        if self._activity is not None and not self._rests and self._activity.is_over():
            self._rests = True
            self._wait_for([sweeper.rest() for sweeper in self._sweepers.values()])
        if self.company is not None:
            self._heed(self.company)
            if not self._knows_error:
                with contextlib.suppress(OSError):  # where there is no room for it now, there may be later
                    self._clocks.keep_error()
                    self._knows_error = True

    @property
    def looks(self) -> bool:
        """Whether once a second there is anything to do."""
        reads = (self.started or self._activity is not None) and not self._rests
        return bool(self._order.get("live")) or self.company is not None or reads

    def _heed(self, company: Company) -> None:
        """Watch the processes of ranks that have started since, see what they see, and keep out of their way."""
        company.look()
        for pid in company.pids:
            self._context.watch(pid)
        newcomers = company.newcomers()
        for rank, choice in newcomers.items() if self._hides else ():
            self.note({"gpus_of_rank": rank, "gpus": self._gpus_seen_with(choice)})
        self._keep_away(company.bound)

    def _gpus_seen_with(self, choice: Mapping[str, str]) -> list[str]:
        """Identities of GPUs that are visible with these variables; many ranks have the same."""
        key = tuple(sorted(choice.items()))
        if key not in self._choices:
            common = {name: value for name, value in os.environ.items() if name not in ranks.VISIBILITY}
            self._choices[key] = self._see({**common, **choice})
        return self._choices[key]

    def _keep_away(self, bound: list[list[int]]) -> None:
        free = ranks.free_cpus(bound)
        if free and free != self._cpus:
            self._cpus = free
            ranks.move_to(free)

    def _see(self, environ: Mapping[str, str]) -> list[str]:
        """What a rank with this environment can see belongs to the application, whatever others can see."""
        specs = {name: spec for name, spec in self._order["backends"].items() if name in ranks.OF_A_VIEW}
        found = discovery.find_all(specs, self._context_for(environ))
        known = {sensor.id for sweeper in self._sweepers.values() for sensor in sweeper.sensors}
        for name, sensors in found.sensors.items():
            seen = [sensor for sensor in sensors if not sensor.outside]
            if inside := self._outside.get(name, set()).intersection(sensor.id for sensor in seen):
                self._outside[name] -= inside
                self.note({"inside": sorted(inside)})
                new = tuple(sensor for sensor in seen if sensor.id not in known)
                first = self._next_stream
                self._open_all({name: (found.backends[name], new)})
                self._begin([sweeper for stream, sweeper in self._sweepers.items() if stream >= first])
        visible = (s for sensors in found.sensors.values() for s in sensors if s.domain == "gpu" and not s.outside)
        return [sensor.identity for sensor in visible]

    def end_alone(self) -> None:
        """Nobody is left: complete the part."""
        if self.company is None:
            self.stop(time.monotonic_ns())
            self.close("the profiler was killed")
        else:
            self._heed(self.company)
            self.stop(self.company.last_stop_ns)
            self.close(None)

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
        with contextlib.suppress(OSError):  # then they go to where it is now, if it is anywhere
            self._part.restore()
        self._sign()
        self._keep_notes()
        for stream, sweeper in self._sweepers.items():
            self._part.move(stream, sweeper.tail)
        if self._notes is not None:
            self._notes.keep()
        self._clocks.keep()

    def _keep_clocks(self) -> None:
        with contextlib.suppress(OSError):  # where there is no room for it now, there may be later
            self._clocks.keep()

    def keep_within_budget(self) -> None:
        """Have older samples thinned out if the part has become too large."""
        if self._budget is None and self._part.size_b > self._budget_b:
            from perun_like.sampling.budget import Budget  # few runs are long enough to need it

            self._budget = Budget(self._part, self._budget_b)
        if self._budget is not None:
            self._budget.look()
            self._sign()

    def _sign(self) -> None:
        """Note whose the newest samples are: the part may be another file by now."""
        with contextlib.suppress(OSError):  # nobody then knows whose they are, and they stay here after a kill
            if not is_of_part(self._local, self._part.fileno()):
                name_part(self._local, self._part.fileno())

    def fsync(self) -> None:
        """Wait until the run's directory has everything."""
        self._part.sync()

    def close(self, cut: str | None) -> dict[str, Any]:
        """Complete the part and remove the host-local files; returns the sampler's own figures."""
        if self._budget is not None:
            self._budget.abandon()
        self.move()
        if self._marks is not None:
            keep_marks(self._part, self._marks)
        stats = self._stats()
        noted = [] if self._notes is None else self._notes.ranks
        end = self._clocks.end(error=self.company is not None)  # other hosts' times are compared with ours
        self._part.write_json(FOOTER, {"stats": stats, "clocks": end, "cut": cut, "ranks": noted})
        if self.company is not None:
            self.fsync()  # another host reads it, and job systems may end us at any moment
        self._part.close()
        remove_directory(self._local)
        if self.company is not None and self._notes is not None:
            self._leave(self.company, self._notes)
        segments.remove_nameless()
        return stats

    def _leave(self, company: Company, notes: Notes) -> None:
        """Remove what was the ranks', and the part if none of them ever ran anything."""
        from perun_like.launch.turns import set_aside

        with contextlib.suppress(OSError):  # somebody has deleted it
            remove_directory(set_aside(company.run))
        if notes.any_ran:
            if company.is_last_run:
                remove_directory(os.path.dirname(company.run))
        else:
            with contextlib.suppress(OSError):  # others have left theirs
                os.unlink(self._part.path)
                os.rmdir(os.path.dirname(self._part.path))

    def _in_threads(self, jobs: Mapping[str, Callable[[], T | None]]) -> dict[str, T]:
        """Do something for each backend, so that one that takes its time holds up the others for a moment only.

        Normally one thread is done when the next one starts: importing and reading in several at once takes twice as
        long, as they wait for each other.
        """
        done: dict[str, T] = {}

        def work(name: str) -> None:
            result = jobs[name]()
            if result is not None:
                done[name] = result

        threads = {name: Thread(target=work, args=(name,), daemon=True) for name in jobs}
        for thread in threads.values():
            thread.start()
            thread.join(_PATIENCE_S)
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


def _activity(directory: str) -> Activity:
    from perun_like.sampling.activity import Activity  # 1 ms that only functions measured in place need

    return Activity(directory)


def _company(order: Message) -> Company | None:
    if "shared" not in order:
        return None
    from perun_like.sampling.company import Company  # 1 ms that a single process needn't wait for

    return Company(order["shared"], order["directory"], order["expected"], order["view"])
