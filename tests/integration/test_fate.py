"""The program's fate and output are the same with and without us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import PERUN, PYTHON
from programs import PROGRAMS, Program


def fate(program: Program, directory: Path, environ: dict[str, str], run: str, execute: str) -> tuple[int, str, str]:
    """Exit status and what the program printed, in a new directory of the same name."""
    directory.mkdir(parents=True)
    (directory / "script.py").write_text(program.source)
    line = program.line.format(run=run, exec=execute)
    ended = subprocess.run(
        ["bash", "-c", line],
        cwd=directory,
        env=environ,
        input=program.stdin.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name.replace(" ", "-"))
def test_a_program_does_not_notice(program: Program, tmp_path: Path, clean_environ: dict[str, str]) -> None:
    # A directory that both see under one name: paths in tracebacks have to be equal.
    here = tmp_path / "here"
    alone = fate(program, here, clean_environ, PYTHON, "")
    here.rename(tmp_path / "alone")
    ours = f"{PERUN} profile --no-report --output {tmp_path}/results"
    watched = fate(program, here, clean_environ, ours, f"{ours} --")
    assert watched == alone
    assert len(list((tmp_path / "results").rglob("*.h5"))) == 1
