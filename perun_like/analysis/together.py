"""Bounds that rounds have together: what is certain of all of them is certain of their mean, and of its parts.

Hard bounds are as wide for short rounds as for long ones, but there is only one beginning and one end of all of them:
reads that lie between rounds say how much those before and those after have used at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perun_like.analysis.energy import energies, energy_sensors, sensor_energy, total_energy
from perun_like.analysis.hosts import Host
from perun_like.analysis.intervals import union
from perun_like.analysis.totals import total
from perun_like.analysis.windows import Floats, Windows
from perun_like.model.node import Metric

Part = tuple[Host, Windows]  # a host and when it was in each round, on the first host's clock

_GROUPS = {"energy_j": None, "cpu_energy_j": "cpu", "dram_energy_j": "dram", "gpu_energy_j": "gpu"}


def together(parts: Sequence[Part], windows: Windows) -> dict[str, Metric]:
    """Energy of all rounds as one: of all devices and of each group, by name; nothing if rounds overlap.

    Args:
        parts: The hosts, and the time of their own ranks in each round.
        windows: The rounds, each an owner, on the first host's clock.
    """
    joined = _joined(windows)
    if int(np.sum(windows.b_ns - windows.a_ns)) > int(np.sum(joined.b_ns - joined.a_ns)):
        return {}
    hosts = [(host, _of_sensors(host, _joined(own))) for host, own in parts if len(own.a_ns)]
    return {
        name: _sum({host.name: total_energy(host, sensors, group) for host, sensors in hosts})
        for name, group in _GROUPS.items()
    }


def _joined(windows: Windows) -> Windows:
    """The time of all rounds as windows of one owner."""
    joined = union(np.zeros(len(windows.a_ns), np.int64), windows.a_ns, windows.b_ns, 1)
    return Windows.joined(joined.a_ns, joined.b_ns)


def _of_sensors(host: Host, windows: Windows) -> dict[str, Metric]:
    """Energy of the added sensors of a host."""
    added = {sensor.id: sensor for sensor in energy_sensors(host) if sensor.id in host.split.added}
    found, duration_s = energies(host, added.values(), windows.later(host.shift_ns)), float(windows.duration_s[0])
    return {id_: sensor_energy(sensor, found[id_], 0, duration_s) for id_, sensor in added.items()}


def _sum(wholes: Mapping[str, Metric]) -> Metric:
    return next(iter(wholes.values())) if len(wholes) == 1 else total(wholes, "J", "no round was on any host")


def within(mean: Metric, whole: Metric | None, rounds: int) -> Metric:
    """A mean over rounds, with the bounds that all rounds together leave it.

    Args:
        mean: An energy, or a part of one, over those rounds that have it.
        whole: That energy, of all rounds as one; None if it isn't known.
        rounds: How many these are.
    """
    if whole is None or mean.value is None or not mean.n:
        return mean
    lower, upper = mean.lower, mean.upper
    if lower is not None and whole.lower is not None and mean.n == rounds:
        lower = max(lower, whole.lower / rounds)
    if upper is not None and whole.upper is not None:  # the others have not used less than nothing
        upper = min(upper, whole.upper / mean.n)
    return _around(mean, lower, upper)


def parts_within(means: Mapping[str, Metric], wholes: Mapping[str, Metric], rounds: int) -> dict[str, Metric]:
    """Means of energies over rounds, none of them larger than what it is a part of.

    Args:
        means: Metrics over the rounds; ``energy_j`` and its parts are looked at.
        wholes: What :func:`together` says of the same rounds.
        rounds: How many these are.
    """
    bounded = {name: within(means[name], wholes.get(name), rounds) for name in _GROUPS}
    share, rest = means["energy_share_j"], means["energy_rest_j"]
    # Of either at least that much is the other's, and at most this.
    bounded["energy_share_j"] = _beside(share, rest, bounded["energy_j"])
    bounded["energy_rest_j"] = _beside(rest, share, bounded["energy_j"])
    return bounded


def _beside(part: Metric, other: Metric, whole: Metric) -> Metric:
    """A part of a whole of which the other part is all else."""
    if part.value is None or not part.n == other.n == whole.n:
        return part
    lower, upper = part.lower, part.upper
    if lower is not None and whole.lower is not None and other.upper is not None:
        lower = max(lower, whole.lower - other.upper)
    if upper is not None and whole.upper is not None and other.lower is not None:
        upper = min(upper, whole.upper - other.lower)
    return _around(part, lower, upper)


def _around(mean: Metric, lower: float | None, upper: float | None) -> Metric:
    """A metric with bounds that contain it: an estimate of each round may add up to more than all of them can be."""
    value = float(mean.value or 0.0)
    return mean._replace(
        lower=None if lower is None else min(lower, value), upper=None if upper is None else max(upper, value)
    )


def weighed(weights: Floats, lower: Floats, upper: Floats, least: float, most: float) -> tuple[float, float]:
    """Between what a weighted sum lies, of amounts that are bounded each and all together.

    It is smallest if what there certainly is beyond the lower bounds is where it weighs least, and largest if all that
    is possible is where it weighs most.

    Args:
        weights: Of each amount, positive.
        lower: Of each amount, not more than it.
        upper: Of each amount, not less than it; nan where there is none.
        least: Not more than their sum.
        most: Not less than their sum; nan if there is none.
    """
    room = np.where(np.isnan(upper), np.inf, np.maximum(upper - lower, 0.0))
    order, certain, known = np.argsort(weights), float(weights @ lower), float(lower.sum())
    return (
        certain + _filled(weights[order], room[order], least - known),
        certain + _filled(weights[order[::-1]], room[order[::-1]], most - known),
    )


def _filled(weights: Floats, room: Floats, amount: float) -> float:
    """What an amount weighs that fills one room after the other."""
    before = np.concatenate([[0.0], np.cumsum(room)[:-1]])
    return float(np.sum(weights * np.clip(amount - before, 0.0, room)))
