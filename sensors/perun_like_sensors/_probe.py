"""What the backends over :mod:`perun_like.sensing.system` have in common: look once, then read the same again."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.sensing.contract import Found, Missing, Sensor
from perun_like.sensing.system import Probe


class ProbeReader:
    """Some of the values of some probes.

    Args:
        probes: Read one after the other; their values together are numbered from 0.
        wanted: Which of these numbers to give, in this order.
    """

    def __init__(self, probes: Sequence[Probe], wanted: Sequence[int]) -> None:
        self._probes = probes
        self._wanted = wanted

    def read(self) -> list[int | None]:
        """The wanted values; None for one that can't be read."""
        values = [value for probe in self._probes for value in probe.read()]
        return [values[number] for number in self._wanted]

    def close(self) -> None:
        """Close the probes; a second call does nothing."""
        for probe in self._probes:
            probe.close()


def pick(sensors: Sequence[Sensor], known: Sequence[Sensor]) -> list[int]:
    """Numbers of the wanted sensors among all that a backend knows."""
    ids = [sensor.id for sensor in known]
    return [ids.index(sensor.id) for sensor in sensors]


def readable(probes: Sequence[Probe], known: Sequence[Sensor], reason: str, remedy: str = "") -> Found:
    """Those sensors whose value can be read now; one reason for all others. Closes the probes."""
    reader = ProbeReader(probes, range(len(known)))
    try:
        values = reader.read()
    finally:
        reader.close()
    found = [sensor for sensor, value in zip(known, values, strict=True) if value is not None]
    lost = [sensor for sensor, value in zip(known, values, strict=True) if value is None]
    if not lost:
        return Found(found)
    return Found(found, [Missing(lost[0].backend, ", ".join(sensor.id for sensor in lost), reason, remedy)])
