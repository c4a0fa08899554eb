"""Recordings of single hosts as one of them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perun_like.model.recording import Process, Recording


def joined(hosts: Sequence[Recording]) -> Recording:
    """One recording of several, each of one host and on its clock, in the order of the hosts' first ranks.

    Hosts' clocks are compared by their real time. The run began when the first of all processes did and ended when the
    last one did; hosts of which no process is known have no say in that.

    Args:
        hosts: At least one. They may come without samples: then the whole has none.

    Returns:
        The whole, on the first host's clock; name, id and other facts are the first's.
    """
    first, ahead_ns = hosts[0], _ahead_ns(hosts[0])
    known = [host for host in hosts if host.processes] or [first]
    start_unix_ns = min(host.started_unix_ns for host in known)
    stop_unix_ns = max(host.started_unix_ns + host.window_ns[1] - host.window_ns[0] for host in known)
    return first._replace(
        started_unix_ns=start_unix_ns,
        window_ns=(start_unix_ns + ahead_ns, stop_unix_ns + ahead_ns),
        hosts=tuple(part for host in hosts for part in host.hosts),
        processes=tuple(process for host in hosts for process in _later(host, ahead_ns - _ahead_ns(host))),
        metadata={**first.metadata, **_functions(hosts)},
    )


def during(host: Recording, whole: Recording) -> Recording:
    """A host of which no process is known, for as long as the whole run went on."""
    ahead_ns, length_ns = _ahead_ns(host), whole.window_ns[1] - whole.window_ns[0]
    start_ns = whole.started_unix_ns + ahead_ns
    return host._replace(started_unix_ns=whole.started_unix_ns, window_ns=(start_ns, start_ns + length_ns))


def _ahead_ns(host: Recording) -> int:
    """How much a recording's clock is ahead of real time."""
    return host.window_ns[0] - host.started_unix_ns


def _later(host: Recording, shift_ns: int) -> list[Process]:
    return [
        process._replace(start_ns=process.start_ns + shift_ns, stop_ns=process.stop_ns + shift_ns)
        for process in host.processes
    ]


def _functions(hosts: Sequence[Recording]) -> dict[str, Any]:
    """Where the functions stand that were measured in place on any of the hosts, by name."""
    found = {name: place for host in hosts for name, place in host.metadata.get("functions", {}).items()}
    return {"functions": found} if found else {}
