"""``perun-like recover``: whatever it is given, however often, by however many, and killed half-way."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import PERUN, Run

import perun_like
from perun_like.sampling import spool_reader

Script = Callable[..., str]
_PR_CAPBSET_DROP, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2  # prctl(2), capabilities(7)
WORKS = "import time, os\nprint(flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def cut(tmp_path: Path, script: Script, clean_environ: dict[str, str]) -> Callable[[str], str]:
    """A run whose processes are all killed at once; returns its parts."""

    def run(run_id: str, output: str = "perun_results") -> str:
        command = [PERUN, "profile", "--run-id", run_id, "--output", output, "--period", "10ms", script(WORKS)]
        with subprocess.Popen(command, cwd=tmp_path, env=clean_environ, stdout=subprocess.PIPE) as profiler:
            assert profiler.stdout is not None
            assert profiler.stdout.readline() == b"\n"
            parts = tmp_path / output / "script" / f"{run_id}.parts"
            kill_sampler(str(parts))
            profiler.kill()
        return str(parts)

    return run


def kill_sampler(parts: str) -> None:
    """Kill who writes a run's part, and wait until its lock says that it is gone."""
    (path,) = (os.path.join(parts, name) for name in os.listdir(parts) if name.endswith(".part"))
    inode = os.stat(path).st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    (pid,) = {int(words[4]) for words in locks if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode)}
    os.kill(pid, signal.SIGKILL)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def local_of(parts: str) -> str:
    (path,) = (os.path.join(parts, name) for name in os.listdir(parts))
    header = next(spool_reader.frames(path))
    return str(spool_reader.json_of(header)["local"])


def test_a_directory_of_results_has_all_its_cut_runs_recovered_and_others_left(
    perun: Run, cut: Callable[..., str], tmp_path: Path, script: Script, clean_environ: dict[str, str]
) -> None:
    cut("first")
    cut("second")
    command = [PERUN, "profile", "--run-id", "on", script(WORKS)]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environ, stdout=subprocess.PIPE) as profiler:
        assert profiler.stdout is not None
        assert profiler.stdout.readline() == b"\n"
        done = perun("recover", "perun_results")
        asked_for = perun("recover", "perun_results/script/on.parts")
        profiler.terminate()
    assert done.returncode == 0
    assert done.stdout.split() == ["perun_results/script/first.h5", "perun_results/script/second.h5"]
    assert done.stderr.count("on.parts") == 1
    assert "still being written" in done.stderr
    assert asked_for.returncode == 1
    again = perun("recover", "perun_results")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing in perun_results was cut short" in again.stderr


def test_to_recover_again_does_no_harm(perun: Run, cut: Callable[..., str], tmp_path: Path) -> None:
    parts = cut("x")
    first = perun("recover", parts)
    before = (tmp_path / first.stdout.strip()).read_bytes()
    again = perun("recover", parts)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    assert (tmp_path / first.stdout.strip()).read_bytes() == before


def test_the_report_says_that_a_run_was_cut_and_when(perun: Run, cut: Callable[..., str]) -> None:
    start_s = time.time()
    path = perun("recover", cut("x")).stdout.strip()
    end_s = time.time()
    words = " ".join(perun("report", path).stdout.split())
    when = words.partition("the sampling process was killed; it ends at ")[2][:23]
    told_s = time.mktime(time.strptime(when, "%Y-%m-%d %H:%M:%S UTC")) - time.timezone
    assert int(start_s) <= told_s <= end_s


def test_a_copy_of_the_parts_of_a_run_that_goes_on_costs_it_nothing(
    perun: Run, tmp_path: Path, script: Script, clean_environ: dict[str, str]
) -> None:
    name = script("from perun_like import region\nwith region('seen'): print(flush=True); input()\n")
    command = [PERUN, "profile", "--run-id", "on", name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environ, **pipes) as profiler:  # type: ignore[call-overload]
        assert profiler.stdout.readline() == b"\n"
        local = local_of(str(tmp_path / "perun_results/script/on.parts"))
        shutil.copytree(tmp_path / "perun_results/script/on.parts", tmp_path / "copy.parts")
        copied = perun("recover", "copy.parts")
        assert copied.returncode == 0, copied.stderr
        assert os.path.isdir(local)
        profiler.communicate(b"\n")
    run = perun_like.load(tmp_path / "perun_results/script/on.h5").nodes[0].nodes[0]
    assert [region.name for region in run.regions] == ["seen"]
    assert not os.path.exists(local)


def test_a_recovered_run_leaves_nothing_in_memory(perun: Run, cut: Callable[..., str]) -> None:
    parts = cut("x")
    local = local_of(parts)
    assert os.path.isdir(local)
    assert perun("recover", parts).returncode == 0
    assert not os.path.exists(local)


def test_a_part_by_itself(perun: Run, cut: Callable[..., str], tmp_path: Path) -> None:
    (part,) = Path(cut("x")).iterdir()
    (tmp_path / "else").mkdir()
    shutil.copy(part, tmp_path / "else/mine.part")
    done = perun("recover", "else/mine.part")
    assert (done.returncode, done.stdout) == (0, "else/x.h5\n"), done.stderr
    assert perun_like.load(tmp_path / "else/x.h5").id == "script"
    inside = perun("recover", str(part))
    assert (tmp_path / "perun_results/script/x.h5").is_file()
    assert inside.returncode == 0
    gone = perun("recover", "else/mine.part")
    assert gone.returncode == 2
    assert "results are in else" in gone.stderr


def test_many_at_once_make_one_file(cut: Callable[..., str], tmp_path: Path, clean_environ: dict[str, str]) -> None:
    parts = cut("x")

    def recover(_: int) -> subprocess.CompletedProcess[str]:
        command = [PERUN, "recover", parts]
        return subprocess.run(command, cwd=tmp_path, env=clean_environ, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(recover, range(4)))
    assert [path.name for path in tmp_path.rglob("*.h5")] == ["x.h5"]
    assert any(each.returncode == 0 for each in ended)
    for each in ended:
        assert "Traceback" not in each.stderr
        assert each.returncode == 0 or "x.parts" in each.stderr
    perun_like.load(tmp_path / "perun_results/script/x.h5")


def test_killed_half_way_and_done_again(cut: Callable[..., str], tmp_path: Path, clean_environ: dict[str, str]) -> None:
    """At moments that only chance knows, from the start to the end."""
    template = Path(cut("x"))
    for delay_ms in range(0, 400, 40):
        place = tmp_path / str(delay_ms)
        shutil.copytree(template, place / "x.parts")
        with subprocess.Popen([PERUN, "recover", str(place / "x.parts")], env=clean_environ) as running:
            try:
                running.wait(delay_ms / 1000)
            except subprocess.TimeoutExpired:
                running.kill()
        subprocess.run([PERUN, "recover", str(place / "x.parts")], env=clean_environ, check=True)
        assert [path.name for path in place.iterdir()] == ["x.h5"]
        assert perun_like.load(place / "x.h5").id == "script"


@pytest.mark.parametrize("plant", ["pipe", "link", "link to a directory", "socket"])
def test_what_no_run_leaves_is_neither_read_nor_removed(
    perun: Run, cut: Callable[..., str], tmp_path: Path, plant: str
) -> None:
    parts = Path(cut("x"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    name = {"link to a directory": "hosts"}.get(plant, "y.part")
    if plant == "pipe":
        os.mkfifo(parts / name)
    elif plant == "socket":
        os.mknod(parts / name, 0o140600)
    else:
        (parts / name).symlink_to(outside if plant == "link to a directory" else outside / "mine.txt")
    refused = perun("recover", str(parts), timeout=20)
    assert refused.returncode == 1
    assert f"{parts / name} is" in refused.stderr
    assert (outside / "mine.txt").read_text() == "mine"
    (parts / name).unlink()
    assert perun("recover", str(parts)).returncode == 0


def test_a_part_without_its_beginning_is_kept_and_told(perun: Run, cut: Callable[..., str], tmp_path: Path) -> None:
    parts = Path(cut("x"))
    (good,) = parts.iterdir()
    damaged = bytearray(good.read_bytes())
    damaged[40] ^= 1
    (parts / "other.part").write_bytes(damaged)
    done = perun("recover", str(parts))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "perun_results/script/x.damaged/other.part").read_bytes() == damaged
    report = " ".join(perun("report", str(tmp_path / "perun_results/script/x.h5")).stdout.split())
    assert "all of other.part: it is damaged at its beginning, and left in x.damaged" in report
    alone = perun("recover", "perun_results/script/x.damaged/other.part")
    assert alone.returncode == 1
    assert "damaged at its very beginning" in alone.stderr


@pytest.mark.parametrize("given", ["nothing.parts", "nothing", "file.txt"])
def test_what_is_none(perun: Run, tmp_path: Path, given: str) -> None:
    (tmp_path / "file.txt").write_text("text")
    ended = perun("recover", given)
    assert ended.returncode == 2
    assert given in ended.stderr
    assert "Traceback" not in ended.stderr


def test_one_that_cannot_be_recovered_keeps_none_of_the_others(
    perun: Run, cut: Callable[..., str], tmp_path: Path
) -> None:
    parts = Path(cut("a"))
    cut("b")
    (part,) = parts.iterdir()
    part.write_bytes(b"PRF1" + bytes(100))
    done = perun("recover", "perun_results")
    assert done.returncode == 1
    assert done.stdout.split() == ["perun_results/script/b.h5"]
    assert str(part.relative_to(tmp_path)) in done.stderr


def bind_to_permissions() -> None:
    """In a child before it becomes a program: have root's permissions be those of other users, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH) if os.getuid() == 0 else ():
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "root can't give up its power over files here")


@pytest.mark.parametrize("hidden", ["the directory", "the part"])
def test_what_may_not_be_read_is_told_and_left_and_keeps_none_of_the_others(
    perun: Run, cut: Callable[..., str], tmp_path: Path, hidden: str
) -> None:
    parts = Path(cut("a"))
    cut("b")
    (part,) = parts.iterdir()
    before, private = part.read_bytes(), parts if hidden == "the directory" else part
    mode = private.stat().st_mode
    private.chmod(0)
    refused = perun("recover", "perun_results", preexec_fn=bind_to_permissions)
    alone = perun("recover", "perun_results/script/a.parts", preexec_fn=bind_to_permissions)
    assert refused.returncode == alone.returncode == 1
    assert refused.stdout.split() == ["perun_results/script/b.h5"]
    for done in (refused, alone):
        (told,) = done.stderr.splitlines()
        assert str(private.relative_to(tmp_path)) in told
        assert "Permission denied" in told
    private.chmod(mode)
    assert part.read_bytes() == before
    assert perun("recover", "perun_results").stdout.split() == ["perun_results/script/a.h5"]


def test_json_of_a_recovered_run_has_the_moment(perun: Run, cut: Callable[..., str]) -> None:
    path = perun("recover", cut("x")).stdout.strip()
    host = json.loads(perun("export", path, "json").stdout)["root"]["nodes"][0]["nodes"][0]["nodes"][0]
    assert abs(host["metadata"]["cut_unix_ns"] / 1e9 - time.time()) < 60


def test_under_a_limit_on_memory_the_program_s_exit_code_stays_and_results_can_be_had_elsewhere(
    perun: Run, script: Script
) -> None:
    """OpenBLAS, which numpy loads, ends a process without room by an exit code of its own."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))

    ended = perun("profile", script("import sys; sys.exit(7)"), preexec_fn=limit)
    assert ended.returncode == 7, ended.stderr
    assert "ulimit -v" in ended.stderr
    assert "perun-like recover perun_results/script/" in ended.stderr
    refused = perun("recover", "perun_results", preexec_fn=limit)
    assert refused.returncode == 1
    assert "ulimit -v" in refused.stderr
    assert "OpenBLAS" not in refused.stderr
    recovered = perun("recover", "perun_results")
    assert recovered.returncode == 0, recovered.stderr
    assert "exit code 7" in perun("report", recovered.stdout.strip()).stdout
