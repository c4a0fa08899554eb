"""``perun-like config`` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from perun_like.cli.config import config
from perun_like.config import OPTIONS
from perun_like.errors import ConfigError


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A runner in an empty directory, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for option in OPTIONS:
        monkeypatch.delenv(option.env, raising=False)
    return CliRunner()


def test_each_setting_with_value_origin_and_variable(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERUN_PERIOD", "20ms")
    Path("perun.toml").write_text('price = "0.30EUR"\nno-command = true\nname = "[bold]x"')
    result = runner.invoke(config, catch_exceptions=False)
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line}
    assert rows["period"] == ["20ms", "PERUN_PERIOD", "PERUN_PERIOD"]
    assert rows["price"] == ["0.3EUR", "perun.toml", "PERUN_PRICE"]
    assert rows["no-command"] == ["yes", "perun.toml", "PERUN_NO_COMMAND"]
    assert rows["no-report"] == ["no", "default", "PERUN_NO_REPORT"]
    assert rows["backend"] == ["all", "default", "PERUN_BACKEND"]
    assert rows["name"][0] == "[bold]x"
    assert all(option.key in rows for option in OPTIONS)
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_a_long_value_is_shown_whole(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/" + "/".join(f"directory{n}" for n in range(12))
    monkeypatch.setenv("PERUN_OUTPUT", long)
    lines = runner.invoke(config, catch_exceptions=False).output.splitlines()
    assert max(len(line) for line in lines) <= 80
    shown = "".join(line[15:].split("PERUN_OUTPUT")[0].split()[0] for line in lines if "directory" in line)
    assert shown.startswith("/directory0")
    assert shown.endswith("directory11")


def test_json_is_for_programs(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERUN_PRICE", "0.30EUR")
    shown = json.loads(runner.invoke(config, ["--json"], catch_exceptions=False).output)
    assert list(shown) == [option.key for option in OPTIONS]
    assert shown["price"] == {
        "field": "price",
        "value": [0.3, "EUR"],
        "origin": "PERUN_PRICE",
        "option": "--price",
        "environment": "PERUN_PRICE",
    }


def test_a_wrong_setting_is_an_error_of_ours(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERUN_PERIOD", "20")
    with pytest.raises(ConfigError, match="PERUN_PERIOD"):
        runner.invoke(config, catch_exceptions=False)
