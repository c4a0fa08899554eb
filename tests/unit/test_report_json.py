"""The JSON that others script against: its form, its validity, and the way back."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_jobs import hosts, ranks, rounds_of_ranks
from report_trees import estimated, many_rounds, measured, partial, raised, rounds, without_data

from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Region, Scope
from perun_like.model.serial import encode, from_dict, plain, to_dict
from perun_like.report.json import dumps, write
from perun_like.report.output import open_output

TREES = {tree.__name__: tree for tree in (measured, estimated, partial, without_data, rounds, many_rounds, raised)}
TREES |= {tree.__name__: tree for tree in (ranks, hosts, rounds_of_ranks)}


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", TREES)
def test_a_result_survives_the_way_there_and_back(name):
    tree = TREES[name]()
    assert from_dict(strict(dumps(tree))) == tree
    assert from_dict(to_dict(tree)) == tree


def test_the_document_tells_how_to_read_ranks(capsys):
    document = Path(__file__).parents[2] / "docs" / "file_format.md"
    [example] = [
        block for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL) if "ranks" in block
    ]
    exec(example, {"run": to_dict(ranks())["root"]["nodes"][0]["nodes"][0]})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [[str(n), "node01"] for n in range(4)]
    name, percent, _, slowest = lines[4].split()
    assert (name, slowest) == ("sweep", "0")
    assert float(percent) == pytest.approx(100 * (0.787 / ((0.787 + 0.346 + 0.312 + 0.324) / 4) - 1))


def nodes_of(node):
    yield node
    for child in node["nodes"]:
        yield from nodes_of(child)


@pytest.mark.parametrize("name", TREES)
def test_the_form_is_the_one_that_was_fixed(name):
    document = strict(dumps(TREES[name]()))
    assert set(document) == {"schema", "root"}
    always = {"value", "unit", "lower", "upper", "provenance", "scope"}
    statistics = {"mean", "std", "n", "ci95"}
    types = set()
    for node in nodes_of(document["root"]):
        types.add(node["type"])
        has_regions = node["type"] == "RUN" or (node["type"] == "MULTI_RUN" and "regions" in node)
        regions = {"regions"} if has_regions else set()
        jobs = {"ranks", "balance"} & set(node)
        assert jobs == set() or node["type"] in {"RUN", "MULTI_RUN"}
        assert set(node) == {"id", "type", "metrics", "nodes", "metadata"} | regions | jobs
        for metric in node["metrics"].values():
            assert always <= set(metric) <= always | statistics | {"reason", "missing", "method"}
            assert statistics <= set(metric) or node["type"] != "MULTI_RUN"
            assert metric["provenance"] in {"measured", "estimated", "mixed", "missing"}
            assert metric["provenance"] != "missing" or (metric["value"] is None and metric["reason"])
        for region in node.get("regions", ()):
            assert set(region) == {"name", "rank", "calls", "metrics"}
            assert all(always <= set(metric) for metric in region["metrics"].values())
        for rank in node.get("ranks", ()):
            assert set(rank) == {"rank", "host", "metrics", "metadata"}
            assert set(rank["metrics"]) == {"runtime_s", "cpu_s", "energy_share_j", "memory_peak_b"}
        for balance in node.get("balance", ()):
            assert set(balance) == {"name", "ranks", "calls", "metrics", "at"}
            assert set(balance["at"]) <= set(balance["metrics"])
    assert types >= {"APP", "MULTI_RUN", "RUN", "NODE"}


def test_one_metric_word_for_word():
    statistics = {"mean": 12.0, "std": 0.5, "n": 3, "ci95": (11.0, 13.0)}
    words = {"missing": ("rapl:dram",), "reason": "gone", "method": "by time"}
    metric = Metric(12.5, "J", 10.0, None, Provenance.MIXED, Scope.APPLICATION, **words, **statistics)
    run = DataNode("0", NodeType.RUN, {"energy_j": metric}, regions=[Region("f", 1, 2, {})], metadata={"a": (1, 2)})
    assert strict(dumps(run))["root"] == {
        "id": "0",
        "type": "RUN",
        "metrics": {
            "energy_j": {
                "value": 12.5,
                "unit": "J",
                "lower": 10.0,
                "upper": None,
                "provenance": "mixed",
                "scope": "application",
                "reason": "gone",
                "missing": ["rapl:dram"],
                "method": "by time",
                "mean": 12.0,
                "std": 0.5,
                "n": 3,
                "ci95": [11.0, 13.0],
            }
        },
        "nodes": [],
        "metadata": {"a": [1, 2]},
        "regions": [{"name": "f", "rank": 1, "calls": 2, "metrics": {}}],
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf")])
def test_what_is_not_a_number_is_null(value):
    tree = DataNode(
        "0", NodeType.RUN, {"x": Metric(value, "J", value, value)}, metadata={"x": [value], "y": np.array([value, 1])}
    )
    root = strict(dumps(tree))["root"]
    assert [root["metrics"]["x"][key] for key in ("value", "lower", "upper")] == [None] * 3
    assert root["metadata"] == {"x": [None], "y": [None, 1.0]}


class Colour(Enum):
    BLUE = "blue"


def test_metadata_of_any_type_is_written():
    odd = {1: Colour.BLUE, None: b"x", "set": {3}, "numpy": np.int64(7), "flag": True, "nested": ({"a": range(2)},)}
    expected = {"1": "blue", "None": "b'x'", "set": [3], "numpy": 7, "flag": True, "nested": [{"a": "range(0, 2)"}]}
    assert strict(encode(odd)) == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_is_always_valid_ascii_and_keeps_what_it_can_say(value):
    text = encode(value)
    assert text.isascii()
    assert strict(text) == plain(value)


def test_names_may_be_anything():
    for name in ["a/b", "line\nbreak", "NUL\0", "é🔋", "\udcff", "x" * 10_000]:
        tree = DataNode(name, NodeType.RUN, {name: Metric(1, name)}, regions=[Region(name, 0, 1, {})])
        assert from_dict(strict(dumps(tree))) == tree


def test_standard_output_gets_nothing_else(capfdbinary):
    write(measured(), "-")
    captured = capfdbinary.readouterr()
    assert from_dict(strict(captured.out)) == measured()
    assert captured.out.endswith(b"}\n")
    assert captured.err == b""


def _fail_half_way(file):
    file.write(b"half of")
    raise OSError("disk")


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("x" * 10**6)
    write(measured(), str(path))
    assert from_dict(strict(path.read_text())) == measured()
    with pytest.raises(OSError, match="disk"), open_output(str(path)) as file:
        _fail_half_way(file)
    assert from_dict(strict(path.read_text())) == measured()
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.json").symlink_to("result.json")
    write(measured(), str(tmp_path / "link.json"))
    assert (tmp_path / "link.json").is_symlink()
    assert from_dict(strict((tmp_path / "result.json").read_text())) == measured()


def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write(measured(), os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write(measured(), str(pipe))
        assert from_dict(strict(reader.communicate(timeout=20)[0])) == measured()
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_a_full_device_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        write(measured(), "/dev/full")


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(measured(), str(tmp_path / "nowhere" / "result.json"))


WRONG = [None, [], {}, {"schema": 1}, {"schema": {"name": "x", "version": 1}}, {"schema": {"name": "perun-like"}}]


@pytest.mark.parametrize("document", WRONG, ids=str)
def test_another_document_is_refused(document):
    with pytest.raises(ValueError, match=r"schema|version"):
        from_dict(document)


def test_a_newer_document_is_refused():
    document = to_dict(measured())
    document["schema"]["version"] = 2
    with pytest.raises(ValueError, match="version 2, newer than 1"):
        from_dict(document)


def test_a_result_needs_no_numpy_to_be_read():
    code = "import sys; import perun_like.model.serial; sys.exit('numpy' in sys.modules or 'h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_statistics_of_regions_come_back():
    [several] = from_dict(strict(dumps(rounds()))).nodes
    solve = next(region for region in several.regions if region.name == "solve").metrics["energy_j"]
    assert (solve.n, solve.mean, solve.std) == (5, 11.2, 0.09)
    assert solve.ci95 == pytest.approx((11.2 - 2.7764 * 0.09 / 5**0.5, 11.2 + 2.7764 * 0.09 / 5**0.5))


def test_a_run_of_one_round_has_its_regions_once():
    document = strict(dumps(measured()))["root"]["nodes"][0]
    assert "regions" not in document
    assert document["nodes"][0]["regions"]


def test_statistics_of_rounds_are_always_there():
    rounds = DataNode("r", NodeType.MULTI_RUN, {"x": Metric(1.0, "J")})
    metric = strict(dumps(rounds))["root"]["metrics"]["x"]
    assert [metric[key] for key in ("mean", "std", "n", "ci95")] == [None] * 4
    once = replace(rounds, metrics={"x": Metric(1.0, "J", mean=1.0, n=1)})
    assert strict(dumps(once))["root"]["metrics"]["x"]["mean"] == 1.0
