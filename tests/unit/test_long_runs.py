"""A week: totals are those of the machine, times are exact to the nanosecond, from the part through the file to CSV."""

from __future__ import annotations

import csv
import os
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pytest

from perun_like.model.node import Metric
from perun_like.model.recording import Int64s
from perun_like.monitoring.results import result_of
from perun_like.report.csv import write_table
from perun_like.sampling.coarser import rewrite
from perun_like.store.assembly import assemble
from perun_like.store.reader import open_run, read_recording
from perun_like.store.writer import write
from perun_like.testing import Machine
from perun_like.testing.long_runs import counters_at, long_machine, long_part, sweeps

S, DAY_S = 10**9, 86_400
WINDOW_NS = (2**57 + 7, 2**57 + 7 * DAY_S * S + 123_456_789)  # a host that has been up for four years
PERIOD_NS = (
    10 * S
)  # a hundredth of the sweeps of one that is read at 10 Hz; it wraps as often: see benchmarks/long_runs.py


def part_in(directory: Path, window_ns: tuple[int, int], period_ns: int) -> str:
    """The part of a run; returns the directory of its parts."""
    clocks = [{"monotonic_ns": t, "realtime_ns": t + 10**17, "boottime_ns": t} for t in window_ns]
    (directory / "run.parts").mkdir()
    long_part(str(directory / "run.parts" / "node01.part"), machine(), window_ns, period_ns, clocks)
    return str(directory / "run.parts")


@pytest.fixture
def parts(tmp_path: Path) -> str:
    return part_in(tmp_path, WINDOW_NS, PERIOD_NS)


def machine() -> Machine:
    return long_machine(origin_ns=WINDOW_NS[0] - 5 * S)


def read_times() -> Int64s:
    first_ns, last_ns = WINDOW_NS[0] - 10**8, WINDOW_NS[1] + 10**8
    return np.concatenate([t0_ns for t0_ns, _, _ in sweeps(machine(), first_ns, last_ns, PERIOD_NS)])


def truth_j(path: str) -> float:
    return machine().truth_j(path, *WINDOW_NS)


def is_exact(metric: Metric, truth: float, wraps: int) -> None:
    """Within its bounds, and these as close as a sweep at both ends and a unit for each wrap make them."""
    assert metric.missing == ()
    assert metric.value is not None
    assert metric.lower is not None
    assert metric.upper is not None
    assert metric.lower <= truth <= metric.upper
    assert metric.upper - metric.lower < 4 * 280 * PERIOD_NS / S + wraps * 1e-4
    assert metric.value == pytest.approx(truth, rel=2e-5)


def test_a_simulated_machine_shows_the_same_however_it_is_asked() -> None:
    random = Random(1)
    t_ns = np.array(sorted(random.randrange(0, 8 * DAY_S * S) for _ in range(300)), np.int64)
    for zone in machine().zones:
        assert counters_at(zone, t_ns).tolist() == [zone.counter_uj(int(t)) for t in t_ns]


def test_the_total_of_a_week_is_that_of_the_machine(parts: str) -> None:
    recording = assemble(parts)
    (stream,) = recording.hosts[0].streams
    wraps = {sensor.id: int((np.diff(raw) < 0).sum()) for sensor, raw in zip(stream.sensors, stream.raw, strict=True)}
    assert sum(wraps.values()) > 600
    run = result_of(recording).nodes[0].nodes[0]
    node = run.nodes[0]
    found = {sensor.id: sensor.metrics["energy_j"] for group in node.nodes for sensor in group.nodes}
    for zone in machine().zones:
        name = zone.name if zone.parent is None else f"{machine().zone(zone.parent).name}/{zone.name}"
        is_exact(found[f"rapl:{name}"], truth_j(zone.path), wraps[f"rapl:{name}"])
    added = [zone.path for zone in machine().zones if zone.name != "core"]
    is_exact(run.metrics["energy_j"], sum(map(truth_j, added)), sum(wraps.values()))


def test_times_are_exact_to_the_nanosecond(parts: str, tmp_path: Path) -> None:
    recording, path = assemble(parts), str(tmp_path / "run.h5")
    write(path, recording, result_of(recording))
    expected, (stream,) = read_times(), read_recording(path).hosts[0].streams
    assert stream.t0_ns.tolist() == recording.hosts[0].streams[0].t0_ns.tolist() == expected.tolist()
    with open_run(path) as run, open(tmp_path / "run.csv", "wb") as file:
        write_table(run, file)
    with open(tmp_path / "run.csv", newline="") as file:
        times = [Decimal(row["time_s"]) for row in csv.DictReader(file)]
    assert times == [Decimal(int(t_ns) - WINDOW_NS[0]) / S for t_ns in expected]


def test_thinned_out_to_a_tenth_the_total_is_the_same(tmp_path: Path) -> None:
    parts = part_in(tmp_path, (WINDOW_NS[0], WINDOW_NS[0] + 7200 * S + 12_345), S // 5)
    before = result_of(assemble(parts)).metrics["energy_j"]
    part, whole_b = os.path.join(parts, "node01.part"), os.stat(os.path.join(parts, "node01.part")).st_size
    rewrite(part, part + ".coarser", whole_b, whole_b // 10)
    os.rename(part + ".coarser", part)
    after = result_of(assemble(parts)).metrics["energy_j"]
    assert (after.lower, after.value, after.upper) == (before.lower, before.value, before.upper)
