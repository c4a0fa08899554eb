"""pyRAPL's device API: its own code, reading where it is told, without what else comes with pyRAPL.

Of pyRAPL (https://github.com/powerapi-ng/pyRAPL, 0.2.3.1) only the part that reads counters is loaded. Its ``__init__``
imports pandas and pymongo where they are installed and writes on the root logger where they aren't, and its
``Measurement`` takes a counter that has wrapped for a read that failed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from io import StringIO
from types import SimpleNamespace
from typing import Any, TextIO

_COUNTER = "energy_uj"
_APIS = {"package": "PkgAPI", "dram": "DramAPI"}  # a kind of zone, and the class that reads it
DOMAINS = tuple(_APIS)


class Counter:
    """One energy counter that pyRAPL holds open."""

    def __init__(self, api: Any, socket: int, file: TextIO) -> None:
        self._api, self._socket, self._file = api, socket, file

    def read(self) -> int:
        """Microjoules, whatever pyRAPL's documentation says of the unit.

        Raises:
            OSError: it can't be read.
            ValueError: it holds no number.
        """
        value = self._api.energy()[self._socket]  # a float: whole microjoules are exact in it up to 2^53
        if not 0 <= value < 1 << 53:
            raise ValueError(f"{_COUNTER} holds {value}")
        return int(value)

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


class Devices:
    """Opens counters through pyRAPL.

    pyRAPL looks for zones and sockets in fixed places under ``/sys``. Here it has its own ``open``, ``os`` and
    ``get_socket_ids``, which show it the zones it is given and the socket it is asked for.

    Args:
        directories: Where each zone is, by the zone's name in the tree, as ``intel-rapl:0``.

    Raises:
        ModuleNotFoundError: pyRAPL isn't installed.
    """

    def __init__(self, directories: Mapping[str, str]) -> None:
        self._directories = directories
        self._opened: dict[str, TextIO] = {}
        self._api = _load()
        self._api.open = self._open
        self._api.os = SimpleNamespace(path=SimpleNamespace(exists=self._exists))

    def open(self, domain: str, socket: int, directory: str) -> Counter:
        """The counter of a zone.

        Args:
            domain: One of ``DOMAINS``.
            socket: Number of the processor package.
            directory: The zone's, to be sure that it is this one that pyRAPL has found.

        Raises:
            OSError: it can't be opened.
            LookupError: pyRAPL doesn't find it in this tree.
        """
        self._opened.clear()
        self._api.get_socket_ids = lambda: [socket]  # its own fails where a CPU is offline
        try:
            api = getattr(self._api, _APIS[domain])()
        except (self._api.PyRAPLCantInitDeviceAPI, IndexError, ValueError) as error:
            raise LookupError(f"pyRAPL finds no {domain} of package {socket}: {error!r}") from error
        ((path, file),) = self._opened.items()
        counter = Counter(api, socket, file)
        if path != f"{directory}/{_COUNTER}":
            counter.close()
            raise LookupError(f"pyRAPL takes {path} for the {domain} of package {socket}")
        return counter

    def _open(self, asked: str, _mode: str = "r") -> TextIO:
        """What pyRAPL's ``open`` does. As it closes nothing, it gets the text of all files but counters."""
        path = self._real(asked)
        if asked.endswith(f"/{_COUNTER}"):
            return self._opened.setdefault(path, open(path, encoding="ascii", errors="replace"))  # held
        with open(path, encoding="utf-8", errors="replace") as file:
            return StringIO(file.read().rstrip("\n") + "\n")  # it cuts the last character off, whatever that is

    def _exists(self, asked: str) -> bool:
        return bool(self._real(asked))

    def _real(self, asked: str) -> str:
        """Where a zone's directory, or a file in one, really is; empty if there is no such zone."""
        outer, _, name = asked.rpartition("/")
        if name in self._directories:
            return self._directories[name]
        zone = self._directories.get(outer.rpartition("/")[2])
        return f"{zone}/{name}" if zone and ":" not in name else ""


def _load() -> Any:
    """A new copy of the module ``pyRAPL.device_api``, so that what is changed in it is nobody else's."""
    spec = find_spec("pyRAPL")
    if spec is None:
        raise ModuleNotFoundError("No module named 'pyRAPL'", name="pyRAPL")
    with _aside("pyRAPL"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has invalid escapes in strings, which newer Pythons tell at compilation
        package = sys.modules["pyRAPL"] = module_from_spec(spec)
        for name in ("device", "exception"):  # what its __init__ would import before the device API
            vars(package).update(_public(import_module(f"pyRAPL.{name}")))
        return import_module("pyRAPL.device_api")


def _public(module: object) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


@contextmanager
def _aside(package: str) -> Generator[None]:
    """Leave the table of imported modules as it was, with or without this package."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name == package or name.startswith(f"{package}.")]

    before = {name: sys.modules.pop(name) for name in loaded()}
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(before)
