"""Settings: which of four sources counts, and what is said of a wrong value. Every option of the table is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from perun_like.config import OPTIONS, RESERVED, Option, Settings, check_powercap_root, resolve
from perun_like.errors import ConfigError


class Case(NamedTuple):
    """Three different values of an option, as written in a file, in the environment, on the command line."""

    toml: str
    in_file: Any
    env: str
    in_environment: Any
    option: Any
    on_command_line: Any
    wrong: tuple[str, str]  # a wrong text, and what the message must say is allowed


CASES: dict[str, Case] = {
    "name": Case('"a"', "a", "b", "b", "c d", "c d", ("a/b", "file name.*without /")),
    "run_id": Case('"a"', "a", "0", "0", "c.1", "c.1", (".hidden", "starts with a dot.*file name")),
    "output": Case('"a/b"', "a/b", "/b", "/b", "c", "c", ("\0", "not a path")),
    "period_ns": Case('"2ms"', 2_000_000, "1s", 10**9, "1ms", 10**6, ("999us", "period too short.*at least 1ms")),
    "spool_budget_b": Case(
        '"2GB"', 2 * 10**9, "1.5GiB", 3 << 29, "1MB", 10**6, ("999kB", "at least 1MB, at most 1000TB")
    ),
    "json": Case('"a.json"', "a.json", "b", "b", "-", "-", ("\0", "not a path")),
    "backend": Case(
        '["a", "b"]', ("a", "b"), "b, c", ("b", "c"), ("c", "d,c"), ("c", "d"), ("a,,b", "commas between them")
    ),
    "rounds": Case("3", 3, "2", 2, "1", 1, ("0", "whole number from 1 to 10000")),
    "warmup": Case("3", 3, "0", 0, "1", 1, ("1.5", "whole number from 0 to 10000")),
    "report": Case("false", True, "1", False, True, True, ("maybe", "1, true, yes, on, 0, false, no, off")),
    "command": Case("true", False, "no", True, False, False, ("2", "1, true, yes, on, 0, false, no, off")),
    "python": Case('"python3"', "python3", "./p", "./p", "/p", "/p", ("\0", "not a path")),
    "country": Case('"DE"', "DE", "FR", "FR", "Costa Rica", "Costa Rica", ("\x1b[1m", "name or code, such as DE")),
    "intensity_g_per_kwh": Case("0", 0.0, "380.5", 380.5, "10000", 10_000.0, ("-1", "from 0 to 10000 g/kWh")),
    "pue": Case("1.3", 1.3, "2", 2.0, "1", 1.0, ("0.9", "from 1 to 10")),
    "price": Case('"0.30EUR"', (0.3, "EUR"), "0 usd", (0.0, "USD"), "5CHF", (5.0, "CHF"), ("0.30", r"0\.30EUR")),
    "cpu_tdp_w": Case("65", 65.0, "15.5", 15.5, "1e3", 1_000.0, ("0", "from 0.1 to 100000 W")),
    "powercap_root": Case('"/a"', "/a", "/b", "/b", "c", "c", ("\0", "not a path")),
}

by_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)


def write(directory: Path, text: str) -> str:
    (directory / "perun.toml").write_text(text, encoding="utf-8")
    return str(directory)


def test_there_is_a_case_for_each_option_and_an_option_for_each_field() -> None:
    fields = [name for name in Settings._fields if name != "origins"]
    assert [option.field for option in OPTIONS] == fields == list(CASES)


def test_names_follow_from_the_flag() -> None:
    tdp = next(option for option in OPTIONS if option.field == "cpu_tdp_w")
    assert (tdp.flag, tdp.key, tdp.env) == ("--cpu-tdp", "cpu-tdp", "PERUN_CPU_TDP")
    report = next(option for option in OPTIONS if option.field == "report")
    assert (report.flag, report.opposite, report.env) == ("--no-report", "--report", "PERUN_NO_REPORT")


def test_without_anything_all_values_are_defaults(tmp_path: Path) -> None:
    settings = resolve(str(tmp_path), {}, {})
    assert settings == Settings(origins={option.field: "default" for option in OPTIONS})


@by_option
def test_each_source_overrides_the_one_before(option: Option, tmp_path: Path) -> None:
    case = CASES[option.field]
    cwd = write(tmp_path, f"{option.key} = {case.toml}\n")
    environ = {option.env: case.env}
    given = {option.field: case.option}
    sources = [
        (resolve(cwd, {}, {}), case.in_file, "perun.toml"),
        (resolve(cwd, environ, {}), case.in_environment, option.env),
        (resolve(cwd, environ, given), case.on_command_line, _flag_of(option, case)),
        (resolve(cwd, {}, given), case.on_command_line, _flag_of(option, case)),
    ]
    for settings, value, origin in sources:
        assert getattr(settings, option.field) == value
        assert settings.origins[option.field] == origin
        others = {name: source for name, source in settings.origins.items() if name != option.field}
        assert set(others.values()) == {"default"}


def _flag_of(option: Option, case: Case) -> str:
    return option.opposite if option.is_flag and case.option else option.flag


@by_option
def test_the_example_of_each_option_is_a_valid_file(option: Option, tmp_path: Path) -> None:
    settings = resolve(write(tmp_path, f"{option.key} = {option.example}"), {}, {})
    assert settings.origins[option.field] == "perun.toml"


@by_option
def test_a_wrong_value_in_the_environment_names_variable_and_what_is_allowed(option: Option, tmp_path: Path) -> None:
    text, allowed = CASES[option.field].wrong
    with pytest.raises(ConfigError, match=f"(?s)^{option.env}: .*{allowed}"):
        resolve(str(tmp_path), {option.env: text}, {})


@by_option
def test_a_wrong_value_on_the_command_line_names_option_and_what_is_allowed(option: Option, tmp_path: Path) -> None:
    text, allowed = CASES[option.field].wrong
    given = (text,) if option.multiple else text
    with pytest.raises(ConfigError, match=f"(?s)^{option.flag}: .*{allowed}"):
        resolve(str(tmp_path), {}, {option.field: given})


@by_option
def test_a_value_of_the_wrong_type_names_file_key_and_an_example(option: Option, tmp_path: Path) -> None:
    wrong = "1979-05-27" if option.kind != "list" else '"rapl"'
    with pytest.raises(ConfigError, match=rf"^perun\.toml: {option.key}: .*not allowed: write it like {option.key} = "):
        resolve(write(tmp_path, f"{option.key} = {wrong}"), {}, {})


@pytest.mark.parametrize("key", ["intensity", "pue", "cpu-tdp"])
def test_true_is_not_a_number(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{key}: True is not allowed"):
        resolve(write(tmp_path, f"{key} = true"), {}, {})


def test_a_wrong_value_in_a_file_names_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^perun\.toml: intensity: -1 is out of range: a number from 0 to 10000"):
        resolve(write(tmp_path, "intensity = -1"), {}, {})


def test_zero_is_a_value(tmp_path: Path) -> None:
    settings = resolve(str(tmp_path), {"PERUN_INTENSITY": "0", "PERUN_PRICE": "0EUR"}, {})
    assert (settings.intensity_g_per_kwh, settings.price) == (0.0, (0.0, "EUR"))
    assert settings.origins["intensity_g_per_kwh"] == "PERUN_INTENSITY"


def test_an_empty_variable_is_the_same_as_none(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), {"PERUN_PERIOD": "", "PERUN_NAME": ""}, {}) == resolve(str(tmp_path), {}, {})


def test_what_was_not_given_on_the_command_line_does_not_count(tmp_path: Path) -> None:
    given = {"period_ns": None, "backend": (), "report": None}
    settings = resolve(str(tmp_path), {"PERUN_PERIOD": "5ms", "PERUN_BACKEND": "rapl"}, given)
    assert (settings.period_ns, settings.backend, settings.report) == (5_000_000, ("rapl",), True)


@pytest.mark.parametrize(
    ("variable", "meant"), [("PERUN_PERIDO", "PERUN_PERIOD"), ("PERUN_REPORT", "PERUN_NO_REPORT"), ("PERUN_", None)]
)
def test_an_unknown_variable_is_an_error_that_names_all(variable: str, meant: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(str(tmp_path), {variable: "1"}, {})
    message = str(caught.value)
    assert variable in message
    assert all(option.env in message for option in OPTIONS)
    assert meant is None or f"did you mean {meant}?" in message


@pytest.mark.parametrize("variable", sorted(RESERVED))
def test_reserved_variables_are_no_options(variable: str, tmp_path: Path) -> None:
    assert resolve(str(tmp_path), {variable: "x"}, {}) == resolve(str(tmp_path), {}, {})


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), {"PERUNX": "1", "perun_period": "x"}, {}) == resolve(str(tmp_path), {}, {})


def test_an_unknown_key_is_an_error_that_names_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^perun\.toml: unknown key 'cpu_tdp': did you mean cpu-tdp\?") as caught:
        resolve(write(tmp_path, "cpu_tdp = 65"), {}, {})
    assert all(option.key in str(caught.value) for option in OPTIONS)


@pytest.mark.parametrize("text", ["", " ", "a ", "a\nb", "a\x1b[0m", "a\\b", "x" * 201, "ä" * 101, "\udcff"])
def test_what_cannot_be_a_file_name_is_no_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--name: .*becomes a file name"):
        resolve(str(tmp_path), {}, {"name": text})


@pytest.mark.parametrize("text", ["x" * 200, "ä" * 100, "a b", "heat-2.1_x", "…"])
def test_what_the_file_system_takes_is_a_name(text: str, tmp_path: Path) -> None:
    assert resolve(str(tmp_path), {}, {"name": text}).name == text
    (tmp_path / f"{text}.h5").touch()


def test_a_period_can_be_a_minute_and_no_longer(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), {}, {"period_ns": "1min"}).period_ns == 60 * 10**9
    with pytest.raises(ConfigError, match="--period: period too long: '61s'; at least 1ms, at most 60s"):
        resolve(str(tmp_path), {}, {"period_ns": "61s"})


def test_a_powercap_tree_that_is_not_there_is_an_error_where_somebody_has_asked_for_it(tmp_path: Path) -> None:
    check_powercap_root(resolve("/", {}, {}))  # a machine without one is no error
    check_powercap_root(resolve("/", {}, {"powercap_root": str(tmp_path)}))
    with pytest.raises(ConfigError, match=r"^--powercap-root: there is no directory /nope: .*/sys/class/powercap$"):
        check_powercap_root(resolve("/", {}, {"powercap_root": "/nope"}))
    with pytest.raises(ConfigError, match=r"^PERUN_POWERCAP_ROOT: there is no directory"):
        check_powercap_root(resolve("/", {"PERUN_POWERCAP_ROOT": "/nope"}, {}))
