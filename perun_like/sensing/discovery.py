"""Which backends are installed, and what each of them finds here.

Backends are named by entry points of the group ``perun_like.sensors``. Their names are read straight from
the installed packages' ``entry_points.txt``: ``importlib.metadata`` would do it too, at 45 ms a start; this
takes one or two. Nothing here knows any backend: a stranger's package is found and treated like our own, and
can't break the rest. Backends of the group ``perun_like.alternative_sensors`` read what others read already, by other
means: they are used only where they are named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, cast

from perun_like.errors import InputError
from perun_like.sensing.contract import Backend, Context, Found, Missing, Sensor

GROUP = "perun_like.sensors"
ALTERNATIVES = "perun_like.alternative_sensors"
_METADATA = (".dist-info", ".egg-info")


class Discovery(NamedTuple):
    """What can be read on this host.

    Attributes:
        backends: Every backend that could be asked, by name, including those that found nothing.
        sensors: What each of them can read, by the backend's name; ids are unique over all of them.
        missing: What can't be read, with reason and remedy, backends that failed included.
    """

    backends: dict[str, Backend]
    sensors: dict[str, tuple[Sensor, ...]]
    missing: list[Missing]


def backend_specs(paths: Sequence[str], group: str = GROUP) -> dict[str, str]:
    """Installed backends: name to ``module:Class``, sorted by name.

    Args:
        paths: Directories as on ``sys.path``, in that order: the first that names a backend wins, as for
            imports. Anything that isn't a directory (zip archives, missing entries) is skipped.
        group: The entry points' group: ``GROUP`` or ``ALTERNATIVES``.
    """
    specs: dict[str, str] = {}
    for directory in paths:
        for text in _entry_point_files(directory or os.curdir, group):
            for name, spec in _entries(text, group):
                specs.setdefault(name, spec)
    return dict(sorted(specs.items()))


def import_paths(specs: Mapping[str, str]) -> list[str]:
    """Directories from which a bare interpreter can import strangers' backends.

    An editable install may be found by an import hook that only a full interpreter sets up; the sampling process is
    none. Backends that can't be found anywhere are left for it to report.
    """
    roots = {spec.partition(":")[0].partition(".")[0] for spec in specs.values()} - {"perun_like_sensors"}
    if not roots:
        return []
    from importlib.util import find_spec  # 3 ms, which only strangers' backends cost

    origins = [found.origin for root in sorted(roots) if (found := find_spec(root)) is not None and found.origin]
    return [
        os.path.dirname(os.path.dirname(origin) if origin.endswith("__init__.py") else origin) for origin in origins
    ]


def _entry_point_files(directory: str, group: str) -> Iterator[str]:
    """Texts of the entry_points.txt in a directory that name a group."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(_METADATA))
    except OSError:
        return
    for name in names:
        try:
            descriptor = os.open(f"{directory}/{name}/entry_points.txt", os.O_RDONLY)
        except OSError:
            continue
        try:
            content = os.read(descriptor, 1 << 20)
        finally:
            os.close(descriptor)
        if group.encode() in content:
            yield content.decode("utf-8", "replace")


def _entries(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Names and objects in the section of a group."""
    ours = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            ours = line == f"[{group}]"
        elif ours and "=" in line and line[0] not in "#;":
            name, _, spec = line.partition("=")
            spec, _, _ = spec.partition("[")  # "module:Class [extra]": extras are pip's business
            yield name.strip(), spec.strip()


class InstalledSpecs(Mapping[str, str]):
    """The installed backends, looked up when they are first asked for.

    That opens a file for each installed package. Of a job's ranks most never ask, and all share a file system.

    Args:
        paths: As of :func:`backend_specs`.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._specs: dict[str, str] | None = None

    def _known(self) -> dict[str, str]:
        if self._specs is None:
            self._specs = backend_specs(self._paths)
        return self._specs

    def __getitem__(self, name: str) -> str:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


def chosen_specs(paths: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    """The installed backends to use: those named, or all but the alternatives if none is named.

    Where an alternative and another backend read one thing, the other one comes first and is the one that counts.

    Args:
        paths: As of :func:`backend_specs`.
        names: What the user asked for.

    Raises:
        InputError: a name that no installed package registers.
    """
    if not names:
        return InstalledSpecs(paths)
    specs = backend_specs(paths)
    alternatives = backend_specs(paths, ALTERNATIVES)
    return select(specs | {name: spec for name, spec in alternatives.items() if name not in specs}, names)


def select(specs: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The backends asked for by name; all of them if none is named.

    Raises:
        InputError: a name that no installed package registers.
    """
    for name in names:
        if name not in specs:
            raise InputError(f"unknown backend {name!r}: installed are {', '.join(sorted(specs)) or 'none'}")
    return {name: spec for name, spec in specs.items() if not names or name in names}


def load(spec: str) -> Backend:
    """Import and construct the backend that ``module:Class`` names. Raises whatever the import raises."""
    module, _, path = spec.partition(":")
    __import__(module)
    found: object = sys.modules[module]
    for attribute in path.split("."):
        found = getattr(found, attribute)
    if not callable(found):
        raise TypeError(f"{spec} is not a class")
    return cast(Backend, found())


def domains_of(spec: str) -> tuple[str, ...]:
    """The domains of energy that a total has from a backend, as its class says; none if it wasn't imported."""
    module, _, path = spec.partition(":")
    found: object = sys.modules.get(module)
    for attribute in path.split("."):
        found = getattr(found, attribute, None)
    return tuple(getattr(found, "domains", ()))


def find_all(specs: Mapping[str, str], context: Context) -> Discovery:
    """Ask every backend what it can read here. One that fails becomes a Missing: this never raises for it."""
    discovery = Discovery({}, {}, [])
    seen: dict[str, str] = {}
    for name, spec in specs.items():
        try:
            backend = _load_as(name, spec)
            found = backend.find(context)
            sensors = _unique(name, found, seen, discovery.missing)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # strangers' code: whatever it raises is reported
            discovery.missing.append(_broken(name, spec, error))
            continue
        discovery.backends[name] = backend
        discovery.sensors[name] = sensors
        discovery.missing.extend(found.missing)
    return discovery


def _load_as(name: str, spec: str) -> Backend:
    backend = load(spec)
    if backend.name != name:
        raise TypeError(f"it is registered as {name!r} but calls itself {backend.name!r}")
    return backend


def _unique(name: str, found: Found, seen: dict[str, str], missing: list[Missing]) -> tuple[Sensor, ...]:
    """The sensors whose id isn't taken; the others are reported."""
    kept: list[Sensor] = []
    for sensor in found.sensors:
        owner = seen.setdefault(sensor.id, name)
        if owner == name and all(other.id != sensor.id for other in kept):
            kept.append(sensor)
        else:
            reason = f"backend {owner!r} already has a sensor with this id"
            missing.append(Missing(name, sensor.id, reason, f"Report it to the authors of backend {name!r}."))
    return tuple(kept)


def _broken(name: str, spec: str, error: BaseException) -> Missing:
    reason = f"the backend failed: {type(error).__name__}: {error}{_place(error.__traceback__)}"
    remedy = f"Repair or remove the package that provides {spec}, or name the others with --backend."
    return Missing(name, "backend", reason, remedy, domains=domains_of(spec))


def _place(traceback: TracebackType | None) -> str:
    """Where it was raised: one line in place of a traceback, so that the reason fits a table."""
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"
