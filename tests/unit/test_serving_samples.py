"""What the sampling process does without being asked: samples are made safe in time, whatever else it is asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest

from perun_like.sampling import serve
from perun_like.sampling.protocol import Connection, Message
from perun_like.sampling.sampler import Sampler
from perun_like.sampling.serve import Server


class Day:
    """A time, a monitor that asks for results at some of it, and a sampler that notes when it did what."""

    company = None
    looks = False

    def __init__(self, asked_s: list[float], end_s: float) -> None:
        self.now_s = 0.0
        self._asked_s, self._end_s = [*asked_s, end_s], end_s
        self.moved_s: list[float] = []
        self.read_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def receive(self, timeout_s: float) -> Message | None:
        if self._asked_s[0] > self.now_s + timeout_s:
            self.now_s += timeout_s
            return None
        self.now_s = self._asked_s.pop(0)
        if not self._asked_s:
            raise EOFError
        return {"type": "sync", "after_ns": 0}

    def sync(self, after_ns: int) -> None:
        self.read_s.append(self.now_s)

    def move(self) -> None:
        self.moved_s.append(self.now_s)

    def nothing(self, *_: object, **__: Any) -> None: ...

    send = fsync = keep_within_budget = end_alone = nothing


def served(monkeypatch: pytest.MonkeyPatch, asked_s: list[float]) -> Day:
    day = Day(asked_s, 600)
    monkeypatch.setattr(serve, "time", day)
    server = Server(cast("Connection", day))
    server._sampler = cast("Sampler", day)
    server.run()
    return day


@pytest.mark.parametrize("every_s", [1000, 45, 29.5, 20, 7, 1, 0.1])
def test_samples_are_safe_after_30_s_however_often_results_are_read(
    monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    asked_s = [every_s * count for count in range(1, int(600 / every_s))]
    day = served(monkeypatch, asked_s)
    assert day.read_s == asked_s
    assert max(after - before for before, after in pairwise([0, *day.moved_s, day.now_s])) <= 30


@pytest.mark.parametrize("every_s", [29.5, 20, 7])
def test_what_somebody_reads_does_not_move_meanwhile(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    day = served(monkeypatch, [every_s * count for count in range(1, int(600 / every_s))])
    assert day.moved_s
    assert not [(read, moved) for read in day.read_s for moved in day.moved_s if read < moved < read + 4.9]
