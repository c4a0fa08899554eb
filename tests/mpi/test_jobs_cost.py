"""What it costs to be a rank that doesn't sample: there may be hundreds of them on a host, and thousands in a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import PERUN

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import only_result

MAX_RSS_KIB = 15 << 10
MAX_OPENED = 300
# Told of what an interpreter opens and imports from its very start on: a line each, in a file of its own.
HOOK = """
import os, sys
_told = os.path.join(os.environ["TOLD"], str(os.getpid()))
_fd = os.open(_told, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
_of_files = {"open", *(f"os.{name}" for name in ("listdir", "scandir", "mkdir", "rename", "remove", "rmdir", "exec"))}
def _hook(event, args):
    if event == "import" or event in _of_files:
        os.write(_fd, f"{event} {args[0]}\\n".encode())
sys.addaudithook(_hook)
"""
# In each rank's program: what its profiler is like meanwhile, and whether it has started the host's sampler.
PROGRAM = """
import json, os, sys, time
parent = os.getppid()
def status():
    with open(f"/proc/{parent}/status") as file:
        return {key: value for key, _, value in (line.partition(":") for line in file)}
def samples():
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        children = file.read().split()
    return any(b"sampling.serve" in open(f"/proc/{pid}/cmdline", "rb").read() for pid in children)
before = status()
time.sleep(1.5)
after = status()
kinds = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
switches = sum(int(after[kind]) - int(before[kind]) for kind in kinds)
told = {"pid": parent, "samples": samples(), "rss_kib": int(after["VmRSS"].split()[0]), "switches": switches,
        "threads": int(after["Threads"])}
with open(f"profiler-{parent}.json", "w") as file:
    json.dump(told, file)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_that_does_not_sample(mpirun: MpiRun, tmp_path: Path, kind: str) -> None:
    (tmp_path / "script.py").write_text(PROGRAM)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HOOK)
    (tmp_path / "told").mkdir()
    environ = {"PYTHONPATH": str(tmp_path / "hook"), "TOLD": str(tmp_path / "told")}
    done = mpirun(kind, 4, PERUN, "profile", "script.py", env=environ)
    assert done.returncode == 0, done.stderr
    assert only_result(tmp_path).ranks == list(range(4))
    profilers = [json.loads(path.read_text()) for path in tmp_path.glob("profiler-*.json")]
    assert sum(profiler["samples"] for profiler in profilers) == 1
    for profiler in profilers:
        events = (tmp_path / "told" / str(profiler["pid"])).read_text().splitlines()
        check(profiler, events, makes_result="import perun_like.store.writer" in events)


def check(profiler: dict[str, int], events: list[str], *, makes_result: bool) -> None:
    """All but the one that samples are asleep and small; all but the one that makes the result stay so to their end."""
    assert profiler["threads"] == 1
    assert profiler["rss_kib"] <= MAX_RSS_KIB
    if not profiler["samples"]:
        assert profiler["switches"] == 0
    if not makes_result:
        assert not {"import numpy", "import h5py", "import rich", "import click"} & set(events)
        touched = [event for event in events if not event.startswith(("import ", "open /proc/", "open /dev/"))]
        assert len(touched) <= MAX_OPENED
    if not profiler["samples"]:  # which backends are installed stands in a file of each installed package
        assert not any("entry_points.txt" in event for event in events)
