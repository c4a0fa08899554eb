"""``perun-like sensors`` and ``perun-like setup`` as people and scripts use them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Plant = Callable[[str], Path]
Perun = Callable[..., "subprocess.CompletedProcess[str]"]


def test_json_has_everything_found_and_everything_missing(perun: Perun, plant: Plant):
    root = plant("laptop") / "sys/class/powercap"
    done = perun("sensors", "--json", "--powercap-root", str(root), "--backend", "rapl", "--backend", "memory")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    sensors = {sensor["id"]: sensor for sensor in answer["sensors"]}
    assert [id_ for id_, sensor in sensors.items() if sensor["in_total"]] == ["rapl:package-0"]
    assert sensors["rapl:package-0/core"]["note"] == "inside rapl:package-0"
    assert sensors["rapl:psys"]["note"] == "platform counter, never added"
    assert sensors["rapl:package-0"]["modulus"] == 262_143_328_911
    assert sensors["memory:used"]["unit"] == "B"
    assert answer["missing"] == []


def test_people_get_three_sections_in_80_columns(perun: Perun, tmp_path: Path):
    done = perun("sensors", "--powercap-root", str(tmp_path))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line for line in lines if line in {"Energy", "Other", "Not available here"}]
    assert titles == ["Energy", "Other", "Not available here"]
    text = " ".join(done.stdout.split())
    assert "estimate:cpu estimated yes" in text
    assert "estimate:cpu: a model" in text
    assert "rapl: energy there is no powercap tree" in text


def test_a_measured_processor_is_not_estimated_besides(perun: Perun, plant: Plant):
    text = perun("sensors", "--powercap-root", str(plant("dual_xeon") / "sys/class/powercap")).stdout
    assert "no: measured by rapl:package-0" in text
    assert "a model" not in text


def test_the_tdp_goes_into_the_model(perun: Perun):
    answer = json.loads(perun("sensors", "--json", "--cpu-tdp", "65", "--backend", "estimate").stdout)
    assert answer["sensors"][0]["model"]["idle_w"] == [3.25, 9.75, 32.5]


def test_an_unknown_backend_is_an_error_that_names_those_there_are(perun: Perun):
    done = perun("sensors", "--backend", "rappel")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "unknown backend 'rappel': installed are" in done.stderr
    assert "rapl" in done.stderr


@pytest.mark.parametrize(
    "part", ["/etc/udev/rules.d/", "/etc/tmpfiles.d/", "CVE-2020-8694", "SLURM_JOB_UID", "docker run", "reboot"]
)
def test_setup_prints_each_way(perun: Perun, part: str):
    done = perun("setup", "--group", "watts")
    assert done.returncode == 0
    assert part in done.stdout
    assert "watts" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_setup_prints_is_shell(perun: Perun):
    """The whole text is commands and comments: a shell accepts it, unrun."""
    text = perun("setup").stdout
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
