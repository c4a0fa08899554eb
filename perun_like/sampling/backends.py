"""The backends of a sampler: found and opened so that none that fails or takes its time holds up the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Mapping
from functools import partial
from threading import Thread
from typing import TypeVar

from perun_like.sampling.keeping import MOVE_PERIOD_S
from perun_like.sampling.protocol import Message
from perun_like.sampling.spool import Tail
from perun_like.sampling.sweeper import Sweeper, closest_ns
from perun_like.sensing import discovery
from perun_like.sensing.contract import Backend, Context, Missing, Sensor
from perun_like.units import NS_PER_S

T = TypeVar("T")
Found = tuple[Backend, tuple[Sensor, ...]]

PREPARE_TIMEOUT_S = 2.0  # the application waits no longer than this for a slow backend
_PATIENCE_S = 0.02  # for a backend, before the next one has its turn beside it


class Backends:
    """Finds out what can be read here, and opens it.

    Args:
        order: The message that says which there are, what of them to read and how often.
        context: What backends are told.

    Attributes:
        missing: What can't be read, and why.
    """

    def __init__(self, order: Message, context: Context) -> None:
        self._order, self._context = order, context
        self._next_stream = 0
        self.missing: list[Missing] = []

    def find(self) -> dict[str, Found]:
        """What can be read, by backend; no two sensors have one id."""
        return self._unique(self._in_threads({name: partial(self._find, name) for name in self._order["backends"]}))

    def open(self, found: Mapping[str, Found], unwanted: Container[str] = ()) -> list[tuple[int, str, Sweeper]]:
        """Open what was found, so far as it was asked for.

        Args:
            found: Backends and sensors, by backend.
            unwanted: Ids of sensors that nobody needs.

        Returns:
            Of each backend the number of its stream, its name, and what reads it.
        """
        jobs: dict[str, Callable[[], Sweeper | None]] = {}
        streams: dict[str, int] = {}
        for name, (backend, sensors) in found.items():
            assigned = self._order["assigned"].get(name)
            wanted = [s for s in sensors if s.id not in unwanted and (assigned is None or s.id in assigned)]
            if wanted:
                streams[name] = self._next_stream + len(streams)
                jobs[name] = partial(self._open, backend, wanted, streams[name])
        opened = [(streams[name], name, sweeper) for name, sweeper in self._in_threads(jobs).items()]
        self._next_stream += len(streams)
        return opened

    def _open(self, backend: Backend, sensors: list[Sensor], stream: int) -> Sweeper | None:
        period_ns = max(self._order["period_ns"], backend.min_period_ns)
        rows = int((MOVE_PERIOD_S + 5) * NS_PER_S / closest_ns(backend, sensors, period_ns)) + 8
        try:
            tail = Tail(os.path.join(self._order["local"], f"tail-{stream}"), len(sensors), rows)
            return Sweeper(backend, sensors, self._context, period_ns, tail)
        except Exception as error:  # noqa: BLE001 - a stranger's backend is reported, never fatal
            self.missing.append(self._lost(backend.name, f"{type(error).__name__}: {error}"))
            return None

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
                self.missing.append(self._lost(name, reason))
        return {name: done[name] for name in jobs if name in done and not threads[name].is_alive()}

    def _find(self, name: str) -> Found | None:
        result = discovery.find_all({name: self._order["backends"][name]}, self._context)
        self.missing.extend(result.missing)
        return (result.backends[name], result.sensors[name]) if name in result.backends else None

    def _unique(self, found: dict[str, Found]) -> dict[str, Found]:
        """Without the sensors whose ids another backend has already."""
        taken: set[str] = set()
        unique: dict[str, Found] = {}
        for name, (backend, sensors) in found.items():
            repeated = [sensor.id for sensor in sensors if sensor.id in taken]
            if repeated:
                self.missing.append(Missing(name, ", ".join(repeated), "another backend has these ids"))
            unique[name] = (backend, tuple(sensor for sensor in sensors if sensor.id not in taken))
            taken.update(sensor.id for sensor in sensors)
        return unique

    def _lost(self, name: str, reason: str) -> Missing:
        """A backend that can't be used as a whole."""
        return Missing(name, "all sensors", reason, domains=discovery.domains_of(self._order["backends"][name]))
