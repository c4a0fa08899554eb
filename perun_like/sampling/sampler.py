"""The sampler: what the sampling process reads, and when.

What it is told comes from :mod:`perun_like.sampling.serve`. How backends are found and opened is in
:mod:`perun_like.sampling.backends`, and what becomes of the samples in :mod:`perun_like.sampling.keeping`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Container, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any

from perun_like.sampling import ranks
from perun_like.sampling.backends import PREPARE_TIMEOUT_S, Backends, Found
from perun_like.sampling.host import clocks, peak_memory_b
from perun_like.sampling.keeping import Keeper
from perun_like.sampling.protocol import Message
from perun_like.sampling.spool import NOTE
from perun_like.sampling.sweeper import Sweeper
from perun_like.sensing import discovery
from perun_like.sensing.contract import MEASURED, Context
from perun_like.sensing.overlap import covered_estimates

if TYPE_CHECKING:
    from perun_like.sampling.activity import Activity
    from perun_like.sampling.company import Company

LAST_SWEEP_TIMEOUT_S = 2.0
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
        self._context = self._context_for(os.environ)
        self.company = _company(order)
        self._keeper = Keeper(order, self.company, read_clocks)
        self._backends = Backends(order, self._context)
        self._sweepers: dict[int, Sweeper] = {}  # by the number of their stream
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

    def _context_for(self, environ: Mapping[str, str]) -> Context:
        return Context(run_token=self._order["run_token"], environ=environ, **self._order["context"])

    def prepare(self) -> None:
        """Find what can be read and open it."""
        found = self._backends.find()
        measured = {name: what for name, what in found.items() if any(s.provenance == MEASURED for s in what[1])}
        self._open_all(measured)
        # An estimate of what is really measured would only cost time.
        opened = [sensor for sweeper in self._sweepers.values() for sensor in sweeper.sensors]
        estimated = {name: what for name, what in found.items() if name not in measured}
        superfluous = covered_estimates([*opened, *(s for _, sensors in estimated.values() for s in sensors)])
        self._open_all(estimated, superfluous)
        self._keeper.part.write_json(NOTE, {"missing": [missing._asdict() for missing in self._backends.missing]})
        self._outside = {name: {s.id for s in sensors if s.outside} for name, (_, sensors) in found.items()}
        told = {name for name, (_, sensors) in found.items() if sensors}
        told |= {missing.backend for missing in self._backends.missing if not missing.quiet}
        self._hides = any(name in told for name in ranks.OF_A_VIEW)
        self._keep_away([self._order.get("cpus", [])])

    def _open_all(self, found: Mapping[str, Found], unwanted: Container[str] = ()) -> list[Sweeper]:
        """Open what was found and keep what will be read of it; returns what reads it."""
        opened = self._backends.open(found, unwanted)
        for stream, name, sweeper in opened:
            self._sweepers[stream] = sweeper
            sensors = [sensor._asdict() for sensor in sweeper.sensors]
            facts = {"backend": name, "period_ns": sweeper.period_ns, "sensors": sensors}
            self._keeper.add(stream, facts, sweeper.tail)
        return [sweeper for _, _, sweeper in opened]

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
        self._keeper.note(content)

    def sync(self, after_ns: int) -> None:
        """Sweep once that shows what there was at an instant, resting or not; return when that is done."""
        self._rests = False
        if self._activity is not None:
            self._activity.touch()
        self._wait_for([sweeper.sync(after_ns) for sweeper in self._sweepers.values()])
        self._keeper.keep_clocks()  # who is asked all the time never has a second to look

    def look(self) -> None:
        """Once a second: see whether clocks were set; rest if nothing is measured; see which ranks have come."""
        self._keeper.keep_clocks()
        if self._activity is not None and not self._rests and self._activity.is_over():
            self._rests = True
            self._wait_for([sweeper.rest() for sweeper in self._sweepers.values()])
        if self.company is not None:
            self._heed(self.company)
            self._keeper.keep_error()

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
                self._begin(self._open_all({name: (found.backends[name], new)}))
        visible = (s for sensors in found.sensors.values() for s in sensors if s.domain == "gpu" and not s.outside)
        return [sensor.identity for sensor in visible]

    def end_alone(self) -> None:
        """Nobody is left: complete the part."""
        if self.company is None:
            self.stop(time.monotonic_ns())
            self.close("the profiler was killed" if self._activity is None else "the program ended and saved nothing")
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
        self._keeper.move()

    def keep_within_budget(self) -> None:
        """Have older samples thinned out if the part has become too large."""
        self._keeper.keep_within_budget()

    def fsync(self) -> None:
        """Wait until the run's directory has everything."""
        self._keeper.part.sync()

    def close(self, cut: str | None) -> dict[str, Any]:
        """Complete the part and remove the host-local files; returns the sampler's own figures."""
        self._keeper.keep_rest()
        stats = self._stats()
        self._keeper.close(stats, cut)
        return stats

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
