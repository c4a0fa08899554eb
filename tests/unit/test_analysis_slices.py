"""Shares of a GPU's energy beside the whole: shown and bounded by the whole, and never a part of any total."""

from __future__ import annotations

import pytest
from recordings import BOOT, MS, WINDOW, S, host, number, recording, stream

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.tree import analyse
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Stream
from perun_like.sensing.contract import COUNTER, ESTIMATED, GAUGE, Sensor

WHOLE = Sensor(
    "nvml:gpu0/energy", "nvml", "gpu", "energy", COUNTER, "J", 1e-3, tick_ns=20 * MS, ceiling=4000.0,
    domain="gpu", identity="GPU-a",
)  # fmt: skip
POWER = WHOLE._replace(id="nvml:gpu0/power", quantity="power", kind=GAUGE, unit="W", ceiling=None)


def part(index: int, units: int, whole: Sensor = WHOLE) -> Sensor:
    share = units / 7
    return whole._replace(
        id=f"{whole.id}/mig{index}", scale=whole.scale * share, domain="slice", identity=f"MIG-{index}",
        parent=whole.identity, provenance=ESTIMATED, model={"share": share, "text": f"{units} of 7"},
    )  # fmt: skip


def joules(t_ns: int) -> float:
    """100 W and 40 W more each second."""
    t_s = (t_ns - BOOT) / S
    return 100 * t_s + 20 * t_s**2


def reads(*sensors: Sensor) -> Stream:
    def shown(sensor: Sensor, t_ns: int) -> int:
        of = joules(t_ns // (20 * MS) * (20 * MS)) if sensor.kind == COUNTER else 100 + 40 * (t_ns - BOOT) / S
        return round(of * 1000)

    return stream(sensors, range(WINDOW[0] - 5 * MS, WINDOW[1] + 120 * MS, 50 * MS), shown)


def result(*streams: list[Stream]) -> tuple[dict[str, Metric], dict[str, DataNode]]:
    """Metrics of the run, and the sensors by id; of one sampler for each list."""
    tree = analyse(recording(*(host(*of) for of in streams)), Assumptions())
    assert self_check(tree) == []
    (run,) = tree.find(NodeType.RUN)
    return run.metrics, {node.id: node for node in tree.find(NodeType.SENSOR)}


@pytest.mark.parametrize("whole", [WHOLE, POWER])
def test_parts_are_bounded_by_the_whole_and_not_added(whole: Sensor) -> None:
    run, sensors = result([reads(whole, part(0, 3, whole), part(1, 2, whole))])
    energy = sensors[whole.id].metrics["energy_j"]
    exact = joules(WINDOW[1]) - joules(WINDOW[0])
    assert energy.value == pytest.approx(exact, rel=0.02)
    assert run["gpu_energy_j"].value == run["energy_j"].value == energy.value
    assert run["energy_j"].provenance is Provenance.MEASURED
    for index, units in enumerate((3, 2)):
        share = sensors[f"{whole.id}/mig{index}"]
        of = share.metrics["energy_j"]
        assert of.value == pytest.approx(units / 7 * number(energy.value))
        assert (of.lower, of.upper) == (0, pytest.approx(energy.upper, rel=1e-6))
        assert of.provenance is Provenance.ESTIMATED
        assert f"{units} of 7" in str(of.method)
        assert share.metadata["not_added"] == f"inside {whole.id}"


def test_ranks_that_see_other_parts_have_one_whole() -> None:
    """Each in a container of its own, where the only slice is the first."""
    alone = [part(0, units)._replace(identity=f"MIG-{units}") for units in (3, 2)]
    run, sensors = result(*([reads(WHOLE, of)] for of in alone))
    assert sorted(sensors) == ["nvml:gpu0/energy", "nvml:gpu0/energy/mig0", "nvml:gpu0/energy/mig0@MIG-2"]
    assert run["gpu_energy_j"].value == sensors["nvml:gpu0/energy"].metrics["energy_j"].value
