"""Energy from power readings: truth is the analytic integral of the power that they were taken from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from recordings import BOOT, MS, WINDOW, S, host, number, recording, stream

from perun_like.analysis import integrals
from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.gauges import Gauge
from perun_like.analysis.integrals import energy
from perun_like.analysis.tree import analyse
from perun_like.analysis.windows import Windows
from perun_like.model.check import self_check
from perun_like.model.node import NodeType, Provenance
from perun_like.model.recording import Stream
from perun_like.sensing.contract import COUNTER, GAUGE, Missing, Sensor

TICK = 40 * MS
Curve = Callable[[float], float]  # seconds since BOOT to watts, or to joules since BOOT


def gauge(name: str = "gpu0", quantity: str = "power", **facts: object) -> Sensor:
    """A gauge of a GPU; power stands for the energy unless told otherwise."""
    facts = {"unit": "W", "scale": 1e-3, "tick_ns": TICK, "domain": "gpu", "identity": name} | facts
    return Sensor(f"nvml:{name}/{quantity}", "nvml", "gpu", quantity, GAUGE, **facts)  # type: ignore[arg-type]


def reads(sensor: Sensor, power_w: Curve, period_ns: int = 100 * MS) -> Stream:
    """Reads of power as it was at the last update."""
    until_ns = WINDOW[1] + TICK + 5 * MS
    at_ns = [WINDOW[0] - 5 * MS, *range(WINDOW[0] + period_ns, until_ns, period_ns), until_ns]
    made = stream([sensor], at_ns, lambda s, t: round(power_w((t // TICK * TICK - BOOT) / S) / s.scale))
    return made._replace(period_ns=period_ns)


def ramp(t: float) -> float:
    return 50 + 120 * t


def ramp_j(t: float) -> float:
    return 50 * t + 60 * t**2


def square(t: float) -> float:
    return 80.0 if t % 0.9 < 0.45 else 300.0


def square_j(t: float) -> float:
    periods, left = divmod(t, 0.9)
    return periods * 0.45 * 380 + 80 * min(left, 0.45) + 300 * max(left - 0.45, 0)


CURVES = {"ramp": (ramp, ramp_j), "square": (square, square_j)}


def truth_j(joules: Curve, a_ns: int, b_ns: int) -> float:
    return joules((b_ns - BOOT) / S) - joules((a_ns - BOOT) / S)


def curve(reads: Stream) -> integrals.Curve | None:
    return integrals.Curve.of(Gauge.of(reads, 0))


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("period_ns", [20 * MS, 70 * MS, 100 * MS])
def test_the_truth_is_within_the_bounds_of_any_window(name: str, period_ns: int) -> None:
    power_w, joules = CURVES[name]
    random = np.random.default_rng(7)
    ends = np.sort(random.integers(*WINDOW, (2, 300)), axis=0)
    windows = Windows.each(np.append(ends[0], WINDOW[0]), np.append(ends[1], WINDOW[1]))
    found = energy(curve(reads(gauge(), power_w, period_ns)), windows)
    true_j = np.array([truth_j(joules, int(a), int(b)) for a, b in zip(windows.a_ns, windows.b_ns, strict=True)])
    assert (found.lower <= true_j + 1e-3).all()  # a reading is in whole milliwatts
    assert (true_j <= found.upper + 1e-3).all()
    assert (found.lower <= found.value).all()
    assert (found.value <= found.upper).all()
    assert not found.missing_s.any()
    assert found.value[-1] == pytest.approx(true_j[-1], rel=0.05)


def test_a_straight_line_is_off_by_no_more_than_half_an_update() -> None:
    found = energy(curve(reads(gauge(), ramp, 20 * MS)), Windows.one(*WINDOW))
    half_j = (TICK / 2 / S) * (ramp(2.5) - ramp(0.5))
    assert found.value[0] == pytest.approx(truth_j(ramp_j, *WINDOW), abs=half_j)


def test_windows_of_one_owner_add_up() -> None:
    gpu = reads(gauge(), square)
    edges = np.linspace(WINDOW[0], WINDOW[1], 8).astype(np.int64)
    each = energy(curve(gpu), Windows.each(edges[:-1], edges[1:]))
    whole = energy(curve(gpu), Windows(edges[:-1], edges[1:], np.zeros(7, np.int64), 1))
    for name in ("lower", "upper"):
        assert getattr(whole, name)[0] == pytest.approx(getattr(each, name).sum())
    assert whole.value[0] == pytest.approx(energy(curve(gpu), Windows.one(*WINDOW)).value[0])


def test_time_without_reads_is_missing_and_counts_nothing() -> None:
    sensor = gauge()
    at_ns = [t for t in range(WINDOW[0], WINDOW[1] + 200 * MS, 100 * MS) if not 600 * MS < t - WINDOW[0] < 1_400 * MS]
    gpu = stream([sensor], at_ns, lambda s, t: round(ramp((t - BOOT) / S) / s.scale))
    found = energy(curve(gpu), Windows.one(*WINDOW))
    assert found.missing_s[0] == pytest.approx(0.8)
    without = truth_j(ramp_j, WINDOW[0], WINDOW[0] + 600 * MS) + truth_j(ramp_j, WINDOW[0] + 1_400 * MS, WINDOW[1])
    assert found.value[0] == pytest.approx(without, rel=0.05)
    assert found.lower[0] <= without


def test_time_before_the_first_and_after_the_last_read_is_missing() -> None:
    at_ns = [WINDOW[0] + 300 * MS + k * 100 * MS for k in range(10)]
    gpu = stream([gauge()], at_ns, lambda s, t: round(ramp((t - BOOT) / S) / s.scale))
    found = energy(curve(gpu), Windows.one(*WINDOW))
    assert found.missing_s[0] == pytest.approx(2.0 - 0.9)


def test_one_read_says_nothing() -> None:
    gpu = stream([gauge()], [WINDOW[0]], lambda _s, _t: 90_000)
    found = energy(curve(gpu), Windows.one(*WINDOW))
    assert found.missing_s[0] == pytest.approx(2.0)
    assert np.isnan(found.upper[0])


def test_means_over_a_second_widen_the_bounds_by_what_they_smear() -> None:
    """A short burst in a mean over a second: most of it shows after the window."""
    sensor = gauge(window_ns=S)

    def mean_w(t: float) -> float:  # of 20 W, and 300 W from 1.5 s after BOOT on
        return 20 + 280 * min(max(t - 1.5, 0), 1)

    found = energy(curve(reads(sensor, mean_w)), Windows.one(BOOT + 1_400 * MS, BOOT + 2_000 * MS))
    assert found.lower[0] <= 0.1 * 20 + 0.5 * 300 <= found.upper[0]


def gpu_node(**more: Sensor) -> Stream:
    """A counter of 0.2 kW with power beside it, load and memory; a card of power only; a card that isn't seen."""
    counter = Sensor("nvml:gpu0/energy", "nvml", "gpu", "energy", COUNTER, "J", 1e-3, tick_ns=TICK, ceiling=4000.0,
                     domain="gpu", identity="gpu0")  # fmt: skip
    sensors = [
        counter,
        gauge("gpu0", domain=None),
        gauge("gpu0", "gpu_util", unit="%", scale=1.0, domain=None, tick_ns=0),
        gauge("gpu0", "gpu_memory_used", unit="B", scale=1.0, domain=None, tick_ns=0),
        gauge("gpu1"),
        counter._replace(id="nvml:gpu2/energy", identity="gpu2", outside="not visible to the application"),
        gauge("gpu3", outside="not visible to the application"),
        *more.values(),
    ]
    at_ns = [WINDOW[0] - 5 * MS, *range(WINDOW[0] + 95 * MS, WINDOW[1], 100 * MS), WINDOW[1] + TICK + MS]

    def shown(sensor: Sensor, t: int) -> int:
        updated = (t // TICK * TICK - BOOT) / S
        energy_mj = round(1000 * square_j(updated)) + 10**9
        of = {"energy": energy_mj, "power": round(1000 * ramp(updated)), "gpu_util": 40 + t % 3, "gpu_clock": 1410}
        return of.get(sensor.quantity, t // MS % 7 + 10**9)

    return stream(sensors, at_ns, shown)


def test_a_host_adds_the_gpus_that_its_application_can_see() -> None:
    tree = analyse(recording(host(gpu_node())), Assumptions())
    assert self_check(tree) == []
    (run,) = tree.find(NodeType.RUN)
    sensors = {node.id: node for node in tree.find(NodeType.SENSOR)}
    counted, integrated = truth_j(square_j, *WINDOW), truth_j(ramp_j, *WINDOW)
    whole = run.metrics["gpu_energy_j"]
    assert whole.provenance is Provenance.MEASURED
    assert number(whole.lower) <= counted + integrated <= number(whole.upper)
    assert number(whole.value) == pytest.approx(counted + integrated, rel=0.03)
    assert "integral of power" in str(whole.method)
    assert number(run.metrics["energy_j"].value) == whole.value
    added = {id_ for id_, node in sensors.items() if node.metadata.get("added")}
    assert added == {"nvml:gpu0/energy", "nvml:gpu1/power"}
    for outside in ("nvml:gpu2/energy", "nvml:gpu3/power"):
        assert sensors[outside].metadata["not_added"] == "not visible to the application"
        assert number(sensors[outside].metrics["energy_j"].value) > 100
    assert "energy_j" not in sensors["nvml:gpu0/power"].metrics
    assert sensors["nvml:gpu1/power"].metrics["power_w_max"].value == pytest.approx(ramp(2.5), rel=0.03)
    assert 40 <= number(run.metrics["gpu_util_percent"].value) <= 42
    assert 10**9 <= number(run.metrics["gpu_memory_peak_b"].value) <= 10**9 + 6


def test_load_and_memory_are_those_of_visible_gpus() -> None:
    other = {"unit": "%", "scale": 1.0, "domain": None, "outside": "not visible to the application"}
    unseen = gauge("gpu2", "gpu_util", **other)
    # It shows what no percentage is, so that it would be noticed.
    node = gpu_node(unseen=unseen)
    node.raw[[s.id for s in node.sensors].index(unseen.id)] = 10**6
    (run,) = analyse(recording(host(node)), Assumptions()).find(NodeType.RUN)
    assert number(run.metrics["gpu_util_percent"].value) <= 42


def test_a_visible_gpu_without_energy_makes_the_total_at_least() -> None:
    lacking = Missing("nvml", "nvml:gpu4", "it is suspended", domains=("gpu",))
    (run,) = analyse(recording(host(gpu_node(), missing=(lacking,))), Assumptions()).find(NodeType.RUN)
    assert run.metrics["gpu_energy_j"].missing == ("nvml:gpu4",)
    assert run.metrics["gpu_energy_j"].upper is None
    other = Missing("nvml", "nvml:gpu0/util", "not known while MIG divides the GPU")
    (run,) = analyse(recording(host(gpu_node(), missing=(other,))), Assumptions()).find(NodeType.RUN)
    assert run.metrics["gpu_energy_j"].missing == ()


def test_what_most_machines_lack_is_a_reason_and_no_warning() -> None:
    quiet = Missing("nvml", "all GPUs", "no NVIDIA driver here", quiet=True, domains=("gpu",))
    loud = Missing("rapl", "rapl:psys", "broken")
    tree = analyse(recording(host(missing=(quiet, loud))), Assumptions())
    (run,), (node,) = tree.find(NodeType.RUN), tree.find(NodeType.NODE)
    assert run.metrics["gpu_energy_j"].reason == "no NVIDIA driver here"
    assert run.metrics["gpu_util_percent"].reason == "no NVIDIA driver here"
    assert [entry["what"] for entry in node.metadata["missing"]] == ["rapl:psys"]


def test_a_gpu_that_one_rank_sees_counts_though_another_does_not() -> None:
    """Two samplers of one machine, each with another GPU outside."""

    def rank(seen: str, unseen: str) -> Stream:
        sensors = [gauge(seen), gauge(unseen, outside="not visible to the application")]
        at_ns = [WINDOW[0] - 5 * MS, *range(WINDOW[0] + 95 * MS, WINDOW[1] + 200 * MS, 100 * MS)]
        return stream(sensors, at_ns, lambda s, t: round(ramp((t - BOOT) / S) / s.scale))

    parts = [host(rank("gpu0", "gpu1")), host(rank("gpu1", "gpu0"))]
    tree = analyse(recording(*parts), Assumptions())
    assert self_check(tree) == []
    (run,) = tree.find(NodeType.RUN)
    assert {node.id for node in tree.find(NodeType.SENSOR)} == {"nvml:gpu0/power", "nvml:gpu1/power"}
    assert number(run.metrics["gpu_energy_j"].value) == pytest.approx(2 * truth_j(ramp_j, *WINDOW), rel=0.02)
