"""A plain command line is read without click, and exactly as click reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest

from perun_like.cli import profile as profile_module
from perun_like.cli.run import Program, plain

LINES = [
    ["script.py"],
    ["script.py", "--name", "its own", "-x"],
    ["--name", "a", "script.py"],
    ["--name=a", "--period=10ms", "-m", "module", "x"],
    ["--period", "10ms", "--no-report", "--", "./binary", "--", "y"],
    ["--report", "--no-report", "--no-command", "-mmodule"],
    ["--backend", "rapl", "--backend=host,memory", "-"],
    ["--json", "-", "--country", "", "script.py"],
    ["--name", "first", "--name", "last", "s"],
    ["--intensity", "-1", "s"],
    ["--name=", "s"],
    ["--rounds", "3", "--warmup", "1", "s"],
    ["--name", "--period", "10ms", "script.py"],
]
LEFT_TO_CLICK = [
    [],
    ["--help"],
    ["-h", "script.py"],
    ["--name"],
    ["--name", "a"],
    ["--nmae", "a", "script.py"],
    ["--no-report=yes", "script.py"],
    ["-q", "script.py"],
    ["--"],
    ["-m"],
]


def by_click(args: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Program]:
    seen: list[tuple[dict[str, Any], Program]] = []

    def run(program: Program, options: dict[str, Any], _sampler: object) -> None:
        seen.append(({key: value for key, value in options.items() if value not in (None, ())}, program))

    monkeypatch.setattr(profile_module, "run", run)
    profile_module.profile.main(args, standalone_mode=False)
    return seen[0]


@pytest.mark.parametrize("args", LINES, ids=" ".join)
def test_both_read_the_same(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(args) == by_click(args, monkeypatch)


@pytest.mark.parametrize("args", LEFT_TO_CLICK, ids=" ".join)
def test_help_and_mistakes_are_left_to_click(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(args) is None
    if "-h" not in args and "--help" not in args:
        with pytest.raises(click.UsageError):
            by_click(args, monkeypatch)


def test_click_is_not_loaded_for_a_plain_command_line() -> None:
    source = (
        "import sys\nsys.argv = ['perun-like', 'profile', '--country', 'Nowhere', 'x.py']\n"
        "from perun_like.cli import main\n"
        "try: main()\nexcept SystemExit as error:\n"
        "    print(error.code, sorted({'click', 'rich', 'numpy'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout == "2 []\n", ended.stderr
