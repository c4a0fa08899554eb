"""From a process's environment to its place in a job: which launcher started it, which rank of how many it is.

Launchers nest (``mpirun`` in a Slurm step, ``torchrun`` in either), and the variables of the outer ones are inherited:
the innermost one counts. :data:`LAUNCHERS` has them in that order. MPI is never called.

Where the launcher is unknown or tells too little, ``PERUN_RANK``, ``PERUN_SIZE``, ``PERUN_LOCAL_RANK``,
``PERUN_LOCAL_SIZE`` and ``PERUN_JOB_ID`` replace what it says or doesn't say, each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from perun_like.errors import InputError
from perun_like.launch.comm import Comm

if TYPE_CHECKING:
    from perun_like.launch.ancestors import Ancestor

_Environ = Mapping[str, str]


class Surroundings(NamedTuple):
    """Where to look besides the environment.

    Attributes:
        proc: Where the process file system is mounted.
        pid: The process whose ancestors are looked at; None: this one.
    """

    proc: str = "/proc"
    pid: int | None = None

    def nearest(self, wanted: Callable[[Ancestor], bool]) -> Ancestor | None:
        """The nearest ancestor of a kind."""
        from perun_like.launch.ancestors import ancestors  # outside of jobs nobody needs them

        return next((ancestor for ancestor in ancestors(self.proc, self.pid) if wanted(ancestor)), None)


HERE = Surroundings()


def launch_of(around: Surroundings = HERE) -> Ancestor | None:
    """The process that started this job's ranks on this host: a launcher's daemon, else our parent."""
    return around.nearest(lambda process: process.name in _DAEMONS) or around.nearest(lambda _: True)


class Launcher(NamedTuple):
    """One launcher and the variables by which it tells each process its place.

    Attributes:
        name: What people call it.
        marks: Variables that are set in its processes and nowhere else.
        rank: Variable with the rank, and so on. Empty: it has none for this.
        size: Number of ranks.
        local_rank: Rank on this host.
        local_size: Number of ranks on this host.
        job_id: From the environment and the surroundings to the job's id.
    """

    name: str
    marks: tuple[str, ...]
    rank: str
    size: str
    local_rank: str
    local_size: str
    job_id: Callable[[_Environ, Surroundings], str | None]


def detect(environ: _Environ, run_id: str | None = None, around: Surroundings = HERE) -> Comm:
    """The place in its job of a process with this environment.

    Args:
        environ: The environment. Empty variables count as none.
        run_id: What the user calls the run: the job's id if nothing else tells it.
        around: Where else to look: by default this machine.

    Returns:
        One process, without id, outside of any job or if the job has a single process. The same with a ``problem`` if
        there seems to be a job but rank, size or id can't be told. Otherwise all ranks get the same ``job_id``.

    Raises:
        InputError: a variable is no number, or they contradict each other. The message names them.
    """
    launcher = _innermost(environ, around)
    rank, size = _number(environ, launcher, "rank"), _number(environ, launcher, "size")
    if rank is None or size is None:
        return Comm(problem=_why_alone(environ, launcher))
    local_rank, local_size = _number(environ, launcher, "local_rank"), _number(environ, launcher, "local_size")
    if local_size is None and launcher.name == "Slurm":
        local_size = _slurm_local_size(environ)
    _check(environ, launcher)
    job_id = environ.get("PERUN_JOB_ID")
    if size > 1:
        job_id = job_id or launcher.job_id(environ, around) or run_id
        if not job_id:
            return Comm(launcher=launcher.name or None, problem=_no_id(launcher, rank, size))
    return Comm(
        rank, size, rank if local_rank is None else local_rank, job_id or None, local_size, launcher.name or None
    )


def _innermost(environ: _Environ, around: Surroundings) -> Launcher:
    found = [launcher for launcher in LAUNCHERS if all(environ.get(mark) for mark in launcher.marks)]
    if HYDRA in found and OPEN_MPI in found and TORCHRUN not in found:
        # One ran the other's mpirun. Whose process is nearer among our ancestors has started us.
        daemon = around.nearest(lambda process: process.name == _HYDRA_PROXY or process.name in _OPEN_MPI_DAEMONS)
        return HYDRA if daemon and daemon.name == _HYDRA_PROXY else OPEN_MPI
    return found[0] if found else NO_LAUNCHER


def _variable(environ: _Environ, launcher: Launcher, field: str) -> str:
    """The variable that tells a field: ours, if it is set, else the launcher's."""
    ours = f"PERUN_{field.upper()}"
    return ours if environ.get(ours) else str(getattr(launcher, field))


def _number(environ: _Environ, launcher: Launcher, field: str) -> int | None:
    name = _variable(environ, launcher, field)
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name}={text!r} is not a number of 0 or more: {_CHECK}")
    return int(text)


def _check(environ: _Environ, launcher: Launcher) -> None:
    """Ranks count from 0, and no host has more of them than there are."""
    for lower, upper in (("rank", "size"), ("local_rank", "size"), ("local_rank", "local_size")):
        _ordered(environ, _variable(environ, launcher, lower), _variable(environ, launcher, upper), 1)
    _ordered(environ, _variable(environ, launcher, "local_size"), _variable(environ, launcher, "size"), 0)


def _ordered(environ: _Environ, lower: str, upper: str, by: int) -> None:
    if environ.get(lower) and environ.get(upper) and int(environ[lower]) + by > int(environ[upper]):
        least = "less than" if by else "at most"
        raise InputError(
            f"{lower}={environ[lower]} and {upper}={environ[upper]} contradict each other: the first must be {least} "
            f"the second; {_CHECK}"
        )


def _why_alone(environ: _Environ, launcher: Launcher) -> str | None:
    """What suggests that there is a job although rank or size are unknown; None if nothing does."""
    if launcher is not NO_LAUNCHER:
        missing = launcher.size if environ.get(launcher.rank) else launcher.rank
        return f"{launcher.name} has started this process but {missing} is not set: {_ALONE}"
    if given := [f"{name}={environ[name]}" for name in ("PERUN_RANK", "PERUN_SIZE") if environ.get(name)]:
        return f"{given[0]} is set, but rank and size are needed: {_ALONE}"
    for name, looks_like in _HINTS.items():
        if environ.get(name):
            return f"{name}={environ[name]}: this looks like a process of {looks_like}: {_ALONE}"
    return None


def _no_id(launcher: Launcher, rank: int, size: int) -> str:
    by = f" of {launcher.name}" if launcher.name else ""
    return f"rank {rank} of {size}, but which job{by} this is can't be told: {_ALONE}"


_CHECK = "check the variables that the launcher sets, or replace them by PERUN_RANK, PERUN_SIZE and PERUN_LOCAL_RANK"
_ALONE = (
    "each rank gets a profile of its own. For a common one, set PERUN_RANK, PERUN_SIZE and, equal on all ranks, "
    "PERUN_JOB_ID"
)


def _hydra_id(environ: _Environ, around: Surroundings) -> str | None:
    """Intel MPI's hydra numbers its jobs. Of MPICH's, each host's proxy knows where mpiexec listens.

    A port may be used again by a later job. Ranks on one host have the same proxy, and no other job ever has that.
    """
    if uuid := environ.get("I_MPI_HYDRA_UUID"):
        return f"hydra {uuid}"
    proxy = around.nearest(lambda process: process.name == _HYDRA_PROXY)
    if proxy is None:
        return None
    if environ.get("PMI_SIZE") == environ["MPI_LOCALNRANKS"]:
        return f"hydra {proxy.identity}"
    listens = proxy.option("--control-port")
    return f"hydra {listens} {proxy.option('--pgid')}" if listens else None


def _generic_pmi_id(environ: _Environ, _around: Surroundings) -> str | None:
    """Of servers other than hydra's it isn't known whether they bear being asked twice: only what is set counts."""
    name = environ.get("PMI_JOBID") or environ.get("FLUX_JOB_ID")
    return f"pmi {name}" if name else None


def _open_mpi_id(environ: _Environ, around: Surroundings) -> str | None:
    """Its name for the job is host and pid of mpirun: in containers that are made anew those are always the same."""
    namespace = environ.get("PMIX_NAMESPACE")
    if not namespace:
        return None
    if environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ.get("OMPI_COMM_WORLD_SIZE"):
        daemon = around.nearest(lambda process: process.name in _OPEN_MPI_DAEMONS)
        return f"pmix {namespace} {daemon.identity}" if daemon else f"pmix {namespace}"
    return f"pmix {namespace}"


def _slurm_id(environ: _Environ, _around: Surroundings) -> str | None:
    job, step = environ.get("SLURM_JOB_ID"), environ.get("SLURM_STEP_ID")
    return f"slurm {job}.{step}" if job and step else None


def _pals_id(environ: _Environ, _around: Surroundings) -> str | None:
    return f"pals {environ['PALS_APID']}" if environ.get("PALS_APID") else None


def _torchrun_id(environ: _Environ, around: Surroundings) -> str | None:
    """Its run id is "none" unless one is given, and the port may be always the same: then more is needed."""
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    parts = [environ.get(name, "") for name in names]
    if environ["WORLD_SIZE"] == environ.get("LOCAL_WORLD_SIZE"):
        agent = around.nearest(lambda process: not process.has("TORCHELASTIC_RUN_ID"))
        parts.append(agent.identity if agent else "")
    elif step := _slurm_id(environ, around):
        parts.append(step)
    return "torchrun " + " ".join(parts)


def _no_id_known(_environ: _Environ, _around: Surroundings) -> str | None:
    return None


def _slurm_local_size(environ: _Environ) -> int | None:
    """This node's part of ``2(x3),1``: two tasks on each of three nodes, then one."""
    nodes = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    try:
        left = int(environ["SLURM_NODEID"])
        for group in nodes.split(","):
            tasks, _, times = group.partition("(x")
            left -= int(times.rstrip(")")) if times else 1
            if left < 0:
                return int(tasks)
    except (KeyError, ValueError):
        return None
    return None


_HYDRA_PROXY = "hydra_pmi_proxy"
_OPEN_MPI_DAEMONS = ("prted", "prterun", "prte", "orted", "orterun", "mpirun", "mpiexec")
_DAEMONS = (_HYDRA_PROXY, *_OPEN_MPI_DAEMONS, "slurmstepd", "palsd")

TORCHRUN = Launcher("torchrun", ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"),
                    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", _torchrun_id)  # fmt: skip
OPEN_MPI = Launcher("Open MPI", ("OMPI_COMM_WORLD_RANK",), "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", _open_mpi_id)  # fmt: skip
HYDRA = Launcher("hydra", ("PMI_RANK", "MPI_LOCALNRANKS"),
                 "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", _hydra_id)  # fmt: skip
# The size of the step is what a batch script and the shell of salloc don't have; they may have a rank.
SLURM = Launcher("Slurm", ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
                 "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "", _slurm_id)  # fmt: skip
# PALS itself has no variable for the size; its PMI (but not its PMIx) sets one.
PALS = Launcher("PALS", ("PALS_RANKID",),
                "PALS_RANKID", "PMI_SIZE", "PALS_LOCAL_RANKID", "PALS_LOCAL_SIZE", _pals_id)  # fmt: skip
PMI = Launcher("PMI", ("PMI_RANK", "PMI_SIZE"),
               "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE", _generic_pmi_id)  # fmt: skip
NO_LAUNCHER = Launcher("", (), "", "", "", "", _no_id_known)

# Innermost first. Slurm's own PMI and Cray's PALS plugin set their variables beside Slurm's, which tell more.
LAUNCHERS = (TORCHRUN, OPEN_MPI, HYDRA, SLURM, PALS, PMI)

# Set by launchers we don't read, or by known ones used in a way that leaves the rank out.
_HINTS = {
    "MV2_COMM_WORLD_RANK": "MVAPICH",
    "MPI_LOCALRANKID": "MPICH's or Intel MPI's mpirun",
    "PMI_RANK": "a launcher with PMI",
    "PMI_ID": "a launcher with PMI",
    "PMIX_RANK": "a launcher with PMIx",
    "FLUX_TASK_RANK": "Flux",
    "JSM_NAMESPACE_RANK": "jsrun",
    "ALPS_APP_PE": "aprun",
}
