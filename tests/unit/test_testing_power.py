"""Powers: their integrals against quadrature, hand-computed values and each other."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.errors import InputError
from perun_like.testing.power import Constant, Power, Ramp, RandomWalk, SquareWave, Sum, from_spec

S = 1_000_000_000
MS = 1_000_000

WAVE = SquareWave(lo_w=50, hi_w=150, period_ns=200 * MS, phase_ns=30 * MS)
PULSE = SquareWave(lo_w=10, hi_w=300, period_ns=100 * MS, high_ns=10 * MS)
RAMP = Ramp([(100 * MS, 20.0), (600 * MS, 120.0), (600 * MS, 60.0), (1_300 * MS, 5.0)])
WALK = RandomWalk(lo_w=20, hi_w=200, step_ns=7 * MS, seed=5, steps=50)
POWERS = [Constant(42.5), WAVE, PULSE, RAMP, WALK, Sum([WAVE, RAMP, Sum([WALK, Constant(1)])])]

powers = pytest.mark.parametrize("power", POWERS, ids=lambda p: p.kind)
times = st.integers(-3 * S, 2_000_000 * S)


@powers
@pytest.mark.parametrize(("a_ns", "b_ns"), [(0, 2 * S), (-S, S), (123_456_789, 1_987_654_321)])
def test_energy_is_the_integral_of_the_power(power: Power, a_ns: int, b_ns: int) -> None:
    n = 100_000
    edges = np.linspace(a_ns, b_ns, n + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.int64)
    quadrature_j = sum(power.power_w(int(t)) for t in middles) * (b_ns - a_ns) / n / S
    # A step inside a cell is off by at most half the cell; there are less than 320 steps of less than 300 W.
    assert power.energy_j(a_ns, b_ns) == pytest.approx(quadrature_j, abs=320 * 300 * 1.5e-5)


@pytest.mark.parametrize(
    ("power", "a_ns", "b_ns", "energy_j"),
    [
        (Constant(42.5), -S, 3 * S, 170.0),
        (SquareWave(50, 150, 200 * MS), 0, 2 * S, 200.0),
        (SquareWave(50, 150, 200 * MS), 0, 100 * MS, 15.0),
        (SquareWave(50, 150, 200 * MS), 50 * MS, 250 * MS, 20.0),
        (WAVE, 0, 30 * MS, 1.5),  # the low end of the period before
        (PULSE, 5 * MS, 105 * MS, 3.9),
        (RAMP, 0, 100 * MS, 2.0),  # constant before the first point
        (RAMP, 100 * MS, 600 * MS, 35.0),
        (RAMP, 600 * MS, 1_300 * MS, 22.75),
        (RAMP, 1_300 * MS, 3_300 * MS, 10.0),  # and after the last
        (RAMP, 350 * MS, 600 * MS, 23.75),
        (Sum([Constant(5), SquareWave(50, 150, 200 * MS)]), 0, S, 105.0),
    ],
)
def test_hand_computed(power: Power, a_ns: int, b_ns: int, energy_j: float) -> None:
    assert power.energy_j(a_ns, b_ns) == energy_j


@powers
@given(times, times, times)
def test_energies_of_adjoining_intervals_add_up_exactly(power: Power, a: int, b: int, c: int) -> None:
    fj = power.total_fj
    assert (fj(b) - fj(a)) + (fj(c) - fj(b)) == fj(c) - fj(a)
    assert power.total_fj(0) == 0
    assert (fj(b) - fj(a)) * (b - a) >= 0  # power is never negative


@pytest.mark.parametrize("offset_s", [0, 1_000_000, 30_000_000])
def test_a_year_of_uptime_costs_no_precision(offset_s: int) -> None:
    a_ns = offset_s * S
    assert WAVE.energy_j(a_ns, a_ns + 200 * MS) == 20.0
    assert WALK.energy_j(a_ns, a_ns + 350 * MS) == WALK.energy_j(0, 350 * MS)  # a round of the walk is 350 ms
    assert Constant(0.1).energy_j(a_ns, a_ns + 1) == 1e-10


@powers
def test_power_is_the_slope_of_the_energy(power: Power) -> None:
    for t_ns in range(-50 * MS + 17, 1_500 * MS, 3_333_333):
        assert power.energy_j(t_ns, t_ns + 1) * S == pytest.approx(power.power_w(t_ns), abs=1e-4)


@powers
def test_goes_through_json_unchanged(power: Power) -> None:
    restored = from_spec(json.loads(json.dumps(power.spec())))
    assert restored == power
    assert restored.total_fj(987_654_321_987) == power.total_fj(987_654_321_987)


def test_random_walk_stays_within_its_limits_and_moves() -> None:
    levels = [WALK.power_w(i * 7 * MS) for i in range(50)]
    assert 20 <= min(levels) < max(levels) <= 200
    assert all(0 <= abs(b - a) <= 20 for a, b in pairwise(levels))
    assert len(set(levels)) > 40
    assert RandomWalk(20, 200, 7 * MS, seed=6).power_w(0) != levels[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(-1),
        lambda: Constant(float("nan")),
        lambda: SquareWave(1, 2, 0),
        lambda: SquareWave(1, 2, 10, high_ns=11),
        lambda: Ramp([]),
        lambda: Ramp([(1, 5.0), (0, 5.0)]),
        lambda: RandomWalk(5, 4, 10, seed=0),
        lambda: RandomWalk(1, 4, 10, seed=0, steps=0),
        lambda: from_spec({"kind": "sawtooth"}),
        lambda: from_spec({"watts": 3}),
        lambda: from_spec({"kind": "constant", "wats": 3}),
    ],
)
def test_nonsense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError):
        make()
