"""What totals say that they lack: the domains that each reason names, and nothing that words might mean."""

from __future__ import annotations

import json
from collections.abc import Sequence

from recordings import BOOT, MS, S, host, rapl, recording, stream

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.tree import analyse
from perun_like.model.node import Metric, NodeType
from perun_like.model.recording import Stream
from perun_like.sensing.contract import COUNTER, ESTIMATED, Missing, Sensor

TOTALS = ("energy_j", "cpu_energy_j", "dram_energy_j", "gpu_energy_j")


def estimate() -> Stream:
    """The processors' energy by a model, and no memory's."""
    model = {"idle_w": [4, 6, 10], "active_w_per_cpu": [1, 3, 8], "logical_cpus": 4, "text": "four average CPUs"}
    sensor = Sensor(
        "estimate:cpu", "estimate", "cpu", "energy", COUNTER, "s", 0.01, tick_ns=10 * MS, ceiling=4.0,
        domain="package", identity="estimate/cpu", provenance=ESTIMATED, model=model,
    )  # fmt: skip
    return stream([sensor], range(BOOT + 400 * MS, BOOT + 2_700 * MS, 100 * MS), lambda _, t: int(t / S * 150))


def totals(*missing: Missing, of: Sequence[Stream] | None = None) -> dict[str, Metric]:
    streams = [rapl()] if of is None else of
    (run,) = analyse(recording(host(*streams, missing=missing)), Assumptions()).find(NodeType.RUN)
    return {name: run.metrics[name] for name in TOTALS}


def lacking(*missing: Missing, of: Sequence[Stream] | None = None) -> dict[str, tuple[str, ...]]:
    """What each total says that it lacks, those that lack nothing left out."""
    return {name: metric.missing for name, metric in totals(*missing, of=of).items() if metric.missing}


def test_words_mean_nothing() -> None:
    assert all(totals()[name].value for name in TOTALS[:3])
    for what in ("rapl:package-1, rapl:package-1/dram", "all GPUs", "backend", "energy", "GPU 0"):
        for backend in ("rapl", "nvml"):
            assert lacking(Missing(backend, what, "it fails")) == {}


def test_sensors_are_named_each_in_the_total_of_its_group() -> None:
    what, domains = "rapl:package-1, rapl:package-1/core, rapl:package-1/dram", ("package", "", "dram")
    assert lacking(Missing("rapl", what, "it fails", domains=domains)) == {
        "energy_j": ("rapl:package-1", "rapl:package-1/dram"),
        "cpu_energy_j": ("rapl:package-1",),
        "dram_energy_j": ("rapl:package-1/dram",),
    }


def test_what_is_lost_as_a_whole_is_named_by_its_backend() -> None:
    packages = [rapl(paths=["intel-rapl:0", "intel-rapl:1"])]
    for domains in (("gpu",), ("dram",), ("gpu", "dram")):
        lost = Missing("theirs", "all that there is", "it fails", domains=domains)
        assert lacking(lost, of=packages) == {"energy_j": ("theirs",)}
        assert {name for name, metric in totals(lost, of=packages).items() if metric.reason == "it fails"} == {
            f"{domain}_energy_j" for domain in domains
        }


def test_a_domain_that_others_stand_for_is_not_lacking() -> None:
    lost = Missing("rapl", "energy", "no powercap tree", domains=("package", "dram"))
    assert lacking(lost, of=[estimate()]) == {"energy_j": ("rapl",)}  # dram
    again = Missing("pyrapl", "pyrapl:package-0", "it isn't installed", domains=("package",))
    assert lacking(again) == {}
    own = Missing("rapl", "rapl:package-7", "it fails", domains=("package",))
    assert lacking(own)["energy_j"] == ("rapl:package-7",)


def test_reasons_are_told_where_there_is_no_energy_of_the_kind() -> None:
    no_gpu = Missing("nvml", "all GPUs", "no driver", quiet=True, domains=("gpu",))
    no_disk = Missing("host", "host:disk", "no disk")
    found = totals(no_gpu, no_disk)
    assert found["gpu_energy_j"].reason == "no driver"
    assert found["energy_j"].missing == ()
    nothing = totals(Missing("rapl", "energy", "masked", "Unmask it.", domains=("package", "dram")), no_gpu, of=[])
    assert nothing["energy_j"].reason == "masked. Unmask it.; no driver"
    assert nothing["dram_energy_j"].reason == "masked. Unmask it."
    assert nothing["gpu_energy_j"].reason == "no driver"


def test_json_gives_back_what_it_was_given() -> None:
    entry = Missing("rapl", "rapl:package-0", "it fails", "Mend it.", True, ("package",))
    back = Missing.of(json.loads(json.dumps(entry._asdict())))
    assert back == entry
    assert len({back, entry}) == 1
    older = {"backend": "rapl", "what": "energy", "reason": "it fails", "remedy": "", "quiet": False}
    assert Missing.of(older) == Missing("rapl", "energy", "it fails")
    assert Missing.of({**older, "of a newer version": 1}) == Missing("rapl", "energy", "it fails")
