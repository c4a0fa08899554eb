"""Finding backends: importlib.metadata is the truth, and strangers' packages break in every way."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from perun_like.errors import InputError
from perun_like.sensing.contract import COUNTER, Context, Found, Missing, Sensor
from perun_like.sensing.discovery import (
    ALTERNATIVES,
    GROUP,
    backend_specs,
    chosen_specs,
    domains_of,
    find_all,
    load,
    select,
)


def install(directory: Path, distribution: str, section: str) -> str:
    folder = directory / distribution
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_text(section)
    return str(directory)


@pytest.mark.parametrize(
    ("group", "name"), [(GROUP, "perun_like.sensors"), (ALTERNATIVES, "perun_like.alternative_sensors")]
)
def test_the_same_backends_as_importlib_metadata_finds(group: str, name: str):
    truth = {point.name: point.value for point in entry_points(group=name)}
    assert truth
    assert backend_specs(sys.path, group) == truth


def test_sections_comments_extras_and_other_groups(tmp_path: Path):
    path = install(
        tmp_path,
        "stranger-1.dist-info",
        "[console_scripts]\nrun = stranger:main\n\n[perun_like.sensors]\n# ours\nmine = stranger.power:Meter [gpu]\n"
        " spaced=other:Thing \n[perun_like.sensors.other]\nno = not.ours:X\n",
    )
    assert backend_specs([path]) == {"mine": "stranger.power:Meter", "spaced": "other:Thing"}


def test_the_first_directory_wins_and_what_is_no_directory_is_skipped(tmp_path: Path):
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("x.dist-info/entry_points.txt", "[perun_like.sensors]\nzipped = a:B\n")
    (tmp_path / "old.egg-info").write_text("Name: an egg of distutils is a file\n")
    first = install(tmp_path / "first", "a.egg-info", "[perun_like.sensors]\nmeter = first:Meter\n")
    second = install(tmp_path / "second", "a.dist-info", "[perun_like.sensors]\nmeter = second:M\nmore = second:N\n")
    paths = [str(tmp_path / "absent"), str(archive), str(tmp_path), first, second]
    assert backend_specs(paths) == {"meter": "first:Meter", "more": "second:N"}


def test_an_empty_path_entry_is_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "a.dist-info", "[perun_like.sensors]\nhere = a:B\n")
    monkeypatch.chdir(tmp_path)
    assert backend_specs([""]) == {"here": "a:B"}


def test_selecting_by_name():
    specs = {"a": "m:A", "b": "m:B"}
    assert select(specs, ()) == specs
    assert select(specs, ("b",)) == {"b": "m:B"}
    with pytest.raises(InputError, match="unknown backend 'c': installed are a, b"):
        select(specs, ("b", "c"))
    with pytest.raises(InputError, match="installed are none"):
        select({}, ("c",))


def test_an_alternative_is_used_only_where_it_is_named(tmp_path: Path):
    path = install(
        tmp_path,
        "stranger-1.dist-info",
        "[perun_like.sensors]\nmeter = m:Meter\nz = m:Z\n"
        "[perun_like.alternative_sensors]\nalso = m:Also\nmeter = m:Impostor\n",
    )
    assert backend_specs([path]) == {"meter": "m:Meter", "z": "m:Z"}
    assert chosen_specs([path], ()) == {"meter": "m:Meter", "z": "m:Z"}
    assert chosen_specs([path], ("also",)) == {"also": "m:Also"}
    # The alternative comes last, so that a total adds the other.
    assert list(chosen_specs([path], ("also", "z", "meter")).items()) == [
        ("meter", "m:Meter"), ("z", "m:Z"), ("also", "m:Also"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="unknown backend 'c': installed are also, meter, z"):
        chosen_specs([path], ("c",))


STRANGERS = """
from perun_like.sensing.contract import Found, Missing, Sensor

def sensor(id_, backend):
    return Sensor(id_, backend, "cpu", "energy", "counter", "J")

class Good:
    name, min_period_ns = "good", 1
    def find(self, context):
        return Found([sensor("good:1", "good"), sensor("good:1", "good")], [Missing("good", "good:2", "no", "yes")])

class Thief:
    name, min_period_ns = "thief", 1
    def find(self, context):
        return Found([sensor("good:1", "thief"), sensor("thief:1", "thief")])

class Raises(Good):
    name, domains = "raises", ("gpu",)
    def find(self, context):
        raise KeyError("ROCM")

class Exits(Good):
    name = "exits"
    def __init__(self):
        raise SystemExit(3)

class Nonsense(Good):
    name = "nonsense"
    def find(self, context):
        return Found([42])

number = 7
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger_sensors.py").write_text(STRANGERS)
    (tmp_path / "stranger_broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("stranger_sensors", "stranger_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_broken_backends_are_reported_and_the_others_go_on(strangers: None):
    discovery = find_all(
        {
            "broken": "stranger_broken:X",
            "absent": "stranger_nowhere:X",
            "exits": "stranger_sensors:Exits",
            "raises": "stranger_sensors:Raises",
            "nonsense": "stranger_sensors:Nonsense",
            "noclass": "stranger_sensors:number",
            "renamed": "stranger_sensors:Good",
            "good": "stranger_sensors:Good",
        },
        Context(),
    )
    assert list(discovery.backends) == ["good"]
    reasons = {missing.backend: missing.reason for missing in discovery.missing if missing.what == "backend"}
    assert reasons.keys() == {"broken", "absent", "exits", "raises", "nonsense", "noclass", "renamed"}
    assert reasons["raises"].startswith("the backend failed: KeyError: 'ROCM' (")
    assert "stranger_sensors.py:" in reasons["raises"]
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in reasons["broken"]
    assert "SystemExit: 3" in reasons["exits"]
    assert "registered as 'renamed' but calls itself 'good'" in reasons["renamed"]
    assert all(missing.remedy for missing in discovery.missing)
    assert {missing.backend: missing.domains for missing in discovery.missing if missing.domains} == {
        "raises": ("gpu",)
    }


def test_the_domains_that_a_class_promises_are_known_once_it_is_imported(strangers: None):
    spec = "stranger_sensors:Raises"
    assert domains_of(spec) == ()
    load(spec)
    assert domains_of(spec) == ("gpu",)
    assert domains_of("stranger_sensors:Good") == domains_of("stranger_sensors:number") == domains_of("nowhere:X") == ()


def test_ids_stay_unique_and_the_loser_is_reported(strangers: None):
    discovery = find_all({"good": "stranger_sensors:Good", "thief": "stranger_sensors:Thief"}, Context())
    ids = {name: [sensor.id for sensor in sensors] for name, sensors in discovery.sensors.items()}
    assert ids == {"good": ["good:1"], "thief": ["thief:1"]}
    taken = [(missing.backend, missing.what) for missing in discovery.missing if "already has" in missing.reason]
    assert taken == [("good", "good:1"), ("thief", "good:1")]
    assert Missing("good", "good:2", "no", "yes") in discovery.missing


def test_load_follows_dots(strangers: None):
    assert load("stranger_sensors:Good").find(Context()) == Found(
        [Sensor("good:1", "good", "cpu", "energy", COUNTER, "J")] * 2, [Missing("good", "good:2", "no", "yes")]
    )
