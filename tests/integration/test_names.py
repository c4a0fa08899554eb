"""Names of any characters: refused where they can't name a file, else kept exactly; no terminal obeys them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PERUN, Run

import perun_like
from perun_like.model.node import NodeType

Script = Callable[..., str]

NAMES = {
    "slashes": "../../etc/passwd",
    "newlines": "two\nlines\r\nand more",
    "NUL": "nul\0byte",
    "terminal escapes": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "emoji": "🔥 hot \N{ZERO WIDTH JOINER}🧑‍🚀",
    "right to left": "abc\u202etxt.exe\u2066",
    "surrogate": "half \ud83d of a pair",
    "long": "0123456789" * 1000,
    "nothing": "",
    "spaces": "  around  ",
    "JSON": '{"a": [1]}"\\',
    "CSV": 'a,"b",c;d\te',
    "HDF5": "/tree/../recording.valid",
}
REGIONS = [name for name in NAMES.values() if name]
ESCAPES = ["\x1b[2J", "\x07", "\x9b", "\r", "\u202e", "\u2066", "\0"]


def exported(perun: Run, path: Path) -> dict[str, Any]:
    ended = perun("export", str(path), "json")
    assert ended.returncode == 0, ended.stderr
    root: dict[str, Any] = json.loads(ended.stdout)["root"]
    return root


def assert_no_terminal_obeys(text: str) -> None:
    for escape in ESCAPES:
        assert escape not in text
    assert all(len(line) <= 200 for line in text.splitlines())


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """A script with a region of each name, as a block and as a decorated function."""
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom perun_like import region\n"
        f"NAMES = {REGIONS!a}\n"
        "for name in NAMES:\n    with region(name): pass\n    region(name + '()')(lambda: None)()\n"
    )
    return path


def test_regions_of_any_name_are_kept_exactly(perun: Run, regions: Path, tmp_path: Path) -> None:
    ended = perun("profile", "--json", "x.json", regions.name)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    (path,) = tmp_path.rglob("*.h5")
    called = {region.name for region in perun_like.load(path).find(NodeType.RUN)[0].regions}
    assert called == {name + end for name in REGIONS for end in ("", "()")}
    for root in (exported(perun, path), json.loads((tmp_path / "x.json").read_text())["root"]):
        assert {region["name"] for region in root["nodes"][0]["nodes"][0]["regions"]} == called
    report = perun("report", str(path))
    assert report.returncode == 0
    for text in (ended.stderr, report.stdout):
        assert_no_terminal_obeys(text)


def test_regions_of_any_name_survive_a_kill(regions: Path, tmp_path: Path, perun: Run) -> None:
    with regions.open("a") as file:
        file.write("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time\ntime.sleep(60)\n")
    perun("profile", "--run-id", "cut", regions.name)
    while "still being written" in (ended := perun("recover", "perun_results/script/cut.parts")).stderr:
        pass
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.rglob("*.h5")
    called = {region.name for region in perun_like.load(path).find(NodeType.RUN)[0].regions}
    assert called == {name + end for name in REGIONS for end in ("", "()")}


@pytest.mark.parametrize("what", NAMES)
def test_functions_measured_in_place_may_have_any_name(perun: Run, script: Script, tmp_path: Path, what: str) -> None:
    """Their files are named after them as far as file names allow, and never lie elsewhere."""
    name = NAMES[what]
    source = f"from perun_like import profile\nwith profile({name!a}, output='out'): pass\n"
    ended = subprocess.run(
        [PERUN.replace("perun-like", "python"), script(source)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr, ended.stderr
    (path,) = tmp_path.rglob("*.h5")
    assert path.parent.parent == tmp_path / "out"
    assert len(os.fsencode(path.parent.name)) <= 100
    assert_no_terminal_obeys(ended.stderr)
    assert_no_terminal_obeys(perun("report", str(path)).stdout)
    assert exported(perun, path)["id"]


@pytest.mark.parametrize("flag", ["--name", "--run-id"])
@pytest.mark.parametrize("what", NAMES)
def test_names_of_files_are_used_exactly_or_refused(
    perun: Run, script: Script, tmp_path: Path, flag: str, what: str
) -> None:
    """… with a message that no terminal obeys, before anything runs. A NUL can't be given at all."""
    name = os.fsencode(NAMES[what].replace("\0", "\x01").encode("utf-8", "surrogatepass"))
    command: list[str | bytes] = [PERUN, "profile", flag, name, script("open('ran', 'w')")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
    assert_no_terminal_obeys(ended.stderr.replace("\x01", ""))
    if ended.returncode == 0:
        (path,) = tmp_path.rglob("*.h5")
        assert (path.parent.name if flag == "--name" else path.stem) == NAMES[what]
        assert path.parent.parent == tmp_path / "perun_results"
    else:
        assert ended.returncode == 2
        assert flag in ended.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"]


def test_variables_are_treated_as_options_are(perun: Run, script: Script, clean_environ: dict[str, str]) -> None:
    name = script("pass")
    for value in ("../up", "two\nlines", "\x1b[2J", "0123456789" * 1000, "half \udcff"):
        for variable in ("PERUN_NAME", "PERUN_RUN_ID"):
            ended = perun("profile", name, env={**clean_environ, variable: value})
            assert ended.returncode == 2, (variable, value)
            assert variable in ended.stderr
            assert_no_terminal_obeys(ended.stderr)


def test_scripts_of_any_name(perun: Run, tmp_path: Path) -> None:
    for what in ("newlines", "terminal escapes", "emoji", "right to left", "CSV"):
        directory = tmp_path / what.replace(" ", "_")
        directory.mkdir()
        (directory / f"{NAMES[what]}.py").write_text("pass\n")
        ended = perun("profile", f"{NAMES[what]}.py", cwd=directory)
        assert ended.returncode == 0, ended.stderr
        assert_no_terminal_obeys(ended.stderr)
        (path,) = directory.rglob("*.h5")
        assert exported(perun, path)["nodes"][0]["nodes"][0]["metadata"]["command"][-1] == f"{NAMES[what]}.py"


def test_a_host_of_any_name_in_csv(perun: Run, script: Script, tmp_path: Path, clean_environ: dict[str, str]) -> None:
    """A host's identity is told by its user; its table has the columns that it has for any other."""
    environ = {**clean_environ, "PERUN_HOST_ID": 'a,"b"\n\x1b[2J/../ü'}
    assert perun("profile", script("pass"), env=environ).returncode == 0
    (path,) = tmp_path.rglob("*.h5")
    table = perun("export", str(path), "csv").stdout
    rows = [row for row in csv.reader(io.StringIO(table)) if row and not row[0].startswith("#")]
    assert len({len(row) for row in rows}) <= len({row[0] for row in rows})
    assert "\x1b" not in table
