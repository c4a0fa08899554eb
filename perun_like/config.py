"""Settings of a run and where each came from: defaults < file < environment < command line.

One table, :data:`OPTIONS`, declares every option once; its command-line flag, its key in a file and its
environment variable all follow from the flag (``--cpu-tdp``, ``cpu-tdp``, ``PERUN_CPU_TDP``).

The file is ``perun.toml``, or ``pyproject.toml`` with a table ``[tool.perun-like]``; beside each other the
first wins. It is looked for in the current directory, then in its parents up to the root of the repository
(a ``.git``) or the home directory. With neither above, or if anyone may write to a directory on the way, only
the current directory counts. The first file found is the only one read. Relative paths in it are relative to
its directory; ``~/`` is the home directory.

In the environment an empty variable is the same as none, and an unknown ``PERUN_*`` is an error. Zero is a
value, not "unset".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from perun_like import config_file
from perun_like import config_values as values
from perun_like.errors import ConfigError, InputError

RESERVED = frozenset(  # variables that are not options
    {"PERUN_RUN", "PERUN_HOST_ID", "PERUN_RANK", "PERUN_SIZE", "PERUN_LOCAL_RANK", "PERUN_LOCAL_SIZE", "PERUN_JOB_ID"}
)


class Settings(NamedTuple):
    """What a run was asked to do.

    Attributes:
        name: The application's name; None: from what is run.
        run_id: The run's id; None: a new one.
        output: Directory of results.
        period_ns: Time between reads of energy counters.
        spool_budget_b: Room on disk for a host's samples during a run; beyond it older ones are thinned out.
        json: File for the result as JSON; None: none.
        backend: Backends to use; empty: all.
        rounds: How often to run a program, or a function at each call.
        warmup: How often to run it before, without recording.
        report: Whether to print the report.
        command: Whether to store the command line.
        python: Interpreter for scripts and modules; None: the active environment's.
        country: Where the machine stands; None: unknown.
        intensity_g_per_kwh: CO2e of a kWh; None: from the place.
        pue: Power usage effectiveness: the site's energy over the computers' energy.
        price: Amount per kWh and currency; None: no cost is computed.
        cpu_tdp_w: What the host's CPUs draw at full load, for estimates; None: from the model.
        powercap_root: Directory of the powercap tree.
        origins: Where each value came from: ``default``, a file's path, ``PERUN_PERIOD``, ``--period``.
    """

    name: str | None = None
    run_id: str | None = None
    output: str = "perun_results"
    period_ns: int = 100_000_000
    spool_budget_b: int = 1_000_000_000
    json: str | None = None
    backend: tuple[str, ...] = ()
    rounds: int = 1
    warmup: int = 0
    report: bool = True
    command: bool = True
    python: str | None = None
    country: str | None = None
    intensity_g_per_kwh: float | None = None
    pue: float = 1.0
    price: tuple[float, str] | None = None
    cpu_tdp_w: float | None = None
    powercap_root: str = "/sys/class/powercap"
    origins: Mapping[str, str] = {}


class Option(NamedTuple):
    """One option, wherever it is written.

    Attributes:
        field: Name of its field in :class:`Settings`.
        flag: On the command line, ``--period``; ``--no-…`` for a flag, which sets its field to False.
        metavar: What stands for the value in help; empty for a flag.
        help: One line.
        parse: From text to the field's value; raises InputError with what is allowed. A flag's text says
            whether the flag is on.
        example: A value as written in a TOML file.
        kind: ``text``, ``path``, ``number``, ``flag`` or ``list``.
    """

    field: str
    flag: str
    metavar: str
    help: str
    parse: Callable[[str], object]
    example: str
    kind: str = "text"

    @property
    def key(self) -> str:
        """Key in a file."""
        return self.flag[2:]

    @property
    def env(self) -> str:
        """Environment variable."""
        return "PERUN_" + self.key.upper().replace("-", "_")

    @property
    def is_flag(self) -> bool:
        """Whether it is given without a value."""
        return self.kind == "flag"

    @property
    def opposite(self) -> str:
        """The flag that undoes a flag: ``--report`` for ``--no-report``."""
        return self.flag.replace("--no-", "--") if self.is_flag else ""

    @property
    def multiple(self) -> bool:
        """Whether it may be given several times."""
        return self.kind == "list"


OPTIONS: tuple[Option, ...] = (
    Option("name", "--name", "NAME", "Name of the application.  [default: what runs]", values.name, '"heat"'),
    Option("run_id", "--run-id", "ID", "Id of this run.  [default: a new one]", values.name, '"first"'),
    Option("output", "--output", "DIR", "Directory of results.  [default: perun_results]",
           values.path, '"results"', "path"),
    Option("period_ns", "--period", "TIME", "Time between reads of energy, 1ms to 60s.  [default: 100ms]",
           values.period, '"100ms"'),
    Option("spool_budget_b", "--spool-budget", "SIZE",
           "Room for a host's samples; older ones are then thinned out.  [default: 1GB]",
           values.spool_budget, '"1GB"'),
    Option("json", "--json", "FILE", "Write the result as JSON too.", values.path, '"result.json"', "path"),
    Option("backend", "--backend", "NAME", "Use only this family of sensors; repeatable.", values.backends,
           '["rapl", "host"]', "list"),
    Option("rounds", "--rounds", "N", "Run the program N times, for statistics.  [default: 1]",
           values.rounds, "5", "number"),
    Option("warmup", "--warmup", "N", "Run it N times before, without recording.  [default: 0]",
           values.warmup, "1", "number"),
    Option("report", "--no-report", "", "Whether to print a report.  [default: yes]", values.flag, "true", "flag"),
    Option("command", "--no-command", "", "Whether results tell the command line.  [default: yes]", values.flag, "true",
           "flag"),
    Option("python", "--python", "PATH", "Interpreter for scripts and modules.  [default: the active one]",
           values.path, '"/usr/bin/python3"', "path"),
    Option("country", "--country", "CODE", "Where the machine stands, for CO2e.  [default: world average]",
           values.country, '"DE"'),
    Option("intensity_g_per_kwh", "--intensity", "G", "CO2e of the electricity, in grams per kWh.",
           values.intensity, "380", "number"),
    Option("pue", "--pue", "FACTOR", "Energy of the whole site per energy of its computers.  [default: 1]",
           values.pue, "1.3", "number"),
    Option("price", "--price", "PRICE", "Price of a kWh with its currency, such as 0.30EUR.",
           values.price, '"0.30EUR"'),
    Option("cpu_tdp_w", "--cpu-tdp", "WATTS", "What the host's CPUs draw at full load, for estimates.",
           values.cpu_tdp, "65", "number"),
    Option("powercap_root", "--powercap-root", "DIR", "Directory of the powercap tree.  [default: /sys/class/powercap]",
           values.path, '"/sys/class/powercap"', "path"),
)  # fmt: skip


def resolve(cwd: str, environ: Mapping[str, str], options: Mapping[str, object]) -> Settings:
    """The settings for a run started in a directory, with an environment, with options.

    Args:
        cwd: The current directory: where the search for a file begins.
        environ: The environment.
        options: What was given on the command line, by field: text as written; True or False for the field of
            a flag (``--no-report`` is ``{"report": False}``); a tuple of texts for what may be repeated. None
            and ``()`` are "not given".

    Raises:
        ConfigError: an unknown key, or a value that is not allowed.
    """
    fields: dict[str, Any] = {}
    origins = {option.field: "default" for option in OPTIONS}
    for source in (
        _from_file(cwd, environ.get("HOME", "")),
        _from_environment(environ),
        _from_command_line(options),
    ):
        for name, value, origin in source:
            fields[name], origins[name] = value, origin
    return Settings(**fields, origins=origins)


def check_powercap_root(settings: Settings) -> None:
    """See whether there is the powercap tree that somebody has asked for: a mistyped one looks like a machine without.

    Raises:
        ConfigError: there is no such directory.
    """
    origin, root = settings.origins.get("powercap_root", "default"), settings.powercap_root
    if origin != "default" and not os.path.isdir(root):
        allowed = f"give that of a powercap tree, or leave it out: it is {Settings().powercap_root}"
        raise ConfigError(f"{origin}: there is no directory {root}: {allowed}")


_Value = tuple[str, object, str]  # field, value, origin


def _from_command_line(options: Mapping[str, object]) -> Iterator[_Value]:
    for option in OPTIONS:
        given = options.get(option.field)
        if given is None or given == ():
            continue
        if isinstance(given, bool):
            yield option.field, given, option.opposite if given else option.flag
        else:
            texts = given if isinstance(given, tuple) else (given,)
            yield option.field, _parsed(option, texts, option.flag), option.flag


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Value]:
    options = {option.env: option for option in OPTIONS}
    for variable, text in sorted(environ.items()):
        if not variable.startswith("PERUN_") or variable in RESERVED or not text:
            continue
        if variable not in options:
            raise ConfigError(f"unknown environment variable {variable}" + _instead(variable, options))
        option = options[variable]
        yield option.field, _parsed(option, (text,), variable), variable


def _from_file(cwd: str, home: str) -> Iterator[_Value]:
    file = config_file.read(cwd, home)
    if file is None:
        return
    options = {option.key: option for option in OPTIONS}
    for key, value in file.values.items():
        if key not in options:
            raise ConfigError(f"{file.path}: unknown key {key!r}" + _instead(key, options))
        option = options[key]
        parsed = _parsed(option, _texts(option, value, file.path), f"{file.path}: {key}")
        if option.kind == "path":
            parsed = config_file.located(str(parsed), file.directory, home, command=option.field == "python")
        yield option.field, parsed, file.path


def _texts(option: Option, value: object, path: str) -> tuple[object, ...]:
    """A TOML value as the texts that the command line would have."""
    if option.kind == "flag" and isinstance(value, bool):
        return ("yes" if value else "no",)
    if option.kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value,)
    if option.kind == "list" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if option.kind in ("text", "path") and isinstance(value, str):
        return (value,)
    example = f"{option.key} = {option.example}"
    raise ConfigError(f"{path}: {option.key}: {value!r} is not allowed: write it like {example}")


def _parsed(option: Option, texts: tuple[object, ...], origin: str) -> object:
    try:
        parsed = [option.parse(str(text)) for text in texts]
    except InputError as error:
        raise ConfigError(f"{origin}: {error}") from None
    if option.multiple:
        names = [name for value in parsed for name in cast("tuple[str, ...]", value)]
        return tuple(dict.fromkeys(names))
    return not parsed[-1] if option.is_flag else parsed[-1]


def _instead(wrong: str, allowed: Mapping[str, object]) -> str:
    from difflib import get_close_matches  # imported only on the way to an error

    close = get_close_matches(wrong, allowed, n=1)
    return (f": did you mean {close[0]}?" if close else ":") + f" Allowed: {', '.join(allowed)}"
