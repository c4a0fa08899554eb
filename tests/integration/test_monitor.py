"""The monitor's states, events and results, each reached for real."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perun_like import Application, MonitorStatus, PerunMonitor
from perun_like.config import resolve
from perun_like.errors import InputError
from perun_like.launch.comm import Comm
from perun_like.model.node import NodeType, Provenance
from perun_like.sampling.process import SamplerProcess
from perun_like.sensing.discovery import backend_specs

Monitor = Callable[..., PerunMonitor]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """Make a monitor for a one-line script."""
    made: list[PerunMonitor] = []

    def make(source: str = "pass", comm: Comm | None = None, backends: dict[str, str] | None = None) -> PerunMonitor:
        path = tmp_path / "script.py"
        path.write_text(source)
        config = resolve(str(tmp_path), {}, {"output": str(tmp_path / "results")})
        app = Application.script(str(path), (), dict(os.environ), sys.executable)
        specs = backend_specs(sys.path) if backends is None else backends
        made.append(PerunMonitor(app, comm or Comm(), specs, {}, config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_setup_then_processing_then_closed(monitor: Monitor) -> None:
    m = monitor()
    assert m.status is MonitorStatus.SETUP
    status, tree, result = m.run_application("1")
    assert (status, m.status, result) == (MonitorStatus.PROCESSING, MonitorStatus.PROCESSING, 0)
    assert tree is not None
    assert [node.type for node in tree.walk()][:4] == [NodeType.APP, NodeType.MULTI_RUN, NodeType.RUN, NodeType.NODE]
    m.close()
    assert m.status is MonitorStatus.CLOSED
    m.close()


def test_ready_and_running_are_passed_through(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[MonitorStatus] = []
    noted = property(lambda self: passed[-1], lambda self, status: passed.append(status))
    monkeypatch.setattr(PerunMonitor, "status", noted, raising=False)
    monitor().run_application("1")
    assert passed == [
        MonitorStatus.SETUP,
        MonitorStatus.READY,
        MonitorStatus.RUNNING,
        MonitorStatus.PROCESSING,
        MonitorStatus.PROCESSING,
    ]


def test_events_and_queue_belong_to_a_spawned_process(monitor: Monitor) -> None:
    m = monitor()
    m.run_application("1")
    assert isinstance(m.perunSP, SamplerProcess)
    assert all(event.is_set() for event in (m.sp_ready_event, m.start_event, m.stop_event, m.close_event) if event)
    assert None not in (m.sp_ready_event, m.start_event, m.stop_event, m.close_event, m.queue)
    m.close()
    assert not m.perunSP.is_alive()
    assert m.perunSP.exitcode == 0


@pytest.mark.parametrize(("source", "result"), [("raise SystemExit(7)", 7), ("1 / 0", 1)])
def test_a_failing_script_is_a_script_error_with_data(monitor: Monitor, source: str, result: int) -> None:
    status, tree, code = monitor(source).run_application("1")
    assert (status, code) == (MonitorStatus.SCRIPT_ERROR, result)
    assert tree is not None


def test_a_killed_script_gives_its_signal(monitor: Monitor) -> None:
    status, _, code = monitor("import os; os.kill(os.getpid(), 9)").run_application("1")
    assert (status, code) == (MonitorStatus.SCRIPT_ERROR, -signal.SIGKILL)


def test_a_program_that_is_not_there(monitor: Monitor, tmp_path: Path) -> None:
    config = resolve(str(tmp_path), {}, {"output": str(tmp_path / "results")})
    app = Application("gone", (str(tmp_path / "gone"),), {})
    m = PerunMonitor(app, Comm(), {}, {}, config)
    assert m.run_application("1") == (MonitorStatus.FILE_NOT_FOUND, None, None)
    assert "No such file" in (m.problem or "")
    m.close()
    assert not list(tmp_path.rglob("*.parts"))


@pytest.mark.parametrize("comm", [Comm(rank=4, size=4), Comm(rank=-1, size=2), Comm(rank=0, size=1, local_rank=3)])
def test_a_contradictory_rank_is_an_mpi_error(monitor: Monitor, comm: Comm, tmp_path: Path) -> None:
    m = monitor(f"open({str(tmp_path / 'ran')!r}, 'w')", comm)
    assert m.run_application("1") == (MonitorStatus.MPI_ERROR, None, None)
    assert "ranks count from 0" in (m.problem or "")
    assert not (tmp_path / "ran").exists()


def test_a_sampler_that_cannot_start_leaves_the_program_alone(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perun_like.sampling.spawn._BOOT", "raise SystemExit('broken')")
    status, tree, code = monitor("raise SystemExit(3)").run_application("1")
    assert (status, code) == (MonitorStatus.SP_ERROR, 3)
    assert tree is not None
    (run,) = tree.find(NodeType.RUN)
    assert run.metrics["energy_j"].provenance is Provenance.MISSING
    assert "sampling process has died" in (run.metrics["energy_j"].reason or "")
    assert run.metrics["runtime_s"].value is not None


def test_a_result_that_cannot_be_saved_is_our_error_and_keeps_the_samples(monitor: Monitor, tmp_path: Path) -> None:
    destination = tmp_path / "results/script/1.h5"
    m = monitor(f"import os; os.mkdir({str(destination)!r})")
    status, _, code = m.run_application("1")
    assert (status, code) == (MonitorStatus.PERUN_ERROR, 0)
    assert "perun-like recover" in (m.problem or "")
    assert list(tmp_path.rglob("*.part"))


def test_without_recording_nothing_is_written(monitor: Monitor, tmp_path: Path) -> None:
    assert monitor("raise SystemExit(5)").run_application("1", record=False) == (MonitorStatus.SCRIPT_ERROR, None, 5)
    assert not (tmp_path / "results").exists()


def test_a_taken_run_id_is_refused_before_anything_runs(monitor: Monitor, tmp_path: Path) -> None:
    first = monitor()
    first.run_application("same")
    assert first.path is not None
    before = Path(first.path).read_bytes()
    with pytest.raises(InputError, match="taken"):
        monitor(f"open({str(tmp_path / 'ran')!r}, 'w')").run_application("same")
    assert Path(first.path).read_bytes() == before
    assert not (tmp_path / "ran").exists()


def test_a_broken_backend_is_reported_and_the_others_are_read(monitor: Monitor) -> None:
    specs = {**backend_specs(sys.path), "broken": "no_such_module:Backend"}
    _, tree, _ = monitor(backends=specs).run_application("1")
    assert tree is not None
    (node,) = tree.find(NodeType.NODE)
    assert any(entry["backend"] == "broken" for entry in node.metadata["missing"])
    assert [s.id for s in tree.find(NodeType.SENSOR) if s.id.startswith("memory:")]


def test_a_monitor_can_run_its_application_again(monitor: Monitor) -> None:
    m = monitor()
    for run_id in ("1", "2"):
        status, tree, _ = m.run_application(run_id)
        assert status is MonitorStatus.PROCESSING
        assert tree is not None
        assert tree.find(NodeType.MULTI_RUN)[0].id == run_id


def test_a_failure_is_forgotten_at_the_next_run(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    m = monitor()
    with monkeypatch.context() as broken:
        broken.setattr("perun_like.sampling.spawn._BOOT", "raise SystemExit('broken')")
        assert m.run_application("1")[0] is MonitorStatus.SP_ERROR
    assert m.run_application("2")[0] is MonitorStatus.PROCESSING
    assert m.problem is None


def test_signals_pass_again_after_a_run(monitor: Monitor) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    monitor().run_application("1")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.fixture
def in_place(tmp_path: Path) -> Iterator[Callable[..., PerunMonitor]]:
    """Make a monitor for a function."""
    made: list[PerunMonitor] = []

    def make(function: Callable[..., object], *args: object, **options: str) -> PerunMonitor:
        config = resolve(str(tmp_path), {}, {"output": str(tmp_path / "results"), **options})
        app = Application.function(function, args, name="function")
        made.append(PerunMonitor(app, Comm(), backend_specs(sys.path), {}, config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_function_gives_its_result(in_place: Callable[..., PerunMonitor], tmp_path: Path) -> None:
    m = in_place(lambda *numbers: sum(numbers), 1, 2, 3)
    status, tree, result = m.run_application("1")
    assert (status, result) == (MonitorStatus.PROCESSING, 6)
    assert tree is not None
    (run,) = tree.find(NodeType.RUN)
    assert run.metrics["runtime_s"].value
    assert run.metadata["in_place"]
    assert m.path == str(tmp_path / "results/function/1.h5")
    assert in_place(lambda: 7).run_application("2", record=False) == (MonitorStatus.PROCESSING, None, 7)


@pytest.mark.parametrize("error", [ValueError("why"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_function_raises_comes_when_its_data_is_safe(
    in_place: Callable[..., PerunMonitor], tmp_path: Path, error: BaseException
) -> None:
    def fails() -> None:
        raise error

    m = in_place(fails)
    with pytest.raises(type(error)) as raised:
        m.run_application("1")
    assert raised.value is error
    assert raised.traceback[-1].name == "fails"
    assert m.status is MonitorStatus.SCRIPT_ERROR
    assert (tmp_path / "results/function/1.h5").exists()


def test_a_function_that_exits_well_has_not_failed(in_place: Callable[..., PerunMonitor]) -> None:
    m = in_place(sys.exit, 0)
    with pytest.raises(SystemExit):
        m.run_application("1")
    assert m.status is MonitorStatus.PROCESSING


def test_a_function_s_rounds(in_place: Callable[..., PerunMonitor]) -> None:
    calls: list[int] = []
    _, tree, result = in_place(lambda: calls.append(1) or len(calls), rounds="3", warmup="2").run_application("1")
    assert result == 5
    assert tree is not None
    assert tree.find(NodeType.MULTI_RUN)[0].metrics["runtime_s"].n == 3


def test_what_would_run_nothing_is_refused() -> None:
    async def waits() -> None: ...

    with pytest.raises(InputError, match=r"coroutine .*would run nothing"):
        Application.function(waits)
    with pytest.raises(InputError, match="can't be called"):
        Application.function(7)  # type: ignore[arg-type]


def test_the_surroundings_of_a_function_are_restored(in_place: Callable[..., PerunMonitor]) -> None:
    before = dict(os.environ)
    m = in_place(lambda: os.environ.get("PERUN_RUN"))
    _, _, inside = m.run_application("1")
    assert inside is not None
    assert dict(os.environ) == before
