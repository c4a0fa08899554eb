"""A powercap tree of a simulated machine, which any process can read, with the layout of ``/sys/class/powercap``.

In a test::

    with simulated_powercap(two_socket_server()) as powercap:
        subprocess.run([...], env=os.environ | powercap.environ)
        powercap.truth_j("intel-rapl:0", a_ns, b_ns)

By hand, with the name of a ready-made machine or a file written with :meth:`Machine.to_json`::

    python -m perun_like.testing.powercap two_socket_server /tmp/powercap

It needs Linux and the right to mount: see :class:`FuseUnavailable`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from perun_like.errors import InputError, PerunError
from perun_like.testing import machines
from perun_like.testing.fuse import Directory, File, Node, Server, Symlink
from perun_like.testing.machine import FORBIDDEN, VANISHED, Machine, Zone
from perun_like.testing.mount import FuseUnavailable, mount, unmount

__all__ = ["FuseUnavailable", "SimulatedPowercap", "powercap_tree", "simulated_powercap"]

_EXIT_S = 5.0
_FROM_PARENT = "-"


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
def simulated_powercap(machine: Machine, origin_ns: int | None = None) -> Iterator[SimulatedPowercap]:
    """Serve a machine's counters from a process of their own while the context is open.

    The mount ends with the context, and also if this process dies.

    Args:
        machine: What to show.
        origin_ns: CLOCK_MONOTONIC of the time 0 of its powers and faults; now, if not given.

    Raises:
        FuseUnavailable: no file system can be mounted here, with the reason and a remedy.
    """
    machine = machine.starting_at(time.monotonic_ns() if origin_ns is None else origin_ns)
    root = tempfile.mkdtemp(prefix="perun-powercap-")
    os.chmod(root, 0o755)  # noqa: S103 - a stranger may look where there is only a mount point
    try:
        server = _start_server(machine, root)
        try:
            yield SimulatedPowercap(machine, root, server.pid)
        finally:
            _stop_server(server)
    finally:
        _clear_away(root)


def powercap_tree(machine: Machine, now: Callable[[], int] = time.monotonic_ns) -> Directory:
    """The tree as sysfs shows it: zones in their control type and parent, and a link to each of them at the top."""
    entries: dict[str, Node] = {}
    for control_type in dict.fromkeys(zone.control_type for zone in machine.zones):
        top = [z for z in machine.zones if z.control_type == control_type and z.parent is None]
        zones = {zone.path: _directory(machine, zone, now) for zone in top}
        entries[control_type] = Directory({"enabled": _constant("1"), "uevent": _constant(""), **zones})
    for zone in machine.zones:
        inside = f"{zone.parent}/" if zone.parent else ""
        entries[zone.path] = Symlink(f"{zone.control_type}/{inside}{zone.path}", _gone(machine, zone, now))
    return Directory(entries)


def _directory(machine: Machine, zone: Zone, now: Callable[[], int]) -> Directory:
    entries: dict[str, Node] = {
        "name": _constant(zone.name),
        "energy_uj": _energy(machine, zone, now),
        "max_energy_range_uj": _constant(str(zone.max_energy_range_uj)),
        "enabled": _constant("1" if zone.parent is None else "0"),
        "uevent": _constant(""),
        **_constraints(zone),
    }
    for inner in machine.zones:
        if inner.parent == zone.path:
            entries[inner.path] = _directory(machine, inner, now)
    return Directory(entries, _gone(machine, zone, now))


def _constraints(zone: Zone) -> Mapping[str, Node]:
    if zone.max_power_w is None:
        return {}
    limit_uw = str(round(zone.max_power_w * 1e6))
    return {
        "constraint_0_name": _constant("long_term"),
        "constraint_0_max_power_uw": _constant(limit_uw),
        "constraint_0_power_limit_uw": _constant(limit_uw),
        "constraint_0_time_window_us": _constant("999424"),
    }


def _constant(text: str) -> File:
    content = f"{text}\n".encode() if text else b""
    return File(lambda: content)


def _energy(machine: Machine, zone: Zone, now: Callable[[], int]) -> File:
    origin_ns, counter_uj = machine.origin_ns, zone.counter_uj
    refused = _is(FORBIDDEN, machine, zone, now) if zone.readable else lambda: True
    if not zone.faults:
        return File(lambda: b"%d\n" % counter_uj(now() - origin_ns), 0o400, refused=refused)
    return File(
        lambda: zone.text(now() - origin_ns),
        0o400,
        gone=_gone(machine, zone, now),
        refused=refused,
        delay_s=lambda: zone.delay_ns(now() - origin_ns) / 1e9,
    )


def _gone(machine: Machine, zone: Zone, now: Callable[[], int]) -> Callable[[], bool]:
    return _is(VANISHED, machine, zone, now)


def _is(kind: str, machine: Machine, zone: Zone, now: Callable[[], int]) -> Callable[[], bool]:
    def holds() -> bool:
        fault = zone.fault(now() - machine.origin_ns)
        return fault is not None and fault.kind == kind

    return holds


def _start_server(machine: Machine, root: str) -> subprocess.Popen[str]:
    # Its own session, so that neither Ctrl-C nor a signal to the whole group leaves the mount without a server.
    command = [sys.executable, "-S", "-m", __spec__.name, _FROM_PARENT, root]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    server = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )
    if server.stdin is None or server.stdout is None:
        raise AssertionError("Popen was asked for pipes")
    server.stdin.write(json.dumps(json.loads(machine.to_json())) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if answer.strip() == "ready":
        return server
    _stop_server(server)
    if not answer:
        raise PerunError(f"the simulated machine's server ended with code {server.returncode}; its message is above")
    raise FuseUnavailable(**json.loads(answer))


def _stop_server(server: subprocess.Popen[str]) -> None:
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            pipe.close()
    try:
        server.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _clear_away(root: str) -> None:
    if os.path.lexists(root):  # the server didn't get to it
        unmount(root)
        os.rmdir(root)


def _serve(machine: Machine, mountpoint: str, ready: str, parent: bool) -> None:
    """Mount, serve until told to end, unmount."""
    descriptor = mount(mountpoint)
    try:
        ended, end = os.pipe()
        server = Server(descriptor, powercap_tree(machine), os.getuid())
        threading.Thread(target=_serve_until_unmounted, args=(server, end), daemon=True).start()
        sys.stdout.write(ready)
        sys.stdout.flush()
        _wait_for_the_end(ended, parent)
    finally:
        unmount(mountpoint)


def _serve_until_unmounted(server: Server, end: int) -> None:
    try:
        server.serve()
    finally:
        os.close(end)


def _wait_for_the_end(ended: int, parent: bool) -> None:
    """Return when the mount is gone, a signal arrives, or the parent has closed our input or died."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # it is enough that the descriptor wakes us
    watched = [ended, woken]
    if parent:
        # Its children may have inherited the pipe to us: its end alone doesn't say that it is dead.
        watched += [sys.stdin.fileno(), os.pidfd_open(os.getppid())]
    select.select(watched, [], [])


def _main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m perun_like.testing.powercap MACHINE MOUNTPOINT\n\n" + _USAGE)
        return 2
    spec, mountpoint = arguments
    if spec == _FROM_PARENT:
        return _serve_parent(mountpoint)
    try:
        os.makedirs(mountpoint, exist_ok=True)
        _serve(_machine(spec), mountpoint, _greeting(mountpoint), parent=False)
    except (PerunError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code if isinstance(error, PerunError) else 1
    return 0


def _serve_parent(mountpoint: str) -> int:
    machine = Machine.from_json(sys.stdin.readline())
    try:
        _serve(machine, mountpoint, "ready\n", parent=True)
    except FuseUnavailable as error:
        sys.stdout.write(json.dumps({"reason": error.reason, "remedy": error.remedy}) + "\n")
        return 1
    os.rmdir(mountpoint)
    return 0


def _machine(spec: str) -> Machine:
    """A ready-made machine that begins now, or one from a file that begins when the file says, or now."""
    make = getattr(machines, spec, None) if spec in _READY_MADE else None
    if make is not None:
        machine: Machine = make()
    elif os.path.isfile(spec):
        with open(spec) as file:
            machine = Machine.from_json(file.read())
    else:
        raise InputError(f"{spec!r} is neither a file nor a ready-made machine: use one of {', '.join(_READY_MADE)}")
    return machine if machine.origin_ns else machine.starting_at(time.monotonic_ns())


def _greeting(mountpoint: str) -> str:
    path = os.path.abspath(mountpoint)
    return f"The machine is at {path}. End it with Ctrl-C. To use it:\nexport PERUN_POWERCAP_ROOT={path}\n"


_READY_MADE = ("two_socket_server", "laptop", "mmio_laptop", "multi_die_server", "many_package_server", "amd_server")
_USAGE = f"MACHINE is a file of Machine.to_json(), or one of {', '.join(_READY_MADE)}\n"

if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
