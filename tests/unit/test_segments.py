"""Shared memory for marks: nobody can cut it off, it outlives its processes, and nothing of it is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perun_like.sampling import segments
from perun_like.sampling.activity import Activity
from perun_like.sampling.collecting import collect
from perun_like.sampling.local import remove_directory
from perun_like.sampling.marks import FILE_ROWS, ROUND_WORDS, ROW_WORDS, file_bytes

MARKS = "from perun_like.sampling.marks import *\nprepare(); marks = Marks(sys.argv[1])\n"
FOREIGN = """
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
id_ = libc.shmget(0, int(sys.argv[1]), 0o1600)
ctypes.memset(libc.shmat(id_, None, 0), 7, int(sys.argv[1]))
print(id_)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory with a rank's in it, whose sampler is this process."""
    segments.offer(str(tmp_path))
    if not (tmp_path / "ipc").is_symlink():
        pytest.skip("this kernel or this Python has no System V shared memory that outlives its processes")
    (tmp_path / "0").mkdir()
    return tmp_path


def python(source: str, *args: object, code: int = 0) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", f"import os, signal, sys\n{source}", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def marked(run: Path, source: str, code: int = 0) -> str:
    """The same of a process that makes marks."""
    return python(MARKS + source, run / "0", code=code)


def there(pid_or_id: int, column: int = 1) -> list[list[str]]:
    """The kernel's lines about segments, by id (1) or by the process that has made them (4)."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [row for row in rows if int(row[column]) == pid_or_id]


def by_pid(pid: int) -> list[list[str]]:
    return there(pid, 4)


def links(run: Path) -> list[Path]:
    return [path for path in sorted((run / "0").iterdir()) if path.is_symlink()]


def words(rows: bytes, of: int, row_words: int = ROW_WORDS) -> list[int]:
    return memoryview(rows).cast("q")[of::row_words].tolist()


def test_marks_outlive_a_process_that_is_killed_and_are_removed_with_their_directory(run: Path) -> None:
    source = "for _ in range(3): marks.begin('r')\nprint(os.getpid(), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    pid = int(marked(run, source, code=-9))
    assert [row[6] for row in by_pid(pid)] == ["0"]
    [(facts, calls, rounds)] = collect(str(run / "0"), 0)
    assert (facts["pid"], facts["names"], rounds) == (pid, ["r"], b"")
    assert words(calls, 3) == [0, 0, 0]
    assert min(words(calls, 2)) > 0
    remove_directory(str(run))
    assert by_pid(pid) == []


def test_what_root_truncates_costs_no_marks_and_nobody_s_life(run: Path) -> None:
    source = (
        "begun = marks.begin('r')\n"
        "for path in os.scandir(sys.argv[1]):\n"
        "    if not path.is_symlink(): os.truncate(path, 0)\n"
        "for _ in range(FILE_ROWS): begun[0].words[begun[1]] = 5; begun = marks.begin('r')\n"
    )
    marked(run, source)
    [(facts, calls, _)] = collect(str(run / "0"), 0)
    assert words(calls, 3) == [5] * FILE_ROWS + [0]
    assert facts["names"] == []
    remove_directory(str(run))


def test_no_descriptor_is_needed(run: Path) -> None:
    before = "before = os.listdir('/proc/self/fd')\n"
    after = "marks.begin('r'); marks.begin_round('f', None, 0, 0)\nprint(before == os.listdir('/proc/self/fd'))"
    assert python(f"{before}{MARKS}{after}", run / "0") == "True\n"
    assert len(links(run)) == 2
    remove_directory(str(run))


def test_rounds_are_followed_as_they_come(run: Path) -> None:
    seen = Activity(str(run / "0"))
    source = (
        "import time\nbegun = marks.begin_round('f', None, 0, 0)\n"
        "for _ in range(FILE_ROWS):\n"
        "    begun[0].words[begun[1] + 3] = time.monotonic_ns(); begun = marks.begin_round('f', None, 0, 0)\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        "begun[0].words[begun[1] + 3] = time.monotonic_ns(); print('ended', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", f"import os, sys\n{MARKS}{source}", str(run / "0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert seen.idle_s() == 0
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ended\n"
        assert seen.idle_s() > 0
        process.communicate("\n")
    [(_, _, rounds)] = collect(str(run / "0"), 0)
    assert words(rounds, 1, ROUND_WORDS) == list(range(FILE_ROWS + 1))
    remove_directory(str(run))


def test_a_forked_child_has_memory_of_its_own_and_keeps_none_of_its_parent_s(run: Path) -> None:
    source = (
        "from perun_like import region\nimport gc\n"
        "outer = region('outer'); outer.__enter__()\n"
        "(link,) = [os.readlink(path) for path in os.scandir(sys.argv[1]) if path.is_symlink()]\n"
        "def users(): return [r.split()[6] for r in open('/proc/sysvipc/shm') if r.split()[1] == link.split('-')[0]]\n"
        "if os.fork() == 0:\n"
        "    print(users(), flush=True)\n"
        "    with region('inner'): pass\n"
        "    os._exit(0)\n"
        "os.wait(); outer.__exit__(None, None, None)\n"
    )
    environ = f"os.environ['PERUN_RUN'] = sys.argv[1]\n{source}"
    assert python(environ, run / "0") == "['1']\n"
    found = {tuple(facts["names"]): calls for facts, calls, _ in collect(str(run / "0"), 0)}
    assert sorted(found) == [("inner",), ("outer",)]
    assert all(min(words(calls, 3)) > 0 for calls in found.values())
    remove_directory(str(run))


def test_memory_that_somebody_removes_stays_until_it_isn_t_used(run: Path) -> None:
    source = (
        "(link,) = [path for path in os.scandir(sys.argv[1]) if path.is_symlink()]\n"
        "import subprocess; subprocess.run(['ipcrm', '-m', os.readlink(link).split('-')[0]], check=True)\n"
        "for _ in range(FILE_ROWS + 1): marks.begin('r')\nprint(os.getpid())\n"
    )
    pid = int(marked(run, source))
    [(facts, calls, _)] = collect(str(run / "0"), 0)
    assert facts["names"] == ["r"]
    assert [start > 0 for start in words(calls, 2)] == [False] * FILE_ROWS + [True]  # rows keep their numbers
    remove_directory(str(run))
    assert by_pid(pid) == []


def foreign(size: int) -> int:
    return int(python(FOREIGN, size))


@pytest.mark.parametrize("size", [512, 8192, segments._whole(file_bytes(ROW_WORDS))])
def test_other_programs_memory_is_neither_read_nor_removed(run: Path, size: int) -> None:
    id_ = foreign(size)
    try:
        for number, token in enumerate(["00" * 8, "07" * 8, "", "x"]):
            (run / "0" / f"names-7-{number}").write_text('[0, "r"]\n')
            (run / "0" / f"marks-7-{number}-0").symlink_to(f"{id_}-{token}")
        assert [calls for _, calls, _ in collect(str(run / "0"), 0)] == [b""] * 4
        segments.remove_nameless()
        remove_directory(str(run))
        assert len(there(id_)) == 1
    finally:
        subprocess.run(["ipcrm", "-m", str(id_)], check=True)


PLANTS = ["", "-", "x-y", "99999999999-00", "²-00", "٣-00", "-1-00", "0", "/etc/passwd", "../names-7-a"]


@pytest.mark.parametrize("target", [*PLANTS, "1" * 4000])
def test_links_that_stand_for_nothing(run: Path, target: str) -> None:
    (run / "0/names-7-a").write_text('[0, "r"]\n')
    for name in ("marks-7-a-0", "rounds-7-a-0"):
        os.symlink(target or ".", run / "0" / name)
    [(_, calls, rounds)] = collect(str(run / "0"), 0)
    assert (calls, rounds) == (b"", b"")
    assert Activity(str(run / "0")).idle_s() >= 0


def of_an_earlier_segment(run: Path) -> None:
    """As if its segment had been removed, and its id been given to another one."""
    first, second = links(run)
    id_, token = os.readlink(first).split("-")[0], os.readlink(second).split("-")[1]
    second.unlink()
    second.symlink_to(f"{id_}-{token}")


def test_an_id_that_has_been_given_again_is_noticed(run: Path) -> None:
    pids = [int(marked(run, "marks.begin('r'); print(os.getpid())")) for _ in range(2)]
    of_an_earlier_segment(run)
    assert sorted(len(calls) for _, calls, _ in collect(str(run / "0"), 0)) == [0, 32]
    segments.remove(map(str, links(run)[1:]))
    assert [len(by_pid(pid)) for pid in pids] == [1, 1]
    remove_directory(str(run))
    segments.remove_nameless()
    assert [by_pid(pid) for pid in pids] == [[], []]


DELETING = (
    "import shutil\nmarks.begin('r'); shutil.rmtree(os.path.dirname(sys.argv[1]))\nprint(os.getpid(), flush=True)\n"
)


def test_what_has_lost_its_name_is_removed_when_its_process_has_ended(run: Path) -> None:
    command = [sys.executable, "-c", f"import os, sys\n{MARKS}{DELETING}sys.stdin.readline()", str(run / "0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        segments.remove_nameless()
        assert len(by_pid(pid)) == 1
        process.communicate("\n")
    segments.remove_nameless()
    assert by_pid(pid) == []


KILLED_AT_ONCE = (
    "from perun_like.sampling import systemv\n"
    "systemv.calls().create(int(sys.argv[1])); print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.parametrize("words", [ROW_WORDS, ROUND_WORDS])
def test_what_a_killed_process_has_not_said_anything_of_is_removed(words: int) -> None:
    pid = int(python(KILLED_AT_ONCE, segments._whole(file_bytes(words)), code=-9))
    assert len(by_pid(pid)) == 1
    segments.remove_nameless()
    assert by_pid(pid) == []


def test_empty_memory_of_another_size_may_be_somebody_s() -> None:
    pid = int(python(KILLED_AT_ONCE, segments._whole(1 << 12), code=-9))
    [row] = by_pid(pid)
    segments.remove_nameless()
    assert [kept[1] for kept in by_pid(pid)] == [row[1]]
    subprocess.run(["ipcrm", "-m", row[1]], check=True)


def test_what_was_read_is_read_no_more_once_it_is_detached(run: Path) -> None:
    pid = int(marked(run, "marks.begin('r'); print(os.getpid())"))
    with segments.opened(str(links(run)[0]), file_bytes(ROW_WORDS)) as read:
        assert by_pid(pid)[0][6] == "1"
        assert any(read(0, 32))
    assert by_pid(pid)[0][6] == "0"
    with pytest.raises(ValueError, match="released"):
        read(0, 32)
    remove_directory(str(run))


def test_what_has_a_name_or_may_have_one_that_can_t_be_seen_from_here_is_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, nameless = (int(marked(run, "marks.begin('r'); print(os.getpid())")) for _ in range(2))
    (link,) = [path for path in links(run) if f"-{nameless}-" in path.name]
    link.unlink()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(segments, "_surroundings", lambda: b"mnt:[1]:2:3")
        segments.remove_nameless()
    assert len(by_pid(nameless)) == 1
    segments.remove_nameless()
    assert by_pid(nameless) == []
    assert len(by_pid(kept)) == 1
    remove_directory(str(run))


def no_offer(run: Path) -> str:
    (run / "ipc").unlink()
    return ""


def another_namespace(run: Path) -> str:
    (run / "ipc").unlink()
    (run / "ipc").symlink_to("ipc:[1]")
    return ""


def no_ctypes(run: Path) -> str:
    return "sys.modules['ctypes'] = None\n"


def hidden_ctypes(run: Path) -> str:
    (run / "ctypes.py").write_text("raise SystemError('a module of the program')")
    return f"sys.path.insert(0, {str(run)!r})\n"


def no_link_possible(run: Path) -> str:
    return "def symlink(*_): raise OSError(28, 'full')\nos.symlink = symlink\n"


@pytest.mark.parametrize("lacks", [no_offer, another_namespace, no_ctypes, hidden_ctypes, no_link_possible])
def test_without_such_memory_there_are_mapped_files(run: Path, lacks: Callable[[Path], str]) -> None:
    source = f"{lacks(run)}{MARKS}marks.begin('r'); marks.begin_round('f', None, 0, 0)\nprint(os.getpid())"
    pid = int(python(source, run / "0"))
    assert links(run) == []
    [(_, calls, rounds)] = collect(str(run / "0"), 0)
    assert (len(calls), len(rounds)) == (8 * ROW_WORDS, 8 * ROUND_WORDS)
    assert by_pid(pid) == []


@pytest.mark.parametrize(("file", "says"), [("/proc/sys/kernel/shm_rmid_forced", "1\n"), ("/proc/sysvipc/shm", None)])
def test_it_is_not_offered_where_it_would_not_be_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, says: str | None
) -> None:
    path = tmp_path / "played"
    if says is not None:
        path.write_text(says)
    real: dict[str, Any] = {"open": open, "stat": os.stat}
    for module, name in ((segments, "open"), (segments.os, "stat")):
        played = lambda asked, *args, name=name, **kwargs: real[name](  # noqa: E731
            path if asked == file else asked, *args, **kwargs
        )
        monkeypatch.setattr(module, name, played, raising=False)
    segments.offer(str(tmp_path))
    assert not (tmp_path / "ipc").is_symlink()
