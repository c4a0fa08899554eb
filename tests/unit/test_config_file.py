"""Which file counts, from where, and what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perun_like.config import resolve
from perun_like.errors import ConfigError

TABLE = '[tool.perun-like]\nperiod = "7ms"\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a directory ``a/b`` in it."""
    root = tmp_path / "repository"
    (root / "a" / "b").mkdir(parents=True)
    (root / ".git").mkdir()
    return root


def period_ms(cwd: Path, home: str = "") -> tuple[float, str]:
    settings = resolve(str(cwd), {"HOME": home}, {})
    return settings.period_ns / 1e6, settings.origins["period_ns"]


def test_the_table_of_a_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    assert period_ms(tmp_path) == (7, "pyproject.toml")


@pytest.mark.parametrize("table", ["[tool.'perun-like']\nperiod='7ms'", "[tool]\nperun-like.period = '7ms'"])
def test_other_ways_to_write_the_table(table: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(table)
    assert period_ms(tmp_path) == (7, "pyproject.toml")


def test_perun_toml_beats_pyproject_in_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "perun.toml").write_text('period = "3ms"')
    assert period_ms(tmp_path) == (3, "perun.toml")


def test_a_file_of_a_parent_counts_up_to_the_root_of_the_repository(repository: Path) -> None:
    (repository / "perun.toml").write_text('period = "3ms"')
    (repository.parent / "perun.toml").write_text('period = "4ms"')
    assert period_ms(repository / "a" / "b") == (3, "../../perun.toml")


def test_a_file_above_the_repository_does_not_count(repository: Path) -> None:
    (repository.parent / "perun.toml").write_text('period = "4ms"')
    assert period_ms(repository / "a" / "b") == (100, "default")


def test_the_nearest_file_is_the_only_one(repository: Path) -> None:
    (repository / "perun.toml").write_text('period = "3ms"\nname = "far"')
    (repository / "a" / "pyproject.toml").write_text(TABLE)
    settings = resolve(str(repository / "a" / "b"), {}, {})
    assert (settings.period_ns, settings.name) == (7_000_000, None)


def test_a_pyproject_without_our_table_is_passed_by(repository: Path) -> None:
    (repository / "perun.toml").write_text('period = "3ms"')
    (repository / "a" / "pyproject.toml").write_text('[project]\ndependencies = ["perun-like=="]')
    assert period_ms(repository / "a" / "b") == (3, "../../perun.toml")


def test_the_home_directory_ends_the_search(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "perun.toml").write_text('period = "3ms"')
    assert period_ms(tmp_path / "work", str(tmp_path)) == (3, "../perun.toml")


def test_without_home_or_repository_above_only_the_current_directory_counts(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "perun.toml").write_text('period = "3ms"')
    assert period_ms(tmp_path / "work") == (100, "default")


def test_a_directory_that_anyone_may_write_to_is_not_searched(repository: Path) -> None:
    (repository / "perun.toml").write_text('python = "/tmp/evil"')
    repository.chmod(0o1777)
    assert resolve(str(repository / "a"), {}, {}).python is None


def test_paths_are_relative_to_the_file(repository: Path) -> None:
    (repository / "perun.toml").write_text('output = "out"\npython = "python3"\njson = "/abs.json"')
    settings = resolve(str(repository / "a"), {}, {})
    assert settings.output == str(repository / "out")
    assert (settings.python, settings.json) == ("python3", "/abs.json")


def test_a_tilde_is_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / "perun.toml").write_text('output = "~/runs"\npython = "~/venv/bin/python"')
    settings = resolve(str(tmp_path), {"HOME": "/home/me"}, {})
    assert (settings.output, settings.python) == ("/home/me/runs", "/home/me/venv/bin/python")


@pytest.mark.parametrize("content", [b"period = ", b"period 100ms", b"\xff\xfe", b'name = "a"\nname = "b"'])
def test_what_is_not_toml_names_the_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "perun.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"perun\.toml is not valid TOML: "):
        resolve(str(tmp_path), {}, {})


def test_a_misspelt_table_is_not_passed_by(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.perun_like]\nperiod = '7ms'")
    with pytest.raises(ConfigError, match=r"\[tool.perun_like\]: did you mean \[tool.perun-like\]\?"):
        resolve(str(tmp_path), {}, {})


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nperun-like = 1")
    with pytest.raises(ConfigError, match=r"pyproject\.toml: tool\.perun-like must be a table"):
        resolve(str(tmp_path), {}, {})


def test_a_tool_that_is_no_table_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 1 # perun-like =")
    assert period_ms(tmp_path) == (100, "default")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "perun.toml").symlink_to("perun.toml")  # a loop: unreadable for root too
    with pytest.raises(ConfigError, match=r"perun\.toml can't be read: Too many levels"):
        resolve(str(tmp_path), {}, {})


def test_a_directory_of_that_name_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "perun.toml").mkdir()
    assert period_ms(tmp_path) == (100, "default")


def test_the_toml_parser_is_imported_only_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'something'")
    code = (
        "import sys; from perun_like.config import resolve; resolve(sys.argv[1], {}, {})\n"
        "print([m for m in ('tomllib', 'tomli', 'click', 'rich', 'numpy', 'difflib') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
