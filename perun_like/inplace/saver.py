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
from signal import SIGKILL
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
        argv = [sys.executable, "-I", "-S", "-c", _BOOT, *_paths()]
        actions = [(os.POSIX_SPAWN_DUP2, order_r, 0), (os.POSIX_SPAWN_DUP2, result_w, 1)]
        try:
            # A session of its own: an interrupt from the terminal is for the program.
            self._pid = os.posix_spawn(
                sys.executable, argv, os.environ, file_actions=actions, setsid=True, setsigmask=()
            )
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
        try:
            text = self._ask({**order, "colour": colour, "trees": trees})
        except KeyboardInterrupt:  # what it hasn't saved yet is for whoever recovers it
            os.kill(self._pid, SIGKILL)
            raise
        fate = "has ended"
        with suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            fate = f"failed with exit code {code}" if code > 0 else f"was killed by signal {-code}" if code else fate
        answer: dict[str, Any] = json.loads(text) if text else {"error": f"the process that saves results {fate}"}
        if "error" in answer:
            raise PerunError(answer["error"])
        return Saved(answer["report"], answer["trees"])

    def _ask(self, order: Mapping[str, Any]) -> str:
        with open(self._order_w, "w") as orders, suppress(BrokenPipeError):
            json.dump(order, orders)
        with open(self._result_r) as results:
            return results.read()

    def dismiss(self) -> None:
        """Nothing is to be saved after all: it ends by itself."""
        os.close(self._order_w)
        os.close(self._result_r)


def _paths() -> list[str]:
    """Where modules are, what is installed first: a program may have a ``numpy.py`` beside it."""
    paths = [os.path.abspath(path) for path in sys.path if path]
    return sorted(paths, key=lambda path: os.path.basename(path) not in ("site-packages", "dist-packages"))


class Saved:
    """What was saved: the report as text, and the results."""

    def __init__(self, report: str, trees: list[dict[str, Any]]) -> None:
        self.report = report
        self._trees = trees

    def trees(self) -> list[DataNode]:
        """The results."""
        return [from_dict(tree) for tree in self._trees]
