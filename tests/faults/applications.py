"""Programs that do what few programs do, some of them to us; in half of the tries our sampler is killed as well."""

from __future__ import annotations

import os
from pathlib import Path

from . import processes
from .fault import Fault, Unavailable
from .programs import PROFILES, program
from .trial import Trial


def perhaps_killed(trial: Trial) -> None:
    """Kill the sampler at a random moment, or don't."""
    if trial.random.random() < 0.5:
        trial.kill("sampler")
        trial.cuts = trial.app is not None and not processes.await_end(trial.app, 0)  # else the run was over before


def as_root(trial: Trial) -> None:
    """A user who may become others."""
    ids = Path("/proc/self/uid_map").read_text().split()
    if os.getuid() != 0 or int(ids[2]) < 65535:
        raise Unavailable("only root can drop privileges")


def lines(*words: str) -> str:
    """Statements, a line each."""
    return "\n".join(words)


FORKS = lines(
    "pids = []",
    "for _ in range(3):",
    "    pids.append(os.fork())",
    "    if not pids[-1]:",
    "        work()",
    "        os._exit(4)",
    "print([os.waitpid(pid, 0)[1] for pid in pids])",
)
HANDLES_SIGNALS = lines(
    "for number in set(signal.Signals) - {9, 19}: signal.signal(number, lambda *_: print('seen'))",
    "work()",
    "os.kill(os.getpid(), signal.SIGUSR1)",
    "os.kill(os.getpid(), signal.SIGTERM)",
    "work(0.05)",
)
LIMITS_ITSELF = lines(
    "import resource",
    "for name in ('NOFILE', 'NPROC', 'FSIZE', 'CORE'):",
    "    resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (8, 8))",
    "work()",
)
POOL = lines(
    "with multiprocessing.get_context('fork').Pool(2) as pool:", "    pool.map(work, [float(sys.argv[1])] * 2)"
)
ABORTS = lines(
    "for _ in range(2):", "    if not os.fork():", "        work(0.3)", "        os._exit(0)", "work()", "os.abort()"
)
DAEMON = lines("work(0.1)", "if os.fork(): os._exit(0)", "os.setsid()", "if os.fork(): os._exit(0)", "work()")
PROGRAMS = {
    "forks": program(FORKS),
    "leaves children behind": program("if not os.fork():\n    time.sleep(0.5)\n    os._exit(0)\nwork()"),
    "execs another program": program("work(0.1)\nos.execlp('sh', 'sh', '-c', 'sleep $0; echo replaced', sys.argv[1])"),
    "closes all descriptors": program("os.closerange(0, 4096)\nwork()\nos._exit(7)"),
    "changes directory": program("os.mkdir('d')\nos.chdir('d')\nwork()"),
    "replaces signal handlers": program(HANDLES_SIGNALS),
    "blocks all signals": program("signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))\nwork()"),
    "limits itself": program(LIMITS_ITSELF),
    "works in a forked pool": program(POOL, "import multiprocessing"),
    "aborts and leaves children": program(ABORTS, "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))"),
}
WORKERS = program(
    lines(
        "pids = []",
        "for _ in range(2):",
        "    pids.append(os.fork())",
        "    if not pids[-1]:",
        "        step(float(sys.argv[1]))",
        "        os._exit(3)",
        "print([os.waitpid(pid, 0)[1] for pid in pids])",
    ),
    f"{PROFILES}@profile(name='app', period='10ms', output='results')\ndef step(seconds): work(seconds)\n",
)
# Files of ours in a worker's own memory: none if there is any doubt about it, and none in a run without us.
FINDS_OURS = lines(
    "def ours():",
    "    run = os.environ.get('PERUN_RUN')",
    "    top = os.path.dirname(run) if run else ''",
    "    sure = top.startswith('/dev/shm/perun-') and os.path.isdir(top) and os.path.realpath(top) == top",
    "    return [os.path.join(at, name) for at, _, names in os.walk(top) for name in names] if sure else []",
)
DELETES = program("work(0.2)\nfor path in ours(): os.unlink(path)\nwork()", FINDS_OURS)
TRUNCATES = program(
    "work(0.2)\nfor path in ours():\n    if not os.path.islink(path): os.truncate(path, 0)\nwork()", FINDS_OURS
)
IN_DIRECTORY = program(before="os.mkdir('d')\nos.chdir('d')\nos.symlink('../begun', 'begun')")
IN_CELL = program("os.mkdir('d')\nos.chroot('d')\nos.chdir('/')\nwork()")
AS_NOBODY = program("os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\nwork()")


def directory_removed(trial: Trial) -> None:
    """The directory that the program works in is removed."""
    trial.moment()
    trial.remove(trial.directory / "d")


FAULTS = [
    *(Fault(f"program {name}", perhaps_killed, source) for name, source in PROGRAMS.items()),
    Fault("program becomes a daemon", perhaps_killed, program(DAEMON), output=False),  # it goes on printing
    Fault("program's directory is removed", directory_removed, IN_DIRECTORY, apart=True),
    Fault("program changes its root", perhaps_killed, IN_CELL, apart=True),
    Fault("program drops privileges", perhaps_killed, AS_NOBODY, setup=as_root, apart=True),
    Fault("program deletes our files", program=DELETES, apart=True),
    Fault("program truncates our files", program=TRUNCATES, apart=True, cuts=True, most_lost_s=30),
    Fault("workers that measure themselves and end by _exit", program=WORKERS, in_place=True),
]
