"""The conversation with a PMI-1 server, played here line by line; with a real one: ``tests/mpi``."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from perun_like.launch.pmi import PmiServer

HELLO = b"cmd=init pmi_version=1 pmi_subversion=1\n"
WELCOME = b"cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=2\n"
NAME = b"cmd=my_kvsname rc=0 kvsname=kvs_4752_0_1187356816_vm\n"
ANSWERS = {HELLO: WELCOME, b"cmd=get_my_kvsname\n": NAME, b"cmd=finalize\n": b"cmd=finalize_ack rc=0\n"}


@contextmanager
def served(answers: dict[bytes, bytes], limit_s: float = 10.0) -> Iterator[tuple[PmiServer, list[bytes]]]:
    """A server that answers commands, and what it was told; it hangs up at what it has no answer for."""
    ours, theirs = socket.socketpair()
    told: list[bytes] = []

    def serve() -> None:
        with theirs, theirs.makefile("rb") as lines, suppress(BrokenPipeError):
            for line in lines:
                told.append(line)
                if line not in answers:
                    return
                for byte in answers[line]:  # answers may come in pieces
                    theirs.send(bytes([byte]))

    thread = threading.Thread(target=serve)
    thread.start()
    server = PmiServer(ours.detach(), limit_s)
    try:
        yield server, told
    finally:
        server.close()
        thread.join()


def test_the_name_and_taking_leave() -> None:
    with served(ANSWERS) as (server, told):
        assert server.job_name() == "kvs_4752_0_1187356816_vm"
        assert server.asked
        server.leave()
        server.leave()  # nothing is said twice
    assert told == list(ANSWERS)


def test_nothing_is_said_where_nothing_was_asked() -> None:
    with served(ANSWERS) as (server, told):
        server.leave()
    assert told == []
    assert not server.asked


def test_older_servers_give_no_return_codes() -> None:
    old = {HELLO: b"cmd=response_to_init pmi_version=1\n", b"cmd=get_my_kvsname\n": b"cmd=my_kvsname kvsname=kvs_1\n"}
    with served(ANSWERS | old) as (server, _):
        assert server.job_name() == "kvs_1"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="hangs up"),
        pytest.param({HELLO: b"cmd=response_to_init rc=1\n"}, id="refuses"),
        pytest.param({HELLO: b"    38cmd=response-to-init;rc=0;\n"}, id="speaks PMI-2"),
        pytest.param({HELLO: b"x" * 5000}, id="never ends its line"),
        pytest.param({HELLO: WELCOME}, id="has no name"),
        pytest.param(ANSWERS | {b"cmd=get_my_kvsname\n": b"cmd=my_kvsname rc=0 kvsname=\n"}, id="has an empty name"),
    ],
)
def test_a_server_that_tells_nothing(answers: dict[bytes, bytes]) -> None:
    with served(answers) as (server, _):
        assert server.job_name() is None
        server.leave()


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    with served({HELLO: b""}, limit_s=0.01) as (server, told):
        assert server.job_name() is None
        assert told == [HELLO]


def test_an_application_that_has_taken_leave_itself() -> None:
    """The server has closed the connection then: a broken pipe, and no signal of one."""
    ours, theirs = socket.socketpair()
    server = PmiServer(ours.detach())
    server.asked = True
    theirs.close()
    server.leave()
    assert server._fd is None


def test_the_descriptor_is_believed_only_if_it_is_an_open_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as file:
        theirs.sendall(WELCOME)
        assert PmiServer.of({"PMI_FD": str(ours.fileno())})._fd == ours.fileno()
        for wrong in (str(file.fileno()), "-1", "", "²", "99999", "9" * 30, "eleven"):
            server = PmiServer.of({"PMI_FD": wrong})
            assert server.job_name() is None
            assert not server.asked
        assert PmiServer.of({}).job_name() is None
