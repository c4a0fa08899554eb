"""The simulated powercap tree as other processes see it, against the truth of the machine."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from perun_like.testing import mount as mounting
from perun_like.testing.machine import BLOCKED, DROPPED, FORBIDDEN, GARBAGE, VANISHED, Fault, Machine, Zone
from perun_like.testing.machines import laptop, two_socket_server
from perun_like.testing.power import RandomWalk, SquareWave
from perun_like.testing.powercap import FuseUnavailableError, SimulatedPowercap, simulated_powercap

S = 1_000_000_000
MS = 1_000_000
TICK = 976_562
DEADLINE_S = 10.0
WAVE = SquareWave(20, 180, 50 * MS)
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

READ_WITH_TIMES = """
import json, os, sys, time
files = [os.open(path, os.O_RDONLY) for path in sys.argv[2:]]
rows = []
for _ in range(int(sys.argv[1])):
    for index, file in enumerate(files):
        before = time.monotonic_ns()
        value = int(os.pread(file, 64, 0))
        rows.append((index, before, value, time.monotonic_ns()))
print(json.dumps(rows))
"""


@pytest.fixture(scope="module", autouse=True)
def _fuse_works() -> None:
    try:
        with simulated_powercap(laptop()):
            pass
    except FuseUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatedPowercap]:
    with simulated_powercap(two_socket_server()) as powercap:
        yield powercap


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout


def _python(code: str, *arguments: str) -> str:
    return _run(sys.executable, "-I", "-S", "-c", code, *arguments)


def _is_mounted(root: str) -> bool:
    return root in Path("/proc/self/mountinfo").read_text().split()


def _await_exit(pid_descriptor: int) -> bool:
    return bool(select.select([pid_descriptor], [], [], DEADLINE_S)[0])


def test_layout_is_that_of_sysfs(server: SimulatedPowercap) -> None:
    files = _run("find", "-H", server.root, "-name", "energy_uj", "-printf", "%P %m\n").splitlines()
    assert len(files) == 8
    assert "intel-rapl/intel-rapl:1/intel-rapl:1:2/energy_uj 400" in files
    assert os.path.samefile(f"{server.root}/intel-rapl/subsystem", server.root)
    links = _run("find", server.root, "-maxdepth", "1", "-type", "l", "-printf", "%P -> %l\n").splitlines()
    assert len(links) == 8
    assert "intel-rapl:0 -> intel-rapl/intel-rapl:0" in links
    assert "intel-rapl:0:2 -> intel-rapl/intel-rapl:0/intel-rapl:0:2" in links


def test_constant_files_are_readable_by_cat(server: SimulatedPowercap) -> None:
    zone = f"{server.root}/intel-rapl:1:2"
    names = ("name", "max_energy_range_uj", "enabled", "constraint_0_name", "constraint_0_max_power_uw", "uevent")
    assert _run("cat", *(f"{zone}/{name}" for name in names)) == "dram\n65712999613\n0\nlong_term\n60000000\n"
    assert not os.path.exists(f"{server.root}/intel-rapl:0:0/constraint_0_name")
    assert _run("cat", f"{server.root}/intel-rapl/enabled") == "1\n"


def test_more_entries_than_fit_one_answer_are_all_listed() -> None:
    zones = [Zone(f"intel-rapl:{n}", f"package-{n}", WAVE) for n in range(1000)]
    with simulated_powercap(Machine(zones)) as powercap:
        listed = _run("ls", powercap.root).split()
    assert sorted(listed) == sorted(["intel-rapl", *(zone.path for zone in zones)])


def test_another_process_reads_the_counters_of_that_instant(server: SimulatedPowercap) -> None:
    paths = [zone.path for zone in server.machine.zones]
    rows = json.loads(_python(READ_WITH_TIMES, "100", *(f"{server.root}/{p}/energy_uj" for p in paths)))
    assert len(rows) == 800
    for index, before_ns, value, after_ns in rows:
        low = server.machine.counter_uj(paths[index], before_ns)
        high = server.machine.counter_uj(paths[index], after_ns)
        assert low <= value <= high


def test_measured_energy_is_the_truth_across_wraps() -> None:
    zone = Zone("intel-rapl:0", "package-0", WAVE, register_bits=17)  # wraps every 8 J, thus every 80 ms
    with simulated_powercap(Machine([zone])) as powercap:
        rows = json.loads(_python(READ_WITH_TIMES, "8000", f"{powercap.root}/intel-rapl:0/energy_uj"))
    values = [row[2] for row in rows]
    wraps = sum(b < a for a, b in pairwise(values))
    measured_j = (values[-1] - values[0]) / 1e6 + wraps * zone.wrap_j
    truth_j = powercap.truth_j("intel-rapl:0", rows[0][1], rows[-1][3])
    first_and_last_read_ns = rows[0][3] - rows[0][1] + rows[-1][3] - rows[-1][1]
    assert wraps >= 1
    assert measured_j == pytest.approx(truth_j, abs=180 * (TICK + first_and_last_read_ns) / S + 2e-4)


def test_held_descriptor_gives_a_fresh_value_each_time(server: SimulatedPowercap) -> None:
    with open(f"{server.root}/intel-rapl:0/energy_uj", "rb") as file:
        first, give_up = os.pread(file.fileno(), 64, 0), time.monotonic() + DEADLINE_S
        while os.pread(file.fileno(), 64, 0) == first:
            assert time.monotonic() < give_up


def test_a_text_read_in_pieces_is_one_value(server: SimulatedPowercap) -> None:
    """As of sysfs: a counter that ticks between two pieces must not mix the digits of two values."""
    with open(f"{server.root}/intel-rapl:0/energy_uj", "rb", buffering=0) as file:
        before = server.machine.counter_uj("intel-rapl:0", time.monotonic_ns())
        pieces = [file.read(1)]
        after = server.machine.counter_uj("intel-rapl:0", time.monotonic_ns())
        while pieces[-1]:
            assert int(Path(file.name).read_bytes()) >= before  # another reader has no effect on ours
            pieces.append(file.read(1))
    assert before <= int(b"".join(pieces)) <= after


@as_root
def test_ordinary_users_may_not_read_energy(server: SimulatedPowercap) -> None:
    code = """if True:
        import os, sys
        os.setuid(65534)
        print(open(sys.argv[1] + "/name").read().strip())
        print(os.access(sys.argv[1] + "/energy_uj", os.R_OK))
        open(sys.argv[1] + "/energy_uj")"""
    command = [sys.executable, "-I", "-S", "-c", code, f"{server.root}/intel-rapl:0"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.stdout == "package-0\nFalse\n"
    assert "PermissionError" in result.stderr


def test_nothing_can_be_written(server: SimulatedPowercap) -> None:
    for path in ("intel-rapl:0/energy_uj", "intel-rapl:0/enabled"):
        with pytest.raises(OSError, match="Read-only"):
            open(f"{server.root}/{path}", "w")  # noqa: SIM115 - it can't be opened
    assert not os.access(f"{server.root}/intel-rapl:0/enabled", os.W_OK)


def test_faults_are_those_of_a_kernel() -> None:
    kinds = [DROPPED, FORBIDDEN, VANISHED, GARBAGE]
    zones = [Zone(f"intel-rapl:{i}", f"package-{i}", WAVE, faults=[Fault(k, 0)]) for i, k in enumerate(kinds)]
    unreadable = Zone("intel-rapl:4", "package-4", WAVE, readable=False)
    with simulated_powercap(Machine([*zones, unreadable])) as powercap:
        path = f"{powercap.root}/intel-rapl:%d/energy_uj"
        for index, code in ((0, errno.EIO), (1, errno.EACCES), (2, errno.ENOENT), (4, errno.EACCES)):
            with pytest.raises(OSError, match=os.strerror(code)):
                Path(path % index).read_bytes()
        assert Path(path % 3).read_bytes() == b"\x00?\n"
        assert os.access(path % 0, os.R_OK)
        assert not os.access(path % 4, os.R_OK)  # for root too
        assert "intel-rapl:2" not in os.listdir(powercap.root)
        assert not os.path.lexists(f"{powercap.root}/intel-rapl:2")
        assert Path(f"{powercap.root}/intel-rapl:4/name").read_text() == "package-4\n"


def test_a_device_vanishes_under_its_readers() -> None:
    zone = Zone("intel-rapl:0", "package-0", WAVE, faults=[Fault(VANISHED, S)])
    with simulated_powercap(Machine([zone]), origin_ns=time.monotonic_ns() - S + 200 * MS) as powercap:
        gone_ns = powercap.machine.origin_ns + S
        directory = os.open(f"{powercap.root}/intel-rapl:0", os.O_RDONLY)
        with open("energy_uj", "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=directory)) as file:
            failed = 0
            while not failed:
                before_ns = time.monotonic_ns()
                try:
                    assert int(os.pread(file.fileno(), 64, 0)) > 0
                    assert before_ns < gone_ns
                except OSError as error:
                    failed = error.errno or 0
                    assert time.monotonic_ns() >= gone_ns
        assert failed == errno.ENODEV
        with pytest.raises(FileNotFoundError):
            os.open("name", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        assert os.listdir(powercap.root) == ["intel-rapl"]


def _half_blocked(delay_ns: int) -> Machine:
    slow = Zone("intel-rapl:0", "package-0", WAVE, faults=[Fault(BLOCKED, 0, delay_ns=delay_ns)])
    return Machine([slow, Zone("intel-rapl:1", "package-1", RandomWalk(5, 90, MS, seed=1))])


def test_a_blocked_read_holds_up_nobody_else() -> None:
    with simulated_powercap(_half_blocked(400 * MS)) as powercap:
        done: list[tuple[int, int, int]] = []

        def read_slowly() -> None:
            started_ns = time.monotonic_ns()
            value = int(Path(f"{powercap.root}/intel-rapl:0/energy_uj").read_bytes())
            done.append((started_ns, value, time.monotonic_ns()))

        thread = threading.Thread(target=read_slowly)
        thread.start()
        with open(f"{powercap.root}/intel-rapl:1/energy_uj", "rb") as file:
            reads = sum(bool(os.pread(file.fileno(), 64, 0)) for _ in iter(lambda: bool(done), True))
        thread.join()
        started_ns, value, ended_ns = done[0]
        assert reads > 100
        assert ended_ns - started_ns >= 400 * MS
        # Its value is that of the end of the wait.
        assert value >= powercap.machine.counter_uj("intel-rapl:0", started_ns + 400 * MS)
        assert value <= powercap.machine.counter_uj("intel-rapl:0", ended_ns)


def test_a_reader_that_is_blocked_can_be_killed() -> None:
    with simulated_powercap(_half_blocked(3600 * S)) as powercap:
        code = "import sys; print('open', flush=True); open(sys.argv[1]).read()"
        command = [sys.executable, "-I", "-c", code, f"{powercap.root}/intel-rapl:0/energy_uj"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            give_up = time.monotonic() + DEADLINE_S
            while _python(f"print(open('/proc/{reader.pid}/stat').read().rpartition(')')[2].split()[0])") == "R\n":
                assert time.monotonic() < give_up
            reader.kill()
            assert reader.wait(DEADLINE_S) == -signal.SIGKILL


def test_two_machines_at_once(server: SimulatedPowercap) -> None:
    with simulated_powercap(laptop()) as other:
        assert other.root != server.root
        assert "psys\n" in _run("cat", f"{other.root}/intel-rapl:1/name", f"{server.root}/intel-rapl:1/name")


def test_nothing_is_left_when_the_context_closes() -> None:
    with simulated_powercap(laptop()) as powercap:
        file = os.open(f"{powercap.root}/intel-rapl:0/energy_uj", os.O_RDONLY)  # in use: unmounting is lazy then
        assert _is_mounted(powercap.root)
        server_exit = os.pidfd_open(powercap.pid)
    assert not os.path.lexists(powercap.root)
    assert not _is_mounted(powercap.root)
    assert select.select([server_exit], [], [], 0)[0]
    with pytest.raises(OSError, match="not connected"):
        os.pread(file, 64, 0)
    os.close(file)
    os.close(server_exit)


def test_nothing_is_left_when_the_server_is_killed() -> None:
    with simulated_powercap(laptop()) as powercap:
        os.kill(powercap.pid, signal.SIGKILL)
    assert not os.path.lexists(powercap.root)
    assert not _is_mounted(powercap.root)


@pytest.mark.parametrize("with_child", [False, True], ids=["alone", "with a child that holds the pipe"])
def test_nothing_is_left_when_the_parent_is_killed(with_child: bool) -> None:
    code = """if True:
        import os, signal, sys
        from perun_like.testing.machines import laptop
        from perun_like.testing.powercap import simulated_powercap
        with simulated_powercap(laptop()) as powercap:
            child = os.fork() if sys.argv[1] == "True" else None
            if child != 0:
                print(powercap.root, powercap.pid, child or "", flush=True)
            signal.pause()"""
    command = [sys.executable, "-c", code, str(with_child)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        root, pid, *child = parent.stdout.readline().split()
        server_exit = os.pidfd_open(int(pid))
        assert _is_mounted(root)
        parent.kill()
        assert _await_exit(server_exit)
        for left in child:
            os.kill(int(left), signal.SIGKILL)
    os.close(server_exit)
    assert not _is_mounted(root)
    assert not os.path.lexists(root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_by_hand_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "machine.json").write_text(laptop().to_json())
    root = str(tmp_path / "made" / "powercap")
    command = [sys.executable, "-m", "perun_like.testing.powercap", str(tmp_path / "machine.json"), root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert root in process.stdout.readline()
        assert process.stdout.readline() == f"export PERUN_POWERCAP_ROOT={root}\n"
        assert _run("cat", f"{root}/intel-rapl:1/name") == "psys\n"
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
    assert os.listdir(root) == []


def test_by_hand_with_an_unknown_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "perun_like.testing.powercap", "toaster", str(tmp_path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert "'toaster' is neither a file nor a ready-made machine (two_socket_server, laptop" in result.stderr


def test_without_fuse_the_reason_and_a_remedy_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounting, "_DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(FuseUnavailableError) as caught:
        mounting.mount(str(tmp_path))
    assert "isn't loaded" in caught.value.reason
    assert "modprobe fuse" in caught.value.remedy


@as_root
def test_a_user_who_may_not_mount_is_told_so() -> None:
    code = """if True:
        import os
        from perun_like.testing.mount import FuseUnavailableError, mount
        os.setuid(65534)
        os.environ["PATH"] = ""
        try:
            mount("/tmp")
        except FuseUnavailableError as error:
            print(error)"""
    answer = _run(sys.executable, "-c", code)
    assert answer.startswith("this user may not mount, and there is no fusermount3 to do it: install fuse3")


def test_the_server_needs_no_numpy() -> None:
    _run(sys.executable, "-c", "import sys, perun_like.testing.powercap; assert 'numpy' not in sys.modules")


def test_an_ordinary_user_mounts_through_the_helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helper = tmp_path / "fusermount3"
    helper.write_text(
        f"#!{sys.executable}\n"
        "import os, socket, sys\n"
        "if sys.argv[-1] == '/forbidden':\n"
        "    sys.exit('fusermount3: not today')\n"
        "print(sys.argv, file=open(__file__ + '.arguments', 'w'))\n"
        "ours = socket.socket(fileno=int(os.environ['_FUSE_COMMFD']))\n"
        "socket.send_fds(ours, [b'x'], [os.open(__file__, os.O_RDONLY)])\n"
    )
    helper.chmod(0o755)

    def refuse(_mountpoint: str) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mounting, "_mount_ourselves", refuse)
    descriptor = mounting.mount(str(tmp_path))
    assert os.path.samestat(os.fstat(descriptor), helper.stat())
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert f"'--', '{tmp_path}']" in Path(f"{helper}.arguments").read_text()
    with pytest.raises(FuseUnavailableError, match="not today"):
        mounting.mount("/forbidden")


def _documented_programs() -> list[str]:
    text = Path(__file__).parents[2].joinpath("docs", "simulated_machine.md").read_text(encoding="utf-8")
    return [block.partition("```")[0] for block in text.split("```python\n")[1:]]


@pytest.mark.parametrize("program", _documented_programs())
def test_what_the_documentation_shows_works(program: str) -> None:
    _run(sys.executable, "-W", "error", "-c", program)
