"""From environments as launchers make them to a process's place in its job.

Those of hydra, Intel MPI, Open MPI and Slurm were captured from the programs themselves (MPICH 5.0.2, Intel MPI 2021,
Open MPI 5.0.11, Slurm 22.05), shortened to what matters; those of PALS and torchrun are as their sources set them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perun_like.config import RESERVED
from perun_like.errors import InputError
from perun_like.launch.comm import Comm
from perun_like.launch.launchers import LAUNCHERS, Surroundings, detect, launch_of

BOOT = "5b3c1b36-7d21-4f0e-9c55-000000000001"


def environ(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split())


HYDRA_ONE_HOST = environ("PMI_HOSTNAME=vm PMI_RANK=1 PMI_SIZE=2 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=1 PMI_FD=11")
HYDRA_TWO_HOSTS = environ("PMI_HOSTNAME=b PMI_RANK=2 PMI_SIZE=3 MPI_LOCALNRANKS=1 MPI_LOCALRANKID=0 PMI_FD=12")
INTEL_MPI = environ(
    "PMI_SIZE=3 PMI_RANK=2 PMI_FD=13 MPI_LOCALNRANKS=1 MPI_LOCALRANKID=0 HYDRA_BSTRAP_LOCALHOST=nodeb "
    "I_MPI_HYDRA_UUID=74280000-3ef1-648d-c660-0600787b3402"
)
OPEN_MPI = environ(
    "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 "
    "OMPI_COMM_WORLD_NODE_RANK=1 PMIX_RANK=1 PMIX_NAMESPACE=prterun-vm-4067@1 PRTE_LAUNCHED=1"
)
SLURM_BATCH = environ(
    "SLURM_JOB_ID=1 SLURM_JOBID=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=4 SLURM_NPROCS=4 "
    "SLURM_GTIDS=0 SLURM_TASKS_PER_NODE=2(x2)"
)
SLURM_SALLOC = environ("SLURM_JOB_ID=2 SLURM_NTASKS=2 SLURM_NPROCS=2 SLURM_TASKS_PER_NODE=2 SLURM_NNODES=1")
SLURM_STEP = environ(
    "SLURM_JOB_ID=3 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=3 SLURM_STEP_TASKS_PER_NODE=2,1 SLURM_PROCID=2 "
    "SLURM_LOCALID=0 SLURM_NODEID=1 SLURM_NTASKS=3 SLURM_GTIDS=2"
)
SLURM_PMI2 = {**SLURM_STEP, **environ("PMI_FD=11 PMI_JOBID=3.0 PMI_RANK=2 PMI_SIZE=3")}
SLURM_PMIX = {**SLURM_STEP, **environ("PMIX_RANK=2 PMIX_NAMESPACE=slurm.pmix.3.0")}
SLURM_PTY = environ(
    "SLURM_JOB_ID=4 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=1 SLURM_STEP_TASKS_PER_NODE=1 SLURM_PROCID=0 "
    "SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=1"
)
# mpirun in an allocation starts a proxy on each node by srun: two tasks of Slurm's, four ranks.
HYDRA_BY_SRUN = environ(
    "SLURM_JOB_ID=5 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=1(x2) SLURM_PROCID=1 "
    "SLURM_LOCALID=0 SLURM_NODEID=1 MPI_LOCALNRANKS=2 MPI_LOCALRANKID=1 PMI_FD=6 PMI_HOSTNAME=n2 PMI_RANK=3 PMI_SIZE=4"
)
PALS = environ(
    "PALS_APID=7f0c PALS_RANKID=5 PALS_LOCAL_RANKID=1 PALS_LOCAL_SIZE=4 PALS_NODEID=1 PALS_DEPTH=1 PALS_PMI=cray "
    "PMI_RANK=5 PMI_SIZE=8 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=4"
)
PALS_PMIX = {key: value for key, value in PALS.items() if not key.startswith("PMI_")} | {"PALS_PMI": "pmix"}
TORCHRUN = environ(
    "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 GROUP_RANK=1 MASTER_ADDR=n1 MASTER_PORT=29500 "
    "TORCHELASTIC_RUN_ID=none TORCHELASTIC_RESTART_COUNT=1 TORCHELASTIC_MAX_RESTARTS=3"
)


NOWHERE = Surroundings("/nonexistent", 40)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process file system with process 40, whose ancestors :func:`descend` gives."""
    boot = tmp_path / "sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text(f"{BOOT}\n")
    return tmp_path


def descend(proc: Path, *commands: str, **variables: str) -> Surroundings:
    """Process 40 is a child of the first command, and so on upwards; the nearest may have variables."""
    for at, command in enumerate(["perun-like", *commands]):
        pid, parent = 40 - at, 40 - at - 1 if at < len(commands) else 0
        name = command if command.endswith(")") else command.partition(" ")[0]
        (proc / str(pid)).mkdir()
        rest = " ".join(["S", str(parent), *["0"] * 17, str(pid * 1000), "0"])
        (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {rest}\n")
        text = "\0".join(f"{key}={value}" for key, value in variables.items()) if at == 1 else "HOME=/"
        (proc / str(pid) / "environ").write_text(text)
        (proc / str(pid) / "cmdline").write_text("\0".join(command.split()) + "\0")
    return Surroundings(str(proc), 40)


PROXY = "hydra_pmi_proxy --control-port n1:36173 --rmk user --launcher ssh --demux poll --pgid 0 --proxy-id 1"


@pytest.mark.parametrize(
    ("env", "place", "job_id", "launcher"),
    [
        pytest.param(INTEL_MPI, (2, 3, 0, 1), "hydra 74280000-3ef1-648d-c660-0600787b3402", "hydra", id="Intel MPI"),
        pytest.param(OPEN_MPI, (1, 3, 1, 2), "pmix prterun-vm-4067@1", "Open MPI", id="Open MPI"),
        pytest.param(SLURM_STEP, (2, 3, 0, 1), "slurm 3.0", "Slurm", id="srun"),
        pytest.param(SLURM_PMI2, (2, 3, 0, 1), "slurm 3.0", "Slurm", id="srun --mpi=pmi2"),
        pytest.param(SLURM_PMIX, (2, 3, 0, 1), "slurm 3.0", "Slurm", id="srun --mpi=pmix"),
        pytest.param(PALS, (5, 8, 1, 4), "pals 7f0c", "PALS", id="PALS"),
        pytest.param(TORCHRUN, (3, 4, 1, 2), "torchrun none n1 29500 1", "torchrun", id="torchrun, two hosts"),
        pytest.param(
            {**SLURM_BATCH, **OPEN_MPI}, (1, 3, 1, 2), "pmix prterun-vm-4067@1", "Open MPI", id="mpirun in sbatch"
        ),
        pytest.param({**SLURM_PMI2, **OPEN_MPI}, (1, 3, 1, 2), "pmix prterun-vm-4067@1", "Open MPI", id="in a step"),
        pytest.param(
            {**SLURM_STEP, **TORCHRUN},
            (3, 4, 1, 2),
            "torchrun none n1 29500 1 slurm 3.0",
            "torchrun",
            id="torchrun in a step",
        ),
        pytest.param({**OPEN_MPI, **TORCHRUN}, (3, 4, 1, 2), "torchrun none n1 29500 1", "torchrun", id="in mpirun"),
    ],
)
def test_each_launcher_and_each_in_another(
    env: dict[str, str], place: tuple[int, int, int, int], job_id: str, launcher: str
) -> None:
    rank, size, local_rank, local_size = place
    assert detect(env, "a run", NOWHERE) == Comm(rank, size, local_rank, job_id, local_size, launcher)


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"HOME": "/root", "PMI_RANK": "", "PERUN_RANK": "", "RANK": "3", "WORLD_SIZE": "4"}, id="none"),
        pytest.param(SLURM_BATCH, id="sbatch"),
        pytest.param(SLURM_SALLOC, id="salloc"),
    ],
)
def test_outside_of_jobs(env: dict[str, str]) -> None:
    assert detect(env, "a run", NOWHERE) == Comm()


@pytest.mark.parametrize(
    ("env", "launcher"),
    [(SLURM_PTY, "Slurm"), ({**HYDRA_ONE_HOST, "PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALNRANKS": "1",
                             "MPI_LOCALRANKID": "0"}, "hydra")],
)  # fmt: skip
def test_one_rank_has_nobody_to_share_an_id_with(env: dict[str, str], launcher: str) -> None:
    assert detect(env, "a run", NOWHERE) == Comm(launcher=launcher)


def test_on_one_host_hydra_s_proxy_names_the_job_through_wrappers(proc: Path) -> None:
    around = descend(proc, "sh", "time (1)", "hydra_pmi_proxy", "mpiexec.hydra", "bash", PMI_RANK="1")
    assert detect(HYDRA_ONE_HOST, None, around) == Comm(1, 2, 1, f"hydra {BOOT} 37 37000", 2, "hydra")


@pytest.mark.parametrize("env", [HYDRA_TWO_HOSTS, HYDRA_BY_SRUN], ids=["ssh", "mpirun that uses srun"])
def test_on_several_hosts_it_is_where_mpiexec_listens_to_the_proxies(proc: Path, env: dict[str, str]) -> None:
    around = descend(proc, "sh", PROXY, "slurmstepd")
    assert detect(env, None, around).job_id == "hydra n1:36173 0"


def test_a_proxy_that_hides_its_options_names_no_job(proc: Path) -> None:
    comm = detect(HYDRA_TWO_HOSTS, None, descend(proc, "sh", "hydra_pmi_proxy --control-port"))
    assert comm.job_id is None
    assert "can't be told" in str(comm.problem)


def test_on_one_host_open_mpi_s_daemon_makes_its_name_for_the_job_unique(proc: Path) -> None:
    around = descend(proc, "sh", "prterun", "bash")
    env = {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "2"}
    assert detect(env, None, around).job_id == f"pmix prterun-vm-4067@1 {BOOT} 38 38000"
    assert detect(OPEN_MPI, None, around).job_id == "pmix prterun-vm-4067@1"


@pytest.mark.parametrize(
    ("commands", "nearest"),
    [
        (("sh", PROXY, "mpirun"), "hydra_pmi_proxy"),
        (("sh", "slurmstepd", "prted"), "slurmstepd"),
        (("bash", "x"), "bash"),
    ],
)
def test_what_launched_us_is_a_daemon_or_else_our_parent(proc: Path, commands: tuple[str, ...], nearest: str) -> None:
    found = launch_of(descend(proc, *commands))
    assert found is not None
    assert found.name == nearest
    assert found.identity == f"{BOOT} {found.pid} {found.pid * 1000}"


def test_on_one_host_torchrun_s_agent_names_the_job(proc: Path) -> None:
    around = descend(proc, "sh", "torchrun", "bash", TORCHELASTIC_RUN_ID="none")
    env = {**TORCHRUN, "RANK": "1", "WORLD_SIZE": "2"}
    assert detect(env, None, around) == Comm(
        1, 2, 1, f"torchrun none n1 29500 1 {BOOT} 38 38000", 2, "torchrun"
    )  # fmt: skip


@pytest.mark.parametrize(("nearest", "launcher"), [("hydra_pmi_proxy", "hydra"), ("prterun", "Open MPI")])
def test_of_two_mpirun_the_nearer_one_counts(proc: Path, nearest: str, launcher: str) -> None:
    others = {"hydra_pmi_proxy": "prterun", "prterun": "hydra_pmi_proxy"}
    around = descend(proc, "sh", nearest, "mpirun", "python", others[nearest])
    assert detect({**HYDRA_ONE_HOST, **OPEN_MPI}, None, around).launcher == launcher


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (HYDRA_TWO_HOSTS, "rank 2 of 3, but which job of hydra this is can't be told"),
        ({**OPEN_MPI, "PMIX_NAMESPACE": ""}, "rank 1 of 3, but which job of Open MPI this is can't be told"),
        (environ("PMI_RANK=1 PMI_SIZE=2 PMI_FD=8 MPI_APPNUM=0"), "rank 1 of 2, but which job of PMI"),  # gforker
        ({"PERUN_RANK": "1", "PERUN_SIZE": "2"}, "rank 1 of 2, but which job this is can't be told"),
        (PALS_PMIX, "PALS has started this process but PMI_SIZE is not set"),
        ({"PERUN_SIZE": "2"}, "PERUN_SIZE=2 is set, but rank and size are needed"),
        (environ("MPI_LOCALNRANKS=2 MPI_LOCALRANKID=0 PMI_PORT=vm:40421 PMI_ID=1"), "MPI_LOCALRANKID=0: this looks"),
        (environ("PMIX_RANK=0 PMIX_NAMESPACE=prterun-vm-5058@1"), "PMIX_RANK=0: this looks like a process of a launch"),
        (environ("MV2_COMM_WORLD_RANK=0 MV2_COMM_WORLD_SIZE=2"), "MVAPICH"),
        (environ("FLUX_TASK_RANK=0 FLUX_JOB_SIZE=2"), "Flux"),
        (environ("JSM_NAMESPACE_RANK=0"), "jsrun"),
        (environ("ALPS_APP_PE=0"), "aprun"),
    ],
)  # fmt: skip
def test_what_can_t_be_told_leaves_a_rank_alone_and_says_what_helps(env: dict[str, str], told: str) -> None:
    comm = detect(env, None, NOWHERE)
    assert comm.problem is not None
    assert told in comm.problem
    assert "PERUN_RANK, PERUN_SIZE and, equal on all ranks, PERUN_JOB_ID" in comm.problem
    assert (comm.rank, comm.size, comm.job_id) == (0, 1, None)


def test_a_run_id_names_a_job_that_nothing_else_names() -> None:
    assert detect(HYDRA_TWO_HOSTS, "first", NOWHERE).job_id == "first"
    assert detect(OPEN_MPI, "first", NOWHERE).job_id == "pmix prterun-vm-4067@1"


def test_our_variables_replace_the_launcher_s_one_by_one() -> None:
    ours = environ("PERUN_RANK=6 PERUN_SIZE=9 PERUN_LOCAL_RANK=2 PERUN_LOCAL_SIZE=3 PERUN_JOB_ID=night")
    assert detect(ours) == Comm(6, 9, 2, "night", 3)
    assert detect({"PERUN_RANK": "6", "PERUN_SIZE": "9"}, "night") == Comm(6, 9, 6, "night", None)
    assert detect({**PALS_PMIX, "PERUN_SIZE": "8"}) == Comm(5, 8, 1, "pals 7f0c", 4, "PALS")
    assert detect({**OPEN_MPI, "PERUN_JOB_ID": "night"}) == Comm(1, 3, 1, "night", 2, "Open MPI")
    assert {f"PERUN_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "JOB_ID")} <= RESERVED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"OMPI_COMM_WORLD_RANK": "3"}, "OMPI_COMM_WORLD_RANK=3 and OMPI_COMM_WORLD_SIZE=3 contradict"),
        ({"OMPI_COMM_WORLD_SIZE": "0"}, "OMPI_COMM_WORLD_RANK=1 and OMPI_COMM_WORLD_SIZE=0 contradict"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2"}, "LOCAL_RANK=2 and OMPI_COMM_WORLD_LOCAL_SIZE=2 contradict"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "LOCAL_SIZE=4 and OMPI_COMM_WORLD_SIZE=3 contradict"),
        ({"PERUN_SIZE": "1"}, "OMPI_COMM_WORLD_RANK=1 and PERUN_SIZE=1 contradict"),
        ({"OMPI_COMM_WORLD_RANK": "-1"}, "OMPI_COMM_WORLD_RANK='-1' is not a number of 0 or more"),
        ({"OMPI_COMM_WORLD_SIZE": "three"}, "OMPI_COMM_WORLD_SIZE='three' is not a number"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1.0"}, "OMPI_COMM_WORLD_LOCAL_RANK='1.0' is not a number"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "²"}, "OMPI_COMM_WORLD_LOCAL_SIZE='²' is not a number"),
    ],
)
def test_contradictions_are_refused_by_name_and_value(change: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        detect({**OPEN_MPI, **change}, None, NOWHERE)
    assert told in str(caught.value)
    assert "PERUN_RANK" in str(caught.value)


@pytest.mark.parametrize(
    ("per_node", "node", "size"),
    [("2(x3),1", "2", 2), ("2(x3),1", "3", 1), ("16", "0", 16), ("4,3(x2)", "1", 3),
     ("2", "1", None), ("", "0", None), ("two", "0", None), ("2", "", None)],
)  # fmt: skip
def test_slurm_s_tasks_of_a_node(per_node: str, node: str, size: int | None) -> None:
    env = {**SLURM_STEP, "SLURM_STEP_TASKS_PER_NODE": per_node, "SLURM_NODEID": node, "SLURM_STEP_NUM_TASKS": "99"}
    assert detect(env).local_size == size


def test_every_launcher_s_marks_are_needed() -> None:
    """Any launcher in the table is found by its marks alone, and by nothing less."""
    for launcher in LAUNCHERS:
        marks = dict.fromkeys(launcher.marks, "0") | {launcher.size: "1"}
        found = detect({**marks, "WORLD_SIZE": "1"}).launcher
        assert found == launcher.name
        for mark in launcher.marks:
            assert detect({key: value for key, value in marks.items() if key != mark}).launcher != launcher.name


def test_our_real_ancestors_are_seen() -> None:
    code = (
        "from perun_like.launch.launchers import HERE\n"
        "nearest = HERE.nearest(lambda process: not process.has('PERUN_TEST_MARK'))\n"
        "print(nearest.identity.split()[1])"
    )
    mine = Path("/proc/self/stat").read_text().split()[0]
    inner = [sys.executable, "-c", code]
    marked = ["sh", "-c", '"$@"; true', "sh", *inner]  # one more process in between, with the variable
    said = subprocess.run(marked, env={"PERUN_TEST_MARK": "1"}, capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.split() == [mine]


def test_a_process_s_start_is_told_in_real_time() -> None:
    code = "from perun_like.launch.ancestors import ancestors; print(next(ancestors('/proc')).started_unix_s)"
    before = time.time()
    said = subprocess.run(
        ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", code], stdout=-1, timeout=30, check=True
    )
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before - 2 * tick <= float(said.stdout) <= time.time()


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; before = set(sys.modules); import perun_like.launch.launchers\n"
    code = f"import typing; {code}print(*sorted(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not {"socket", "subprocess", "select", "ctypes", "threading", "hashlib", "dataclasses"} & set(
        said.stdout.split()
    )
    assert detect({}) == (0, 1, 0, None, 1, None, None)
