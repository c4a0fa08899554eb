"""The application's share: bounds against the arithmetic of DESIGN, and sums that are exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import S, cpu_busy, host, number, process, processes, recording

from perun_like.analysis.attribution import METHOD, Basis, Bounds, application_seconds, busy_seconds, share_of
from perun_like.analysis.hosts import Host, hosts_of
from perun_like.model.node import Metric, Provenance, Scope
from perun_like.model.recording import HostRecording

ENERGY = Metric(100.0, "J", 90.0, 120.0)


def exactly(seconds: float) -> Bounds:
    return Bounds(seconds, seconds, seconds)


def only(made: HostRecording) -> Host:
    return hosts_of(recording(made))[0]


def test_bounds_and_middle_by_hand() -> None:
    """2 s of CPU time of 5 s busy, of 4 CPUs x 5 s: 10 % to 40 %, 25 % in the middle."""
    share, rest = share_of(ENERGY, Basis(exactly(2), exactly(5), 20))
    assert (share.lower, share.value, share.upper) == (9, 25, 48)
    assert (rest.lower, rest.value, rest.upper) == (54, 75, 108)
    assert share.scope is Scope.APPLICATION
    assert share.provenance is Provenance.ESTIMATED
    assert share.method == METHOD


def test_alone_on_a_busy_host_the_share_is_everything() -> None:
    share, rest = share_of(ENERGY, Basis(exactly(20), exactly(20), 20))
    assert (share.value, rest.value) == (100, 0)


@given(
    energy_j=st.floats(1e-6, 1e12),
    cpu=st.floats(0, 1e4),
    busy=st.floats(0, 1e4),
    slack=st.floats(0, 1),
    capacity=st.floats(1e-3, 1e4),
    of_gpu=st.floats(0, 1),
)
def test_share_and_rest_are_the_total_to_the_last_bit(
    energy_j: float, cpu: float, busy: float, slack: float, capacity: float, of_gpu: float
) -> None:
    """Ticks and clocks never fit exactly: CPU time may come out above busy time, and busy above capacity."""
    energy = Metric(energy_j, "J", energy_j * 0.9, energy_j * 1.1)
    bounds = Bounds(max(busy - slack, 0), busy, busy + slack)
    share, rest = share_of(energy, Basis(exactly(cpu), bounds, capacity))
    assert number(share.value) + number(rest.value) == energy_j
    for part in (share, rest):
        assert 0 <= number(part.lower) <= number(part.value) <= number(part.upper) <= energy_j * 1.1
    seen = Metric(energy_j * of_gpu, "J", energy_j * of_gpu * 0.9, energy_j * of_gpu * 1.1)
    assert sum(number(part.value) for part in share_of(energy, Basis(exactly(cpu), bounds, capacity), seen)) == energy_j
    if cpu <= busy - slack and busy + slack <= capacity:
        assert share.lower == pytest.approx(energy_j * 0.9 * (cpu / capacity), abs=energy_j * 1e-15)
        of_busy = cpu / max(busy - slack, cpu) if cpu else 0
        assert share.upper == pytest.approx(energy_j * 1.1 * of_busy, abs=energy_j * 1e-15)


def test_partial_energy_makes_a_partial_share() -> None:
    partial = Metric(100.0, "J", 90.0, None, missing=("rapl:dram",), reason="rapl:dram: masked")
    for part in share_of(partial, Basis(exactly(1), exactly(2), 4)):
        assert part.upper is None
        assert part.missing == ("rapl:dram",)


def test_missing_energy_has_no_share() -> None:
    share, rest = share_of(Metric.absent("J", "no counter"), Basis(exactly(1), exactly(2), 4))
    assert (share.value, rest.value, share.reason) == (None, None, "no counter")


@pytest.mark.parametrize("load", [0.0, 0.37, 1.0, 3.99])
@pytest.mark.parametrize("every_ns", [S // 10, S])
def test_busy_time_of_the_window_is_within_its_bounds(load: float, every_ns: int) -> None:
    """2 s at a steady load of so many CPUs, read once a second: the ceiling of 4 CPUs keeps the bounds close."""
    found = busy_seconds(only(host(cpu_busy(load, every_ns=every_ns))))
    assert found is not None
    assert found.lower <= 2 * load <= found.upper
    assert found.value == pytest.approx(2 * load, abs=0.03)
    assert found.upper - found.lower < 0.5


def test_busy_time_without_reads_is_unknown() -> None:
    assert busy_seconds(only(host())) is None


def test_cpu_time_is_from_wait4_where_all_were_reaped() -> None:
    sampled = processes([10, 10], [0, 120])
    assert application_seconds(only(host(sampled)), [process(cpu_s=1.5)]) == exactly(1.5)


def test_descendants_that_outlived_their_parents_were_only_sampled() -> None:
    """120 ticks were seen; of what the 4 CPUs did in the run's 2 s nothing else is known."""
    sampled = processes([10, 10], [0, 120])
    assert application_seconds(only(host(sampled)), [process(cpu_s=0.2)]) == Bounds(1.2, 1.2, 8.0)
    assert application_seconds(only(host(sampled)), [process(cpu_s=None)]) == Bounds(1.2, 1.2, 8.0)


def test_cpu_time_of_several_ranks_is_their_sum() -> None:
    found = application_seconds(only(host()), [process(0, cpu_s=1.5), process(1, cpu_s=0.25)])
    assert found == exactly(1.75)


def test_unknown_cpu_time_is_unknown() -> None:
    assert application_seconds(only(host()), [process(cpu_s=None)]) is None


def test_the_energy_of_visible_gpus_is_not_divided_by_cpu_time() -> None:
    gpu = Metric(60.0, "J", 55.0, 66.0)
    whole = Metric(160.0, "J", 145.0, 176.0)  # 100 J, 90 to 110, of processors beside it
    share, rest = share_of(whole, Basis(exactly(2), exactly(5), 20), gpu)
    # Of the processors' energy 2/20 to 2/5 is its own, in the middle a quarter; of the GPU's nothing to all.
    assert share.value == pytest.approx(60 + 25)
    assert (share.lower, share.upper) == pytest.approx((90 * 0.1, 110 * 0.4 + 66))
    assert rest.value == pytest.approx(75)
    assert (rest.lower, rest.upper) == pytest.approx((90 * 0.6, 110 * 0.9 + 66))
    assert share.value + rest.value == whole.value
    assert "GPUs it can see are counted whole" in (share.method or "")
