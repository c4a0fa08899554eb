"""A sweeper that waits for an update to show sweeps meanwhile, if that is long: the reader counts its own reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from perun_like.sampling.spool import Tail
from perun_like.sampling.sweeper import Sweeper
from perun_like.sensing.contract import Context, Found, Sensor

MS = 1_000_000
MINUTE = 60_000 * MS  # a grid whose second point no test reaches


class Card:
    """A backend with one counter, which notes when it is read."""

    name = "card"

    def __init__(self, tick_ns: int, min_period_ns: int) -> None:
        self.min_period_ns = min_period_ns
        self.sensor = Sensor("card:0", "card", "gpu", "energy", "counter", "J", tick_ns=tick_ns)
        self.reads_ns: list[int] = []

    def find(self, context: Context) -> Found:
        return Found([self.sensor])

    def open(self, sensors: object, context: Context) -> Card:
        return self

    def read(self) -> list[int | None]:
        self.reads_ns.append(time.monotonic_ns())
        return [1]

    def close(self) -> None: ...


Run = Callable[[Card], Sweeper]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Run]:
    started: list[Sweeper] = []

    def run(card: Card) -> Sweeper:
        sweeper = Sweeper(card, [card.sensor], Context(), MINUTE, Tail(str(tmp_path / "tail"), 1, 100))
        started.append(sweeper)
        sweeper.start()
        assert sweeper.first_sweep.wait(5)
        return sweeper

    yield run
    for sweeper in started:
        sweeper.stop(0)
        assert sweeper.join(5)


@pytest.mark.parametrize("ends", [False, True])
def test_updates_that_are_far_apart_are_watched_until_one_must_show(running: Run, ends: bool) -> None:
    card = Card(tick_ns=100 * MS, min_period_ns=20 * MS)
    sweeper = running(card)
    now_ns = time.monotonic_ns()
    if ends:
        sweeper.stop(now_ns)
        assert sweeper.join(5)
    else:
        assert sweeper.sync(now_ns).wait(5)
    first, *between, last = card.reads_ns
    assert first < now_ns
    assert last >= now_ns + card.sensor.tick_ns
    assert 3 <= len(between) <= 10  # 10 ms apart, on a machine that has the time for it
    assert all(later - earlier >= 10 * MS for earlier, later in pairwise(between))


def test_updates_that_come_soon_are_waited_for(running: Run) -> None:
    card = Card(tick_ns=MS, min_period_ns=MS)
    now_ns = time.monotonic_ns()
    assert running(card).sync(now_ns).wait(5)
    assert len(card.reads_ns) == 2
    assert card.reads_ns[1] >= now_ns + MS


def test_a_backend_that_is_slow_to_read_is_not_pressed(running: Run) -> None:
    card = Card(tick_ns=100 * MS, min_period_ns=1_000 * MS)
    assert running(card).sync(time.monotonic_ns()).wait(5)
    assert len(card.reads_ns) == 2
