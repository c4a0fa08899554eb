"""A sampler rests while nothing is measured in place, and wakes in time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from perun_like.sampling import activity, sampler
from perun_like.sampling.activity import Activity
from perun_like.sampling.local import make_local_directory, marks_directory, remove_directory
from perun_like.sampling.marks import Marks
from perun_like.sensing.contract import Context, Found, Sensor


def end(row: tuple[Any, int] | None, stop_ns: int) -> None:
    assert row is not None
    file, at = row
    file.words[at + 3] = stop_ns


def test_an_open_round_is_activity_and_an_ended_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0
    monkeypatch.setattr(activity.time, "monotonic_ns", lambda: now_ns)
    monkeypatch.setattr("perun_like.sampling.marks.monotonic_ns", lambda: now_ns)
    seen, marks = Activity(str(tmp_path)), Marks(str(tmp_path))
    now_ns = 5 * 10**9
    assert seen.idle_s() == 5
    first, second = marks.begin_round("a", None, 0, 0), marks.begin_round("b", None, 0, 0)
    now_ns = 20 * 10**9
    assert seen.idle_s() == 0
    end(first, 9 * 10**9)
    assert seen.idle_s() == 0
    end(second, 12 * 10**9)
    assert seen.idle_s() == 8
    for _ in range(2**14):  # into the next file
        end(marks.begin_round("c", None, 0, 0), 13 * 10**9)
    assert seen.idle_s() == 7
    marks.begin_round("d", None, 0, 0)
    now_ns = 99 * 10**9
    assert seen.idle_s() == 0


def test_a_mark_that_leads_nowhere_hides_no_other(tmp_path: Path) -> None:
    """An interrupt may leave one."""
    seen, marks = Activity(str(tmp_path)), Marks(str(tmp_path))
    marks.begin_round("a", None, 0, 0)
    for number in range(20):  # some of them are listed before
        (tmp_path / f"rounds-{number}-x-0").symlink_to("nowhere")
    assert seen.idle_s() == 0


class Counting:
    """A backend that tells a test of each of its reads."""

    name = "counting"
    min_period_ns = 1_000_000
    read_once = Event()

    def find(self, context: Context) -> Found:
        return Found([Sensor("counting:a", "counting", "cpu", "energy", "counter", "J")])

    def open(self, sensors: object, context: Context) -> Counting:
        return self

    def read(self) -> list[int | None]:
        self.read_once.set()
        return [1]

    def close(self) -> None: ...


@pytest.fixture
def running(tmp_path: Path) -> Iterator[sampler.Sampler]:
    local = make_local_directory(os.urandom(8).hex())
    order: dict[str, Any] = {
        "backends": {"counting": f"{__name__}:Counting"},
        "assigned": {},
        "period_ns": 1_000_000,
        "part": str(tmp_path / "host.part"),
        "local": local,
        "in_place": marks_directory(local, 0),
        "run_token": "",
        "context": {},
        "run": {},
    }
    made = sampler.Sampler(order)
    made.prepare()
    made.start()
    yield made
    made.stop(0)
    remove_directory(local)


def test_resting_and_waking(running: sampler.Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    running.look()
    assert running.looks
    monkeypatch.setattr(Activity, "idle_s", lambda _self: 11.0)
    running.look()
    assert not running.looks
    Counting.read_once.clear()
    assert not Counting.read_once.wait(0.05)  # fifty periods
    running.sync(0)
    assert Counting.read_once.is_set()
    Counting.read_once.clear()
    assert Counting.read_once.wait(10)
    assert running.looks
