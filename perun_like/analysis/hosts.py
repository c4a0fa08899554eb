"""Hosts of a run as the analysis sees them: one a machine, on its own clock, with each physical thing read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from perun_like.analysis.counters import Counter
from perun_like.analysis.gauges import Gauge
from perun_like.analysis.integrals import Curve
from perun_like.analysis.readings import Readings
from perun_like.analysis.windows import Windows
from perun_like.model.recording import HostRecording, Recording, Stream
from perun_like.sensing.contract import Sensor
from perun_like.sensing.overlap import Split

_READ_APART_S = 0.05  # two clocks can't be read at one instant


@dataclass(frozen=True)
class Host:
    """One machine's part of a run, or of one of its rounds.

    Attributes:
        name: Its hostname.
        readings: What was read on it, in all rounds.
        windows: When the round was, on this host's CLOCK_MONOTONIC: one window, or several in ascending order.
        run_ns: When the run was, all of its rounds together.
        shift_ns: How much this host's clock is ahead of the first host's.
        rounds: How many there are.
        whole: Whether the application began and ended with the round: what it has used in all, it has used in there.
        until_ns: When the next round begins, which later sweeps may be of; None if none does.
        alone: Whether it is the run's only host.
    """

    name: str
    readings: Readings
    windows: Windows
    run_ns: tuple[int, int]
    shift_ns: int = 0
    rounds: int = 1
    whole: bool = True
    until_ns: int | None = None
    alone: bool = True

    @property
    def recording(self) -> HostRecording:
        """What was recorded on it, by all its samplers."""
        return self.readings.recording

    @property
    def window_ns(self) -> tuple[int, int]:
        """From the round's start to its end."""
        return int(self.windows.a_ns[0]), int(self.windows.b_ns[-1])

    @cached_property
    def duration_s(self) -> float:
        """Time in the round's windows."""
        return float(np.sum(self.windows.b_ns - self.windows.a_ns)) / 1e9

    @property
    def logical_cpus(self) -> int | None:
        """Logical CPUs, if known."""
        count = self.recording.host.get("logical_cpus")
        return int(count) if count else None

    @property
    def identity(self) -> str:
        """Its boot id, by which processes name it; empty if unknown."""
        return str(self.recording.host.get("boot_id") or "")

    @property
    def marked_ranks(self) -> set[int]:
        """Ranks that left marks on it."""
        marks = {calls.rank for calls in self.recording.regions}
        return marks | {rounds.rank for rounds in self.recording.rounds}

    @property
    def clock_error_s(self) -> float | None:
        """How far its real time may have been off; None if unknown."""
        return clock_error_s(self.recording.host.get("clocks"))

    @property
    def clock_step_s(self) -> float | None:
        """By how much its real time moved against CLOCK_MONOTONIC while it was recorded; None if unknown."""
        return clock_step_s(self.recording.host.get("clocks"))

    @property
    def last_read_unix_ns(self) -> int | None:
        """When it was last read, in real time by its clocks at the beginning; None if that isn't known."""
        ends_ns = [int(stream.t1_ns[-1]) for stream in self.recording.streams if len(stream.t1_ns)]
        clocks = self.recording.host.get("clocks")
        return max(ends_ns) - _clock_ahead_ns(self.recording) if ends_ns and clocks else None

    @property
    def slept_s(self) -> float:
        """How long the machine was suspended while it was recorded: CLOCK_MONOTONIC stands still then."""
        clocks = [entry for entry in self.recording.host.get("clocks") or [] if entry and "boottime_ns" in entry]
        asleep_ns = [entry["boottime_ns"] - entry["monotonic_ns"] for entry in clocks]
        slept_s = (asleep_ns[-1] - asleep_ns[0]) / 1e9 if asleep_ns else 0.0
        return slept_s if slept_s > _READ_APART_S else 0.0

    @property
    def sensors(self) -> list[Sensor]:
        """All sensors that were recorded."""
        return self.readings.sensors

    @property
    def counters(self) -> Mapping[str, Counter]:
        """Unwrapped counters by sensor id."""
        return self.readings.counters

    @property
    def gauges(self) -> dict[str, Gauge]:
        """Successful reads of each gauge, by sensor id."""
        return self.readings.gauges

    @property
    def curves(self) -> dict[str, Curve | None]:
        """The integral of each gauge that stands for an energy, by sensor id."""
        return self.readings.curves

    @property
    def split(self) -> Split:
        """Which energy sensors a total adds."""
        return self.readings.split

    def of_quantity(self, quantity: str, group: str) -> list[Sensor]:
        """Sensors of a quantity in a device group."""
        return [s for s in self.sensors if s.quantity == quantity and s.group == group]

    def sweeps(self, stream: Stream) -> slice:
        """The sweeps of a stream that are the round's: all, if it is the only one."""
        if self.whole:
            return slice(None)
        a_ns, b_ns = self.window_ns
        return slice(int(np.searchsorted(stream.t0_ns, a_ns)), int(np.searchsorted(stream.t1_ns, b_ns, "right")))


def clock_error_s(clocks: Sequence[Mapping[str, Any] | None] | None) -> float | None:
    """How far a host's real time may have been off at most, by all looks at that; None if one of them couldn't tell."""
    told = [entry["error_ns"] for entry in clocks or () if entry and "error_ns" in entry]
    return max(told) / 1e9 if told and None not in told else None


def clock_step_s(clocks: Sequence[Mapping[str, Any] | None] | None) -> float | None:
    """By how much a host's real time moved against CLOCK_MONOTONIC between two looks at both; None if unknown."""
    ahead_ns = [int(entry["monotonic_ns"]) - int(entry["realtime_ns"]) for entry in clocks or () if entry]
    return abs(ahead_ns[-1] - ahead_ns[0]) / 1e9 if len(ahead_ns) > 1 else None


def hosts_of(recording: Recording) -> list[Host]:
    """The machines of a run in the order they were recorded, several samplers of one machine joined."""
    parts: dict[str, list[HostRecording]] = {}
    for number, part in enumerate(recording.hosts):
        identity = part.host.get("boot_id") or part.host.get("hostname") or f"#{number}"
        parts.setdefault(str(identity), []).append(part)
    hosts = [
        replace(_host(recording, of_machine, number), alone=len(parts) == 1)
        for number, of_machine in enumerate(parts.values())
    ]
    names = [host.name for host in hosts]
    return [
        host if host.name not in names[:number] else replace(host, name=f"{host.name} #{number}")
        for number, host in enumerate(hosts)
    ]


def _host(recording: Recording, parts: list[HostRecording], number: int) -> Host:
    shift_ns = _clock_ahead_ns(parts[0]) - _clock_ahead_ns(recording.hosts[0]) if number else 0
    run_ns = recording.window_ns[0] + shift_ns, recording.window_ns[1] + shift_ns
    name = parts[0].host.get("hostname") or f"host {number}"
    return Host(str(name), Readings(_joined(parts)), Windows.one(*run_ns), run_ns, shift_ns)


def _clock_ahead_ns(part: HostRecording) -> int:
    """CLOCK_MONOTONIC less real time; 0 where that wasn't recorded."""
    clocks: list[dict[str, Any] | None] = part.host.get("clocks") or []
    first = clocks[0] if clocks else None
    return int(first["monotonic_ns"]) - int(first["realtime_ns"]) if first else 0


def _joined(parts: list[HostRecording]) -> HostRecording:
    """Several samplers' recordings of one machine as one, without what was read twice."""
    if len(parts) == 1:
        return parts[0]
    return parts[0]._replace(
        streams=_without_repeats(stream for part in parts for stream in part.streams),
        missing=tuple(dict.fromkeys(m for part in parts for m in part.missing)),
        regions=tuple(calls for part in parts for calls in part.regions),
        rounds=tuple(rounds for part in parts for rounds in part.rounds),
        stats=_sums([part.stats for part in parts]),
        cut=next((part.cut for part in parts if part.cut), None),
    )


def _without_repeats(every: Iterable[Stream]) -> tuple[Stream, ...]:
    """Streams with each physical quantity read once, and ids that differ (two ranks may both have a GPU 0)."""
    streams = list(every)
    seen: set[tuple[str, str]] = set()
    counted = {_what(sensor) for stream in streams for sensor in stream.sensors if not sensor.outside}
    ids: set[str] = set()
    kept: list[Stream] = []
    for stream in streams:
        # What another sampler's application can see belongs to the run: that reading of it is kept.
        rows = [
            row
            for row, sensor in enumerate(stream.sensors)
            if _what(sensor) not in seen and not (sensor.outside and _what(sensor) in counted)
        ]
        sensors = [_renamed(stream.sensors[row], ids) for row in rows]
        seen.update(_what(stream.sensors[row]) for row in rows)
        ids.update(sensor.id for sensor in sensors)
        raw = [stream.raw[row] for row in rows]
        kept.append(stream._replace(sensors=tuple(sensors), raw=raw, valid=stream.valid[rows]))
    return tuple(kept)


def _what(sensor: Sensor) -> tuple[str, str]:
    return sensor.quantity, sensor.identity or sensor.id


def _renamed(sensor: Sensor, taken: set[str]) -> Sensor:
    return sensor._replace(id=f"{sensor.id}@{sensor.identity}") if sensor.id in taken else sensor


def _sums(stats: list[dict[str, Any]]) -> dict[str, Any]:
    """What all samplers cost together; a figure that one of them lacks isn't known."""
    common = set.intersection(*(set(one) for one in stats))
    numbers = {key for key in common if all(isinstance(one[key], (int, float)) for one in stats)}
    return {key: sum(one[key] for one in stats) for key in sorted(numbers)}
