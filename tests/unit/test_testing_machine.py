"""Counters of the simulated machine against the truth that it was given."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from perun_like.errors import InputError
from perun_like.testing import machines
from perun_like.testing.clock import ManualClock
from perun_like.testing.machine import BLOCKED, DROPPED, FORBIDDEN, GARBAGE, VANISHED, Fault, Machine, Zone
from perun_like.testing.power import Constant, RandomWalk, SquareWave, Sum
from perun_like.testing.recorder import UNREAD, record, sensors_of

S = 1_000_000_000
MS = 1_000_000
TICK = 976_562
POWER = Sum([SquareWave(40, 140, 90 * MS), RandomWalk(5, 60, 3 * MS, seed=2)])  # at most 200 W
P_MAX = 200
ZONE = Zone("intel-rapl:0", "package-0", POWER)


def test_ranges_are_those_of_real_hardware() -> None:
    assert ZONE.max_energy_range_uj == 262_143_328_850
    assert replace(ZONE, unit_nj=15_300).max_energy_range_uj == 65_712_999_613  # Xeon DRAM
    assert replace(ZONE, unit_nj=15_258).max_energy_range_uj == 65_532_610_987  # AMD


@pytest.mark.parametrize("lag_ns", [0, 700_000])
def test_counter_is_the_truth_of_at_most_a_tick_and_a_lag_ago(lag_ns: int) -> None:
    zone = replace(ZONE, lag_ns=lag_ns)
    random = Random(1)
    for _ in range(3000):
        t_ns = random.randrange(2 * MS, 100 * S)
        energy_uj = POWER.energy_j(0, t_ns) * 1e6
        behind_uj = energy_uj - zone.counter_uj(t_ns)
        assert POWER.energy_j(t_ns - lag_ns, t_ns) * 1e6 <= behind_uj + 1e-3
        assert behind_uj <= P_MAX * (TICK + lag_ns) / 1000 + 62.035  # W x us, one unit and the rounding


def test_counter_moves_once_a_tick_in_units() -> None:
    values = [ZONE.counter_uj(t) for t in range(0, 50 * TICK, TICK // 8)]
    steps = np.flatnonzero(np.diff(values))
    assert len(steps) == 49
    units = {round(v / 61.035) for v in values}
    assert all(v in {u * 61_035 // 1000 for u in units} for v in values)


def test_counter_of_constant_power_by_hand() -> None:
    zone = Zone("intel-rapl:0", "package-0", Constant(100), start_uj=1_000_000, tick_ns=0)
    # 1 J is 16384.04 units, so the register starts at 16384: 999997 uJ. 100 W x 10 ms are 16384.04 more.
    assert zone.counter_uj(0) == 16384 * 61_035 // 1000 == 999_997
    assert zone.counter_uj(10 * MS) == 2 * 16384 * 61_035 // 1000 == 1_999_994
    assert replace(zone, lag_ns=10 * MS).counter_uj(10 * MS) == 999_997


def test_register_wraps_one_unit_after_its_largest_value() -> None:
    zone = Zone("intel-rapl:0", "package-0", POWER, register_bits=18, start_uj=15_000_000)  # wraps every 16 J
    assert zone.max_energy_range_uj == (2**18 - 1) * 61_035 // 1000
    values = [zone.counter_uj(t) for t in range(0, 2 * S, MS // 2)]
    steps = np.diff(values)
    wraps = int((steps < 0).sum())
    assert wraps == int((15 + POWER.energy_j(0, 2 * S)) / zone.wrap_j) > 10
    assert max(values) <= zone.max_energy_range_uj
    unwrapped_j = (values[-1] - values[0]) / 1e6 + wraps * zone.wrap_j
    assert unwrapped_j == pytest.approx(POWER.energy_j(0, 2 * S), abs=P_MAX * (TICK + MS) / 1e9)


def test_every_value_of_a_small_register_by_hand() -> None:
    zone = Zone("intel-rapl:0", "package-0", Constant(1), start_uj=250, unit_nj=1000, register_bits=8, tick_ns=0)
    assert zone.max_energy_range_uj == 255
    assert zone.wrap_j == 256e-6
    # 1 W is 1 uJ and thus one unit a microsecond.
    assert [zone.counter_uj(us * 1000) for us in range(1000)] == [(250 + us) % 256 for us in range(1000)]
    assert zone.counter_uj(6_000 - 1) == 255


def test_machine_time_counts_from_its_origin() -> None:
    origin_ns = 1_234_567_890_123_456
    machine = Machine([ZONE]).starting_at(origin_ns)
    assert machine.counter_uj("intel-rapl:0", origin_ns + 5 * S) == ZONE.counter_uj(5 * S)
    assert machine.truth_j("intel-rapl:0", origin_ns, origin_ns + 5 * S) == POWER.energy_j(0, 5 * S)
    assert machine.power_w("intel-rapl:0", origin_ns) == POWER.power_w(0)


@pytest.mark.parametrize(("kind", "code"), [(DROPPED, errno.EIO), (FORBIDDEN, errno.EACCES), (VANISHED, errno.ENODEV)])
def test_faults_raise_while_they_hold(kind: str, code: int) -> None:
    zone = replace(ZONE, faults=[Fault(kind, 10 * MS, 20 * MS)])
    for t_ns in (10 * MS, 20 * MS - 1):
        with pytest.raises(OSError, match=kind) as caught:
            zone.text(t_ns)
        assert caught.value.errno == code
    for t_ns in (10 * MS - 1, 20 * MS):
        assert int(zone.text(t_ns)) == ZONE.counter_uj(t_ns)


def test_garbage_and_blocked_reads() -> None:
    zone = replace(ZONE, faults=[Fault(GARBAGE, 0, MS, text="energy\n"), Fault(BLOCKED, MS, delay_ns=7)])
    assert zone.text(0) == b"energy\n"
    assert (zone.delay_ns(0), zone.delay_ns(MS)) == (0, 7)
    assert int(zone.text(5 * MS)) == ZONE.counter_uj(5 * MS)


READY_MADE = [make() for make in machines.READY_MADE.values()]


@pytest.mark.parametrize("machine", READY_MADE, ids=list(machines.READY_MADE))
def test_ready_made_machines_go_through_json_and_vary(machine: Machine) -> None:
    restored = Machine.from_json(machine.starting_at(77).to_json())
    assert restored == machine.starting_at(77)
    for zone in machine.zones:
        powers = {machine.power_w(zone.path, t) for t in range(0, 2 * S, 20 * MS)}
        assert len(powers) > 1, zone.path


@pytest.mark.parametrize("machine", READY_MADE, ids=list(machines.READY_MADE))
def test_a_zone_uses_at_least_what_the_zones_inside_it_use(machine: Machine) -> None:
    for zone in machine.zones:
        inner = [z for z in machine.zones if z.parent == zone.path and z.name != "dram"]
        for t_ns in range(0, 3 * S, 11 * MS):
            used_w = machine.power_w(zone.path, t_ns)
            assert used_w >= sum(machine.power_w(z.path, t_ns) for z in inner)
            assert zone.max_power_w is None or used_w <= zone.max_power_w


def test_mirrored_dies_and_interfaces_show_one_counter() -> None:
    msr, mmio = machines.mmio_laptop().zones
    assert [msr.counter_uj(t) for t in range(0, S, MS)] == [mmio.counter_uj(t) for t in range(0, S, MS)]
    first, second, third, _ = machines.multi_die_server(mirrored=True).zones
    assert first.counter_uj(S) == second.counter_uj(S) != third.counter_uj(S)
    assert second.name == "package-0-die-1"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Zone("rapl", "package-0", POWER),
        lambda: replace(ZONE, unit_nj=0),
        lambda: replace(ZONE, tick_ns=-1),
        lambda: replace(ZONE, register_bits=10, start_uj=100_000),
        lambda: Fault("broken", 0),
        lambda: Machine([ZONE, ZONE]),
        lambda: Machine([Zone("intel-rapl:0:0", "core", POWER)]),
        lambda: Machine([ZONE]).truth_j("intel-rapl:7", 0, 1),
        lambda: Machine.from_json("{"),
        lambda: Machine.from_json("{}"),
        lambda: Machine.from_json(json.dumps({"zones": [ZONE.spec() | {"colour": "red"}]})),
    ],
)
def test_nonsense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError):
        make()


def test_manual_clock_moves_only_by_hand() -> None:
    clock = ManualClock(5)
    clock.sleep(0.25)
    assert clock() == 250_000_005
    assert clock.advance(10) == clock() == 250_000_015
    with pytest.raises(InputError):
        clock.advance(-1)


def test_record_samples_the_counters_between_the_two_times_of_a_sweep() -> None:
    machine = machines.two_socket_server().starting_at(1_000 * S)
    stream = record(machine, 1_001 * S, 1_003 * S, period_ns=10 * MS, jitter_ns=2 * MS, read_ns=30_000)
    assert stream.raw.shape == (8, 201)
    assert stream.valid.all()
    assert (np.diff(stream.t0_ns) > 0).all()
    assert (stream.t1_ns - stream.t0_ns == 8 * 30_000).all()
    late_ns = stream.t0_ns - (1_001 * S + 10 * MS * np.arange(201))
    assert 0 <= late_ns.min() < late_ns.max() <= 2 * MS
    for row, zone in enumerate(machine.zones):
        for t0, t1, raw in zip(stream.t0_ns, stream.t1_ns, stream.raw[row], strict=True):
            low, high = (machine.counter_uj(zone.path, int(t)) for t in (t0, t1))
            assert low <= raw <= high


def test_record_marks_dropped_and_faulty_reads_invalid() -> None:
    machine = machines.laptop().with_faults(
        "intel-rapl:0",
        Fault(DROPPED, 300 * MS, 500 * MS),
        Fault(GARBAGE, 700 * MS, 800 * MS),
        Fault(VANISHED, 900 * MS),
    )
    stream = record(machine, 0, S, period_ns=10 * MS, paths=["intel-rapl:1", "intel-rapl:0"], read_ns=0)
    ms = stream.t0_ns // MS
    wrong = ((ms >= 300) & (ms < 500)) | ((ms >= 700) & (ms < 800)) | (ms >= 900)
    assert (stream.valid == [np.ones(101, bool), ~wrong]).all()
    assert (stream.raw[~stream.valid] == UNREAD).all()
    lossy = record(machine, 0, S, period_ns=10 * MS, dropped=0.2, paths=["intel-rapl:1"])
    assert 5 < (~lossy.valid).sum() < 50


def test_record_skips_grid_points_that_pass_during_a_blocked_read() -> None:
    machine = Machine([ZONE]).with_faults("intel-rapl:0", Fault(BLOCKED, 95 * MS, 105 * MS, delay_ns=35 * MS))
    stream = record(machine, 0, 200 * MS, period_ns=10 * MS, read_ns=0)
    assert (stream.t0_ns // MS).tolist() == [*range(0, 101, 10), *range(140, 201, 10)]
    assert (stream.t1_ns - stream.t0_ns).max() == 35 * MS


def test_sensors_tell_what_a_zone_is() -> None:
    package, core, _, psys = sensors_of(machines.laptop())
    assert (package.id, package.domain, package.group) == ("rapl:package-0", "package", "cpu")
    assert (package.parent, psys.parent) == ("psys", None)
    assert (core.id, core.domain, core.parent) == ("rapl:package-0/core", "core", "package-0")
    assert package.modulus == 2**32 * 61_035 // 1000
    assert package.modulus is not None
    assert package.modulus - 262_143_328_850 == 61


def test_sensors_of_one_thing_have_one_identity() -> None:
    msr, mmio = sensors_of(machines.mmio_laptop())
    assert msr.id != mmio.id
    assert msr.identity == mmio.identity
    assert len({sensor.id for sensor in sensors_of(machines.two_socket_server())}) == 8
