"""In a notebook: cells measure, and a kernel that is restarted or killed loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

import perun_like
from perun_like.model.node import NodeType
from perun_like.store.reader import read_recording

nbclient = pytest.importorskip("nbclient", reason="notebooks are executed by nbclient: see the extra 'test'")
jupyter = pytest.importorskip("jupyter_core.utils", reason="comes with nbclient")
nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat: see the extra 'test'")

# What Jupyter's own packages warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

SETUP = (
    "from perun_like import profile, region\n@profile\ndef work(n):\n    with region('part'): return sum(range(n))\n"
)


class Notebook:
    """A kernel that executes cells."""

    def __init__(self, directory: Path) -> None:
        self.client: Any = nbclient.NotebookClient(
            nbformat.v4.new_notebook(),
            timeout=60,
            kernel_name="python3",
            resources={"metadata": {"path": str(directory)}},
        )
        self.client.km = self.client.create_kernel_manager()
        self.client.start_new_kernel(cwd=str(directory))
        self.client.start_new_kernel_client()

    def run(self, source: str) -> str:
        """Execute a cell; what it showed."""
        cell = nbformat.v4.new_code_cell(source)
        self.client.nb.cells.append(cell)
        done = self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        texts = [out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in done.outputs]
        return "".join(texts)

    def shut_down(self, *, now: bool = False) -> None:
        """End the kernel: as its user does, or by killing it."""
        jupyter.run_sync(self.client.km.shutdown_kernel)(now=now)

    def restart(self) -> None:
        """Kill the kernel and start another one."""
        jupyter.run_sync(self.client.km.restart_kernel)(now=True)

    def is_alive(self) -> bool:
        """Whether there is a kernel."""
        return bool(jupyter.run_sync(self.client.km.is_alive)())


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    for name in [name for name in os.environ if name.startswith("PERUN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    made = Notebook(tmp_path)
    yield made
    if made.is_alive():
        made.shut_down(now=True)
    made.client.kc.stop_channels()


def test_cells_measure_and_the_kernel_s_end_saves(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run(SETUP)
    assert notebook.run("work(10**6)") == str(sum(range(10**6)))
    notebook.run("work(10**6)")
    shown = notebook.run("with profile('block') as p: work(10**6)\np")
    assert shown.startswith("<profile block: ")
    assert "measured" in shown or "estimated" in shown
    assert float(notebook.run("print(p.energy_j)")) > 0
    assert notebook.run("async def f(): return work(10)\nwith profile('awaited'): print(await f())") == "45\n"
    notebook.shut_down()
    found = {path.parent.name: path for path in tmp_path.glob("perun_results/*/*.h5")}
    assert set(found) == {"work", "block", "awaited"}
    tree = perun_like.load(found["work"])
    assert tree.find(NodeType.MULTI_RUN)[0].metrics["energy_j"].n == 2
    assert {part.name for part in tree.find(NodeType.RUN)[0].regions} == {"part"}


def test_a_restart_that_kills_the_kernel_loses_nothing(notebook: Notebook, tmp_path: Path, perun: Run) -> None:
    notebook.run(SETUP)
    notebook.run("work(2 * 10**6)")
    notebook.restart()
    (parts,) = tmp_path.glob("perun_results/*/*.parts")
    while "still being written" in (ended := perun("recover", str(parts))).stderr:
        pass
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("perun_results/work/*.h5")
    recording = read_recording(path)
    assert len(recording.hosts[0].rounds[0].start_ns) == 1
    assert perun_like.load(path).find(NodeType.RUN)[0].metrics["energy_j"].value
