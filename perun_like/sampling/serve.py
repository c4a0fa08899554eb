"""The sampling process's life: it obeys the messages of :mod:`perun_like.sampling.protocol` on its standard streams.

It is a fresh interpreter that has inherited nothing from the application but its environment. When the monitor is gone
it saves everything and ends. Where several ranks share it, it goes on until the last of them has ended, whoever of them
has started it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from typing import Any

from perun_like.errors import SamplerError
from perun_like.sampling.host import detach
from perun_like.sampling.keeping import MOVE_PERIOD_S
from perun_like.sampling.protocol import Connection, Message
from perun_like.sampling.sampler import LOOK_PERIOD_S, Sampler

_READING_S = 5.0  # what somebody reads now must not go elsewhere before he has read it


class Server:
    """What is obeyed, and when things are due without being asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sampler: Sampler | None = None
        self._next_move = time.monotonic() + MOVE_PERIOD_S

    def run(self) -> None:
        """Serve until told to close, or until nobody is left."""
        while True:
            try:
                message = self._connection.receive(self._patience_s())
            except EOFError:
                if not self._goes_on():
                    break
                continue
            if message is None:
                self._tick()
            elif self._obey(message):
                return
        if self._sampler is not None:
            self._sampler.end_alone()

    def _goes_on(self) -> bool:
        """Whether there are ranks although the one that has started us has gone, or all had for a moment."""
        sampler = self._sampler
        if sampler is None or sampler.company is None or sampler.company.is_over():
            return False
        if not self._connection.is_open():
            self._connection.stop_reading()
            if not sampler.started:
                self._start(sampler)
        return True

    @staticmethod
    def _start(sampler: Sampler) -> None:
        """Have it read from now on, and garbage collected, which the application would have waited 2 ms for."""
        sampler.start()
        gc.freeze()
        gc.enable()

    def _patience_s(self) -> float:
        left_s = max(0.0, self._next_move - time.monotonic())
        return min(left_s, LOOK_PERIOD_S) if self._sampler is not None and self._sampler.looks else left_s

    def _tick(self) -> None:
        """Nothing was said for a while."""
        sampler = self._sampler
        if sampler is not None and sampler.looks:
            sampler.look()
            self._tell_newest(sampler)
        self._move_what_is_due()

    def _move_what_is_due(self, within_s: float = 0.0) -> None:
        """Make samples safe that will have waited for long enough."""
        now = time.monotonic()
        if now + within_s < self._next_move:
            return
        self._next_move = now + MOVE_PERIOD_S
        if self._sampler is not None:
            with contextlib.suppress(OSError):  # a full disk may have room again; the tails keep the samples
                self._sampler.move()
                self._sampler.fsync()
                self._sampler.keep_within_budget()

    def _tell_newest(self, sampler: Sampler) -> None:
        """Tell the newest values if they are wanted; never wait for a monitor that doesn't read."""
        content = sampler.newest()
        with contextlib.suppress(OSError):
            if content and self._connection.has_room(64 * sum(map(len, content.values())) + 4096):
                self._report("values", **content)

    def _obey(self, message: Message) -> bool:
        """Do what one message says; True when it was the last."""
        sampler = self._sampler
        if sampler is None:
            sampler = self._sampler = Sampler(message)
            if sampler.company is not None:
                self._connection.attend(sampler.company.until_fd)
        kind = message["type"]
        if kind == "prepare":
            sampler.prepare()
            self._report("ready", pid=os.getpid(), **({"sensors": sampler.sensors()} if message.get("live") else {}))
        elif kind == "start":
            self._start(sampler)
            self._report("started")
        elif kind == "watch":
            sampler.watch(message["process"])
        elif kind == "note":
            sampler.note(message["content"])
        elif kind == "sync":
            self._move_what_is_due(_READING_S)  # early: put off, it never happened where somebody reads again and again
            sampler.sync(message["after_ns"])
            self._report("synced")
        elif kind == "stop":
            sampler.stop(message["stop_ns"])
            self._report("stopped")
        elif kind == "close":
            self._report("closed", stats=sampler.close(message.get("cut")))
        return bool(kind == "close")

    def _report(self, type_: str, **content: Any) -> None:
        # A monitor that is gone is noticed when its pipe ends, after everything it said has been done.
        with contextlib.suppress(SamplerError):
            self._connection.send(type_, **content)


def main(kept: int = 0) -> None:
    """Entry point of the sampling process.

    Args:
        kept: How many descriptors from 3 on it has been given to hold for as long as it lives.
    """
    connection = Connection(0, 1)
    try:
        detach(kept)
        Server(connection).run()
    except Exception as error:  # a process edge: the monitor is told, with the traceback
        import traceback  # takes 3 ms that the application would wait for

        with contextlib.suppress(SamplerError):
            reason = f"{type(error).__name__}: {error}"
            connection.send("failed", reason=reason, traceback=traceback.format_exc())
        raise SystemExit(1) from error
