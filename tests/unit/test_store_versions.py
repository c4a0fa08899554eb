"""Files of every version that there was are read as those of today, and their figures are what they were."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import perun_like
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, NodeType
from perun_like.monitoring.results import result_of
from perun_like.report.text import render
from perun_like.store import schema
from perun_like.store.reader import read_recording

FILES = Path(__file__).parents[1] / "fixtures" / "files"
WITHIN = 0.01  # of two reads every 20 ms, at up to 30 W

# file, schema version, joules of the run or mean round, joules of the region in all hosts, hosts
KNOWN = [
    ("version-1-without-seal.h5", 1, 162.5, [87.5], 1),
    ("version-1-rounds.h5", 1, 43.75, [], 1),
    ("version-2.h5", 2, 487.5, [87.5, 175.0], 2),
]


def energies(tree: DataNode) -> list[float | None]:
    regions = tree.find(NodeType.RUN)[0].regions
    return [region.metrics["energy_j"].value for region in regions if region.name == "solve"]


@pytest.mark.parametrize(("name", "version", "joules", "regions", "hosts"), KNOWN, ids=lambda value: str(value))
def test_a_file_of_each_version_is_read_and_analysed_again(
    name: str, version: int, joules: float, regions: list[float], hosts: int
) -> None:
    with h5py.File(FILES / name) as file:
        assert file.attrs["schema_version"] == version
    stored, recording = perun_like.load(FILES / name), read_recording(FILES / name)
    again = result_of(recording)
    for tree in (stored, again):
        energy = tree.metrics["energy_j"]
        assert energy.value == pytest.approx(joules, rel=WITHIN)
        assert energy.lower <= joules <= energy.upper  # type: ignore[operator]
        assert self_check(tree) == []
        assert "heat" in render(tree) or "solve" in render(tree)
    if regions:
        assert energies(stored) == pytest.approx(regions, rel=WITHIN)
        assert energies(again) == pytest.approx(regions, rel=WITHIN)
    assert len(recording.hosts) == hosts


@pytest.mark.parametrize(("name", "watts"), [("version-1-without-seal.h5", [10]), ("version-2.h5", [10, 20])])
def test_what_was_sampled_is_what_there_was(name: str, watts: list[int]) -> None:
    for host, watt in zip(read_recording(FILES / name).hosts, watts, strict=True):
        (stream,) = host.streams
        t_s = (stream.t0_ns - 100 * 10**9) / 1e9
        expected_uj = (t_s * watt + np.maximum(t_s - 5, 0) * 2 * watt) * 1e6
        np.testing.assert_allclose(stream.raw[0] - 12_345, expected_uj, atol=1.1)
        assert list(np.flatnonzero(~stream.valid[1])) == [7]


def test_there_is_a_file_of_each_version() -> None:
    """Who increases the version adds a file of the one before."""
    assert {version for _, version, *_ in KNOWN} == set(range(1, schema.NEWEST_VERSION + 1))
    named = set(re.findall(r"`(version-[^`]+\.h5)`", (FILES / "README.md").read_text()))
    assert named == {name for name, *_ in KNOWN} == {path.name for path in FILES.glob("*.h5")}
