"""Small programs whose fate and output must not depend on being watched.

Each is a shell line; ``{run}`` stands for the way to run a script (``python`` or ``perun-like profile``), ``{exec}`` for
the way to run an executable. The files beside it are written first.
"""

from __future__ import annotations

from typing import NamedTuple


class Program(NamedTuple):
    """One row of the table."""

    name: str
    source: str = ""
    line: str = "{run} script.py"
    stdin: str = ""


PROGRAMS = [
    Program("empty file"),
    Program("pass", "pass"),
    Program("prints", "import sys; print('out'); print('err', file=sys.stderr)"),
    Program("exit 0", "import sys; sys.exit(0)"),
    Program("exit 3", "import sys; sys.exit(3)"),
    Program("exit with a message", "import sys; sys.exit('no such galaxy')"),
    Program("exit beyond a byte", "import sys; sys.exit(300)"),
    Program("exit without sys", "raise SystemExit(4)"),
    Program("raises", "def f(): raise ValueError('wrong')\nf()"),
    Program("raises from another", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e"),
    Program("recursion error", "def f(): f()\nf()"),
    Program("syntax error", "def f(:\n    pass"),
    Program("keyboard interrupt", "raise KeyboardInterrupt"),
    Program("_exit", "import os; print('lost', end=''); os._exit(7)"),
    Program("abort", "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"),
    Program("segmentation fault", "import ctypes, resource; resource.setrlimit(4, (0, 0)); ctypes.string_at(0)"),
    Program("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    Program("terminated", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    Program("user signal", "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)"),
    Program("real-time signal", "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN)"),
    Program(
        "handles its signals",
        "import os, signal\nsignal.signal(signal.SIGTERM, lambda *a: print('term'))\nos.kill(os.getpid(), signal.SIGTERM)",
    ),
    Program("what it is", "import sys; print(__name__, __file__, sys.argv, sys.path[0], __package__, __spec__)"),
    Program("arguments", "import sys; print(sys.argv)", "{run} script.py --help -m x --period 1ms -- '' 'a b'"),
    Program("pickles its classes", "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))))"),
    Program("is main", "import sys; print(sys.modules['__main__'].__file__, sys.flags, sys.warnoptions)"),
    Program("reads its input", "import sys; print(sys.stdin.read().upper())", stdin="galaxies\nof stars\n"),
    Program("script from its input", "", "{run} - 1 2", stdin="import sys; print(sys.argv, __name__)"),
    Program("script from a pipe", "", "{run} <(echo 'import sys; print(42, sys.argv[1:]); sys.exit(7)') 1"),
    Program("no input", "import sys; print(sys.stdin)", "{run} script.py <&-"),
    Program("no output", "import sys, os; os.write(2, repr(sys.stdout).encode()); print('x')", "{run} script.py >&-"),
    Program("no streams", "import os; os.mkdir('made'); print('x')", "{run} script.py <&- >&- 2>&-; test -d made"),
    Program("much output", "for i in range(100_000): print(i, 'x' * 10)"),
    Program("a reader that leaves", "for i in range(100_000): print(i)", "{run} script.py 2>/dev/null | head -n 1"),
    Program(
        "binary output", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 99)", "{run} script.py | od | tail"
    ),
    Program("unicode", "print('ä☃𝄞')"),
    Program(
        "threads",
        "import threading\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join(); print('main')",
    ),
    Program("at exit", "import atexit; atexit.register(print, 'bye'); print('hello')"),
    Program("asyncio", "import asyncio\nasync def f(): await asyncio.sleep(0.01); print('slept')\nasyncio.run(f())"),
    Program("forks", "import os\np = os.fork()\nif not p: os._exit(5)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))"),
    Program(
        "leaves a daemon",
        "import os\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n        open('pid', 'w').write(str(os.getsid(0)))\n"
        "    os._exit(0)\nos.wait(); print('left')",
    ),
    *(
        Program(
            f"multiprocessing {method}",
            "import multiprocessing as mp, os\nclass P:\n    def __init__(self, x): self.x = x\n"
            "def f(p): return p.x * p.x\n"
            f"if __name__ == '__main__':\n    with mp.get_context('{method}').Pool(2) as pool:\n"
            "        print(pool.map(f, [P(1), P(2), P(3)]))",
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    Program(
        "process pool",
        "from concurrent.futures import ProcessPoolExecutor as E\n"
        "if __name__ == '__main__':\n    with E(2) as e: print(list(e.map(abs, [-1, 2])))",
    ),
    Program(
        "subprocess", "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'exit(9)']).returncode)"
    ),
    Program("execs", "import os; os.execlp('sh', 'sh', '-c', 'echo replaced; exit 6')"),
    Program("closes all descriptors", "import os; os.closerange(0, 4096); os._exit(8)"),
    Program("lists its descriptors", "import os; print(sorted(os.listdir('/proc/self/fd')))"),
    Program("inherits a descriptor", "import os; print(os.read(7, 99))", "echo handed over >f; {run} script.py 7<f"),
    Program(
        "signal state",
        "import signal\nprint(signal.pthread_sigmask(0, []))\n"
        "print([l for l in open('/proc/self/status') if l.startswith(('SigIgn', 'SigBlk'))])",
    ),
    Program(
        "ignored signals",
        "print([l for l in open('/proc/self/status') if l.startswith('SigIgn')])",
        "trap '' INT TERM HUP CHLD USR1; {run} script.py",
    ),
    Program("signals of an executable", "", "trap '' HUP; {exec} grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status"),
    Program(
        "environment",
        "import os\nfor k, v in sorted(os.environb.items()):\n    if k not in (b'PERUN_RUN', b'_'): print(k, v)",
        "LC_ALL=C HOME=/nowhere X=$'\\xff' {run} script.py",
    ),
    Program(
        "environment in the C locale",
        "import os; print({**os.environ, 'PERUN_RUN': 0})",
        "env -i PERUN_RUN=x LC_ALL=C {run} script.py",
    ),
    Program(
        "limits and place",
        "import os, resource as r\nprint(os.getcwd(), os.umask(0), os.nice(0), os.getuid(), os.sched_getaffinity(0))\n"
        "print([r.getrlimit(n) for n in range(15)], os.getpriority(0, 0), os.sched_getscheduler(0))",
        "umask 027; nice -n 3 {run} script.py",
    ),
    Program(
        "process group",
        "import os; print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid())",
        "{run} script.py | cat",
    ),
    Program("terminal", "import sys; print(sys.stdin.isatty(), sys.stdout.isatty())"),
    Program("changes directory", "import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); print('gone')"),
    Program("module", "", "echo '{{\"a\": [1]}}' | {run} -m json.tool --indent 1"),
    Program("missing module", "", "{run} -m no_such_module"),
    Program("package", "print('in a directory', __name__)", "mkdir p; cp script.py p/__main__.py; {run} p"),
    Program("executable", "", "{exec} sh -c 'echo out; echo err >&2; exit 3'"),
    Program("executable that is killed", "", "{exec} sh -c 'kill -9 $$'"),
    Program("executable that reads", "", "{exec} tr a-z A-Z", stdin="shout"),
    Program("pipes of an executable", "", "{exec} yes 2>&1 | head -n 2"),
    Program("script without interpreter line", "", "echo 'echo $0 $1' >s; chmod +x s; {exec} ./s 1"),
    Program("name with spaces", "", "cp /bin/sh './my shell'; {exec} './my shell' -c 'exit 11'"),
]
