"""What can be got wrong: a clear message, the right exit code, nothing run that should not be, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PERUN, PYTHON, Run

import perun_like
from perun_like.errors import FileError

Script = Callable[..., str]

TOUCHES = "open('ran', 'w')"

# command line, exit code, words of the message; none of them may start the script
REFUSED = [
    (["missing.py"], 2, ["missing.py", "no such file"]),
    ([], 2, ["SCRIPT", "-m MODULE", "-- EXECUTABLE"]),
    (["--perid", "1ms", "script.py"], 2, ["--perid", "--period"]),
    (["--period", "1us", "script.py"], 2, ["--period", "1ms"]),
    (["--period", "fast", "script.py"], 2, ["--period", "100ms"]),
    (["--period", "0", "script.py"], 2, ["--period", "at least 1ms"]),
    (["--period", "-1s", "script.py"], 2, ["--period", "at least 1ms"]),
    (["--country", "Atlantis", "script.py"], 2, ["--country: unknown country 'Atlantis'"]),
    (["--country", "Germani", "script.py"], 2, ["Germany"]),
    (["--intensity", "-1", "script.py"], 2, ["--intensity"]),
    (["--pue", "0.5", "script.py"], 2, ["--pue"]),
    (["--price", "0.30", "script.py"], 2, ["--price", "0.30EUR"]),
    (["--backend", "no-such", "script.py"], 2, ["no-such", "rapl"]),
    (["--output", "/proc/nowhere", "script.py"], 2, ["/proc/nowhere", "--output"]),
    (["--json", "no/such/dir.json", "script.py"], 2, ["--json", "no/such/dir.json"]),
    (["--json", ".", "script.py"], 2, ["--json", "directory"]),
    (["--run-id", "a/b", "script.py"], 2, ["--run-id"]),
    (["--name", "..", "script.py"], 2, ["--name"]),
    (["--python", "/no/such/python", "script.py"], 2, ["--python", "/no/such/python"]),
    (["--", "/no/such/program"], 127, ["/no/such/program", "No such file"]),
    (["--", "no-such-command"], 127, ["no-such-command", "in any directory of PATH"]),
    (["--", "./script.py"], 126, ["script.py", "Permission denied"]),
    (["--", "."], 126, ["Is a directory"]),
    (["/bin/sh"], 2, ["not a Python file", "-- /bin/sh"]),
    (["."], 2, ["__main__.py"]),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused_before_anything_runs(
    perun: Run, script: Script, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    script(TOUCHES)
    ended = perun("profile", *arguments)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob("*.h5"))
    assert not list(tmp_path.rglob("*.parts"))


def test_a_script_for_another_interpreter_is_told_apart(perun: Run, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho hello\n")
    ended = perun("profile", "run.sh")
    assert ended.returncode == 2
    assert "perun-like profile -- ./run.sh" in ended.stderr


def test_binary_data_is_not_a_script(perun: Run, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_bytes(bytes(range(256)))
    assert "binary data" in perun("profile", "data.py").stderr


def test_a_syntax_error_is_reported_as_python_does(perun: Run, script: Script, tmp_path: Path) -> None:
    name = script("def f(:\n  pass\n")
    alone = subprocess.run([PYTHON, name], cwd=tmp_path, capture_output=True, text=True, check=False)
    watched = perun("profile", "--no-report", name)
    assert (watched.returncode, watched.stderr) == (alone.returncode, alone.stderr)


def test_what_was_meant_by_profile_python_script(perun: Run, script: Script) -> None:
    name = script("import sys; print(sys.argv)")
    assert perun("profile", "python3", name, "1").stdout == f"['{name}', '1']\n"


def test_two_runs_with_one_id(perun: Run, script: Script, tmp_path: Path) -> None:
    name = script("print('first')")
    assert perun("profile", "--run-id", "x", name).returncode == 0
    (path,) = tmp_path.rglob("*.h5")
    before = path.read_bytes()
    script(TOUCHES)
    second = perun("profile", "--run-id", "x", name)
    assert second.returncode == 2
    assert "'x' is taken" in second.stderr
    assert not (tmp_path / "ran").exists()
    assert path.read_bytes() == before


def test_unknown_variables_and_keys_are_errors(
    perun: Run, script: Script, tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    name = script("pass")
    misspelt = perun("profile", name, env={**clean_environ, "PERUN_PERIODE": "1s"})
    assert misspelt.returncode == 2
    assert "PERUN_PERIOD" in misspelt.stderr
    (tmp_path / "perun.toml").write_text("perid = '1s'\n")
    in_file = perun("profile", name)
    assert in_file.returncode == 2
    assert "period" in in_file.stderr


def test_a_full_disk_at_the_end_loses_no_samples(perun: Run, script: Script, tmp_path: Path) -> None:
    # The results' directory is replaced by a file while the program runs: no file can be created there any more.
    name = script("import os\nos.rename('perun_results/script', 'aside'); open('perun_results/script', 'w')")
    ended = perun("profile", "--run-id", "x", name)
    assert ended.returncode == 0
    assert "could not be saved" in ended.stderr
    assert list((tmp_path / "aside").rglob("*.part"))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", bytes(10_000)])
def test_a_file_that_is_not_ours(perun: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"x\.h5"):
        perun_like.load(str(path))
    ended = perun("report", "x.h5")
    assert ended.returncode == 1
    assert "x.h5" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_truncated_file(perun: Run, script: Script, tmp_path: Path) -> None:
    perun("profile", script("pass"))
    (path,) = tmp_path.rglob("*.h5")
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(FileError):
        perun_like.load(str(path))


def test_metadata_on_stdout_is_not_disturbed(perun: Run, script: Script, tmp_path: Path) -> None:
    ended = perun("profile", "--json", "result.json", script("print('only this')"))
    assert ended.stdout == "only this\n"
    assert json.loads((tmp_path / "result.json").read_text())["root"]["type"] == "APP"
    (path,) = tmp_path.rglob("*.h5")
    assert json.loads(perun("export", str(path), "json").stdout)["root"]["id"] == "script"
    assert isinstance(json.loads(perun("sensors", "--json").stdout), dict)
    assert isinstance(json.loads(perun("config", "--json").stdout), (dict, list))


def test_the_report_s_last_line_is_the_file(perun: Run, script: Script, tmp_path: Path) -> None:
    last = perun("profile", script("pass")).stderr.splitlines()[-1]
    assert (tmp_path / last.strip()).is_file()


def test_settings_meant_for_the_program_s_hdf5_do_not_reach_ours(
    perun: Run, script: Script, tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    hostile = {"HDF5_VOL_CONNECTOR": "async", "HDF5_DRIVER": "nonsense", "OPENBLAS_NUM_THREADS": "3"}
    source = "import os; print([os.environ[k] for k in ('HDF5_VOL_CONNECTOR', 'HDF5_DRIVER', 'OPENBLAS_NUM_THREADS')])"
    ended = perun("profile", "--no-report", script(source), env={**clean_environ, **hostile})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "['async', 'nonsense', '3']\n"
    assert list(tmp_path.rglob("*.h5"))


def test_json_for_a_closed_output_costs_only_a_message(script: Script, tmp_path: Path) -> None:
    line = f"{PERUN} profile --no-report --json - {script('raise SystemExit(4)')} >&-"
    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 4
    assert ended.stderr == "perun-like: --json -: standard output is closed\n"


def test_a_full_output_is_named(perun: Run, script: Script, tmp_path: Path) -> None:
    script("pass")
    assert perun("profile", "script.py").returncode == 0
    (path,) = tmp_path.glob("perun_results/*/*.h5")
    with open("/dev/full", "w") as full:
        done = subprocess.run([PERUN, "report", path], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "can't write the output: No space left on device" in done.stderr


def test_a_directory_is_no_file_of_a_run(perun: Run, tmp_path: Path) -> None:
    told = perun("report", str(tmp_path))
    assert told.returncode == 1
    assert "is a directory without results: give the .h5 file of a run" in told.stderr
    (tmp_path / "heat" / "first.parts").mkdir(parents=True)
    assert f"perun-like recover {tmp_path} makes files of them" in perun("report", str(tmp_path)).stderr
    for name in ("2026-01.h5", "2026-02.h5"):
        (tmp_path / "heat" / name).touch()
    for directory in (tmp_path, tmp_path / "heat"):
        told = perun("report", str(directory))
        assert f"give one of the 2 .h5 files in it, such as {tmp_path}/heat/2026-02.h5" in told.stderr


def test_what_is_not_there_can_not_be_recovered(perun: Run) -> None:
    told = perun("recover", "nope")
    assert told.returncode == 2
    assert "there is no nope: give a directory of results, or what a run has left, *.parts" in told.stderr
    assert "its results are in gone" in perun("recover", "gone/first.parts").stderr


def test_a_deleted_directory_is_told(script: Script, tmp_path: Path) -> None:
    name = script("pass")
    line = f"mkdir gone; cd gone; rmdir ../gone; {PERUN} profile ../{name}"
    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert "current directory has been deleted" in ended.stderr
