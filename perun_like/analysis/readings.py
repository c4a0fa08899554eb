"""What was read on one machine in a whole recording, worked out once for all of its rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perun_like.analysis.counters import Counter, Counters
from perun_like.analysis.gauges import Gauge
from perun_like.analysis.integrals import Curve
from perun_like.model.recording import HostRecording, Stream
from perun_like.sensing.contract import GAUGE, Sensor
from perun_like.sensing.overlap import Split, is_energy, mirrored, split

_SWEEPS_TO_COMPARE = 5


@dataclass(frozen=True)
class Readings:
    """One machine's sensors, by sensor id, and what they showed.

    Attributes:
        recording: What was recorded on it, by all its samplers.
    """

    recording: HostRecording

    @cached_property
    def sensors(self) -> list[Sensor]:
        """All sensors that were recorded."""
        return [sensor for stream in self.recording.streams for sensor in stream.sensors]

    @cached_property
    def counters(self) -> Mapping[str, Counter]:
        """Unwrapped counters."""
        return Counters(self.recording.streams)

    @cached_property
    def gauges(self) -> dict[str, Gauge]:
        """Successful reads of each gauge."""
        return {
            sensor.id: Gauge.of(stream, row)
            for stream in self.recording.streams
            for row, sensor in enumerate(stream.sensors)
            if sensor.kind == GAUGE
        }

    @cached_property
    def curves(self) -> dict[str, Curve | None]:
        """The integral of each gauge that stands for an energy; None where it was read less than twice."""
        return {id_: Curve.of(gauge) for id_, gauge in self.gauges.items() if is_energy(gauge.sensor)}

    @cached_property
    def split(self) -> Split:
        """Which energy sensors a total adds."""
        mirrors: dict[str, str] = {}
        for stream in self.recording.streams:
            mirrors |= mirrored(stream.sensors, _some_sweeps(stream))
        return split(self.sensors, mirrors)

    def last_value(self, id_: str) -> tuple[float, int] | None:
        """What the last successful read of a sensor showed, in its unit, and when; None if there is none."""
        for stream in self.recording.streams:
            for row, sensor in enumerate(stream.sensors):
                if sensor.id == id_ and stream.valid[row].any():
                    last = int(np.flatnonzero(stream.valid[row])[-1])
                    return float(stream.raw[row][last]) * sensor.scale, int(stream.t0_ns[last])
        return None


def _some_sweeps(stream: Stream) -> list[list[int | None]]:
    """A few complete sweeps, spread over the recording."""
    complete = np.flatnonzero(stream.valid.all(axis=0))
    chosen = complete[:: max(len(complete) // _SWEEPS_TO_COMPARE, 1)]
    return [[int(column[sweep]) for column in stream.raw] for sweep in chosen.tolist()]
