"""A powercap tree of a simulated machine that any process can read, laid out as ``/sys/class/powercap``.

In a test::

    with simulated_powercap(two_socket_server()) as powercap:
        subprocess.run([...], env=os.environ | powercap.environ)
        powercap.truth_j("intel-rapl:0", a_ns, b_ns)

By hand, with the name of a ready-made machine or a file written with ``Machine.to_json``::

    python -m perun_like.testing.powercap two_socket_server /tmp/powercap

It needs Linux and the right to mount: :class:`FuseUnavailableError` says what is lacking.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from perun_like.errors import InputError, PerunError
from perun_like.testing.machine import Machine
from perun_like.testing.machines import READY_MADE
from perun_like.testing.mount import FuseUnavailableError, unmount
from perun_like.testing.serving import READY, serve

__all__ = ["FuseUnavailableError", "SimulatedPowercap", "main", "simulated_powercap"]

_EXIT_S = 5.0
# Isolated, with the parent's import path: the same modules whatever the environment and directory are.
_SERVER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "from perun_like.testing.serving import serve_parent; sys.exit(serve_parent(sys.argv[1]))"
)


@dataclass(frozen=True)
class SimulatedPowercap:
    """A mounted tree and the truth behind it.

    Attributes:
        machine: With the origin that its counters really have.
        root: What stands for ``/sys/class/powercap``.
        pid: The process that serves it.
    """

    machine: Machine
    root: str
    pid: int

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that make perun_like read this tree."""
        return {"PERUN_POWERCAP_ROOT": self.root}

    def truth_j(self, path: str, a_ns: int, b_ns: int) -> float:
        """Energy that a zone really used between two CLOCK_MONOTONIC instants, in joules."""
        return self.machine.truth_j(path, a_ns, b_ns)


@contextmanager
def simulated_powercap(machine: Machine, origin_ns: int | None = None) -> Generator[SimulatedPowercap, None, None]:
    """Serve a machine's counters from a process of their own while the context is open.

    The mount ends with the context, and also when this process dies.

    Args:
        machine: What to show.
        origin_ns: CLOCK_MONOTONIC of the time 0 of its powers and faults; now, if not given.

    Raises:
        FuseUnavailableError: no file system can be mounted here, with the reason and a remedy.
    """
    machine = machine.starting_at(time.monotonic_ns() if origin_ns is None else origin_ns)
    root = tempfile.mkdtemp(prefix="perun-powercap-")
    try:
        server = _start_server(root)
        try:
            _await_ready(server, machine)
            yield SimulatedPowercap(machine, root, server.pid)
        finally:
            _stop_server(server)
    finally:
        with suppress(FileNotFoundError):  # then the server has done it
            unmount(root)
            os.rmdir(root)


def _start_server(root: str) -> subprocess.Popen[str]:
    path = json.dumps([entry or os.getcwd() for entry in sys.path])
    # Its own session: neither Ctrl-C nor a signal to our whole group leaves the mount without a server.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SERVER, root, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _await_ready(server: subprocess.Popen[str], machine: Machine) -> None:
    if server.stdin is None or server.stdout is None:
        raise AssertionError("the server was started with pipes")
    server.stdin.write(json.dumps(machine.spec()) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise PerunError("the simulated machine's server has died; what it said is on standard error")
    if answer != READY:
        raise FuseUnavailableError(**json.loads(answer))


def _stop_server(server: subprocess.Popen[str]) -> None:
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            pipe.close()
    try:
        server.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a machine by hand until Ctrl-C; the exit code."""
    from argparse import ArgumentParser

    parser = ArgumentParser("python -m perun_like.testing.powercap", description="Serve a simulated machine.")
    parser.add_argument("machine", help=f"a file of Machine.to_json(), or one of {', '.join(READY_MADE)}")
    parser.add_argument("mountpoint", help="an empty directory, made if it doesn't exist")
    given = parser.parse_args(arguments)
    root = os.path.abspath(given.mountpoint)
    greeting = f"The machine is at {root} until Ctrl-C. To use it:\nexport PERUN_POWERCAP_ROOT={root}\n"
    try:
        machine = _machine(given.machine)
        os.makedirs(root, exist_ok=True)
        serve(machine, root, greeting)
    except (PerunError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code if isinstance(error, PerunError) else 1
    return 0


def _machine(name: str) -> Machine:
    """A ready-made machine or one from a file. It starts now, unless the file says when."""
    if name in READY_MADE:
        machine = READY_MADE[name]()
    elif os.path.isfile(name):
        with open(name, encoding="utf-8") as file:
            machine = Machine.from_json(file.read())
    else:
        raise InputError(f"{name!r} is neither a file nor a ready-made machine ({', '.join(READY_MADE)})")
    return machine if machine.origin_ns else machine.starting_at(time.monotonic_ns())


if __name__ == "__main__":
    sys.exit(main())
