"""Asking the launcher's PMI-1 server for the job's name, in the application's place and before it starts.

The server (hydra's proxy on this host) has one connection a rank, the descriptor ``PMI_FD``, and the application
inherits it. A rank that has said anything is an MPI process to hydra from then on: if its connection closes without
goodbye, all ranks of the host are killed. So whoever asks must also take leave (:meth:`PmiServer.leave`), unless the
application has failed: then nothing is said and nothing closed, and our own end closes the connection, as a failing
MPI program's would. Closing it earlier has us killed while data is being saved.

An application that calls MPI greets the server again and takes leave itself; both are fine after and before ours.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping

_HELLO = b"cmd=init pmi_version=1 pmi_subversion=1\n"
_ASK_NAME = b"cmd=get_my_kvsname\n"
_GOODBYE = b"cmd=finalize\n"
_MAX_REPLY_B = 1024


class PmiServer:
    """The launcher's server, if there is one.

    Args:
        fd: The connection; None if there is none.
        limit_s: How long each answer may take. One that comes later would be taken by the application for its own, so
            this is not about being quick: hydra answers within 5 ms.

    Attributes:
        asked: Whether anything was said to the server: then leave must be taken.
    """

    def __init__(self, fd: int | None, limit_s: float = 10.0) -> None:
        self._fd = fd
        self._limit_s = limit_s
        self.asked = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> PmiServer:
        """The server that an environment names, if that descriptor is open and a socket."""
        text = environ.get("PMI_FD", "")
        fd = int(text) if text.isascii() and text.isdigit() else -1
        try:
            return cls(fd if stat.S_ISSOCK(os.fstat(fd).st_mode) else None)
        except (OSError, OverflowError):
            return cls(None)

    def job_name(self) -> str | None:
        """The name of the job's space of keys, the same on all ranks; None if the server doesn't tell."""
        if self._fd is None:
            return None
        self.asked = True
        hello = self._exchange(_HELLO)
        if not hello.startswith("cmd=response_to_init ") or _value(hello, "rc") not in (None, "0"):
            return None
        return _value(self._exchange(_ASK_NAME), "kvsname")

    def leave(self) -> None:
        """Say goodbye in the name of an application that ended well; nothing if nothing was asked.

        The answer is waited for: hydra ends the whole job with 255 if it can't deliver it. Where the application has
        taken leave itself, the connection is closed already.
        """
        if self.asked:
            self._exchange(_GOODBYE)
            self.close()

    def close(self) -> None:
        """Close our end of the connection. The application's is not concerned."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _exchange(self, command: bytes) -> str:
        """Send a command; the answer's line, empty if none came in time."""
        from select import POLLIN, poll

        if self._fd is None:
            return ""
        answer, waiting = b"", poll()
        waiting.register(self._fd, POLLIN)
        until = time.monotonic() + self._limit_s
        try:
            os.write(self._fd, command)  # SIGPIPE is ignored in Python: the other end's being closed is an error
            while not answer.endswith(b"\n") and len(answer) < _MAX_REPLY_B:
                if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                    return ""
                received = os.read(self._fd, _MAX_REPLY_B)
                if not received:
                    return ""
                answer += received
        except OSError:
            return ""
        return answer.decode("ascii", "replace").rstrip("\n")


def _value(answer: str, key: str) -> str | None:
    """A value of ``cmd=NAME key=value key=value``."""
    for word in answer.split(" "):
        name, _, value = word.partition("=")
        if name == key:
            return value or None
    return None
