"""Having another process save what this one has measured of itself, when it ends.

A process that ends can't do it: libraries that it has loaded, HDF5 among them, may have been shut down already, no
thread can be started any more, and even importing a module may change how Python ends (the flag for an interrupt that
nobody handled is cleared by any code that is compiled). The other process has nothing of the program.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from perun_like.errors import PerunError
from perun_like.model.node import DataNode
from perun_like.model.serial import from_dict
from perun_like.store.place import RunPlace

_BOOT = "import sys; sys.path += sys.argv[1:]; from perun_like.inplace.saving import main; main()"


class Saver:
    """A process that saves what this one has measured of itself. It loads what it needs as soon as it is made.

    Raises:
        OSError: no process can be made.
    """

    def __init__(self) -> None:
        order_r, self._order_w = os.pipe()
        self._result_r, result_w = os.pipe()
        paths = [os.path.abspath(path) for path in sys.path if path]
        argv = [sys.executable, "-I", "-S", "-c", _BOOT, *paths]
        actions = [(os.POSIX_SPAWN_DUP2, order_r, 0), (os.POSIX_SPAWN_DUP2, result_w, 1)]
        try:
            self._pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
        finally:
            os.close(order_r)
            os.close(result_w)

    def save(
        self,
        place: RunPlace,
        process: Mapping[str, Any],
        run: Mapping[str, Any],
        problem: str | None,
        *,
        colour: bool = False,
        trees: bool = False,
    ) -> Saved:
        """Have everything saved that was measured.

        Args:
            place: Where the run's parts are.
            process: How this process has ended, as far as that is known.
            run: Name, id and metadata.
            problem: What went wrong with the sampler, if anything did.
            colour: Whether the report may have colours.
            trees: Whether anybody asks for the results themselves.

        Raises:
            PerunError: it could not be saved; the parts are kept.
        """
        order = {"parts": place.parts, "path": place.path, "process": process, "run": run, "problem": problem}
        with open(self._order_w, "w") as orders, suppress(BrokenPipeError):
            json.dump({**order, "colour": colour, "trees": trees}, orders)
        with open(self._result_r) as results:
            text = results.read()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        answer: dict[str, Any] = json.loads(text) if text else {"error": "the process that saves results was killed"}
        if "error" in answer:
            raise PerunError(answer["error"])
        return Saved(answer["report"], answer["trees"])


class Saved:
    """What was saved: the report as text, and the results."""

    def __init__(self, report: str, trees: list[dict[str, Any]]) -> None:
        self.report = report
        self._trees = trees

    def trees(self) -> list[DataNode]:
        """The results."""
        return [from_dict(tree) for tree in self._trees]
