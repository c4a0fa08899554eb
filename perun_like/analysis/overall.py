"""Time, energy and power over all rounds, however many there are: a million calls of a function are one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from perun_like.analysis.emissions import Assumptions, co2e, cost
from perun_like.analysis.energy import energies, energy_sensors, sensor_energy, total_energy
from perun_like.analysis.statistics import Spread, spread
from perun_like.analysis.together import Part, together, weighed, within
from perun_like.analysis.totals import total
from perun_like.analysis.windows import Floats, Increase, Windows
from perun_like.model.node import Metric, Provenance, Scope
from perun_like.model.recording import Bools

Found = Mapping[str, Increase]


class _Energy(NamedTuple):
    """Energy of all hosts in each round, in joules; shape (rounds,).

    Attributes:
        whole: What is said of their mean as of a sum: provenance, missing parts, reasons, hard bounds.
    """

    lower: Floats
    value: Floats
    upper: Floats
    whole: Metric


def over_all(parts: Sequence[Part], windows: Windows, assumptions: Assumptions) -> dict[str, Metric]:
    """Metrics of a run of several rounds, as means over all of them; without energy where none has any.

    Args:
        parts: The hosts, with all that was read on them, and the time of their own ranks in each round.
        windows: The rounds, each an owner, on the first host's clock.
        assumptions: Place, PUE and price of the electricity.
    """
    duration_s = windows.duration_s
    method = f"mean of {windows.owners:,} rounds"
    times = spread(duration_s.tolist())
    metrics = {"runtime_s": times.of(_plain(times.mean, times.mean, times.mean, "s", method, Scope.APPLICATION))}
    has, found = _known(parts, windows.owners)
    if not has.any():
        return metrics
    energy = _energy(parts, found, has)
    joules = _joules(parts, windows, energy, _why(has, method, energy.whole))
    metrics["energy_j"] = joules
    metrics["power_w"] = _watts(energy, duration_s[has], joules)
    # Both grow with the energy as they would for a single round.
    metrics["co2e_kg"] = _grown(co2e(joules, assumptions), joules)
    if assumptions.price is not None:
        metrics["cost"] = _grown(cost(joules, assumptions), joules)
    return metrics


def _plain(lower: float, value: float, upper: float, unit: str, method: str, scope: Scope) -> Metric:
    return Metric(value, unit, lower, upper, Provenance.MEASURED, scope, method=method)


def _known(parts: Sequence[Part], rounds: int) -> tuple[Bools, list[Found]]:
    """In which rounds any energy is known, and what the added sensors of each host counted."""
    has = np.zeros(rounds, np.bool_)
    found: list[Found] = []
    for host, windows in parts:
        added = [sensor for sensor in energy_sensors(host) if sensor.id in host.split.added]
        found.append(energies(host, added, windows.later(host.shift_ns)))
        for increase in found[-1].values():
            has |= increase.missing_s < windows.duration_s
    return has, found


def _energy(parts: Sequence[Part], found: Sequence[Found], has: Bools) -> _Energy:
    """The sum over all sensors, as :func:`total` makes it of each round."""
    sums = [np.zeros(int(has.sum())) for _ in range(3)]
    wholes: dict[str, Metric] = {}
    for (host, windows), increases in zip(parts, found, strict=True):
        duration_s = windows.duration_s[has]
        sensors = {sensor.id: sensor for sensor in host.sensors}
        of_sensors: dict[str, Metric] = {}
        for id_, increase in increases.items():
            known = increase.missing_s[has] < duration_s
            columns = [np.where(known, column[has], 0.0) for column in increase[:2]]
            unbounded = np.where(duration_s > 0, np.nan, 0.0)  # without a part in the round it used nothing for it
            columns.append(np.where(known & (increase.missing_s[has] == 0), increase.upper[has], unbounded))
            sums = [a + b for a, b in zip(sums, columns, strict=True)]
            mean = Increase(*(np.array([column.mean()]) for column in (*columns, increase.missing_s[has])))
            of_sensors[id_] = sensor_energy(sensors[id_], mean, 0, float(duration_s.mean()))
        wholes[host.name] = total_energy(host, of_sensors)
    whole = next(iter(wholes.values())) if len(wholes) == 1 else total(wholes, "J", "")
    lower, value, upper = sums
    return _Energy(lower, value, upper, whole)


class _Words(NamedTuple):
    reason: str | None
    method: str


def _why(has: Bools, method: str, whole: Metric) -> _Words:
    lacking = int(len(has) - has.sum())
    reason = f"missing in {lacking:,} of {len(has):,} rounds: no two successful reads, or no time" if lacking else None
    return _Words(
        "; ".join(filter(None, (reason, whole.reason))) or None, "; ".join(filter(None, (method, whole.method)))
    )


def _joules(parts: Sequence[Part], windows: Windows, energy: _Energy, words: _Words) -> Metric:
    mean = spread(energy.value.tolist())
    bounds = float(energy.lower.mean()), float(energy.upper.mean())
    metric = _metric(energy.whole, mean, bounds, "J", words)
    if mean.n < windows.owners:
        return metric
    return within(metric, together(parts, windows).get("energy_j"), windows.owners)


def _metric(whole: Metric, mean: Spread, bounds: tuple[float, float], unit: str, words: _Words) -> Metric:
    bounded = whole.upper is not None and not np.isnan(bounds[1])
    return mean.of(
        Metric(
            value=mean.mean,
            unit=unit,
            lower=min(bounds[0], mean.mean),
            upper=max(bounds[1], mean.mean) if bounded else None,
            provenance=whole.provenance,
            scope=whole.scope,
            missing=whole.missing,
            reason=words.reason,
            method=words.method,
        )
    )


def _watts(energy: _Energy, duration_s: Floats, joules: Metric) -> Metric:
    """Power in its rounds on the mean, which has no more energy to come from than all of them have together."""
    rounds = len(duration_s)
    least = rounds * (joules.lower or 0.0)
    most = np.nan if joules.upper is None else rounds * joules.upper
    lower, upper = weighed(1 / duration_s, energy.lower, energy.upper, least, most)
    words = _Words(joules.reason, joules.method or "")
    mean = spread((energy.value / duration_s).tolist())
    return _metric(energy.whole, mean, (lower / rounds, upper / rounds), "W", words)


def _grown(metric: Metric, energy: Metric) -> Metric:
    """What is proportional to an energy, with the energy's statistics."""
    if not metric.value or not energy.value or energy.mean is None or energy.n is None:
        return Spread(float(metric.value or 0.0), None, energy.n or 0, None).of(metric)
    factor = metric.value / energy.value
    ends = None if energy.ci95 is None else (energy.ci95[0] * factor, energy.ci95[1] * factor)
    std = None if energy.std is None else energy.std * factor
    return Spread(float(metric.value), std, energy.n, ends).of(metric)
