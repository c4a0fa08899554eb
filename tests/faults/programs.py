"""Programs that faults befall: each says that it has begun, works as long as it is told to, says that it is done."""

from __future__ import annotations

BEGIN = """
import os, signal, sys, time
from perun_like import region

def begun():
    with open("begun", "w") as pipe:  # who strikes waits for this
        pipe.write(f"{os.getpid()}\\n")

def work(seconds=float(sys.argv[1])):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with region("step"):
            sum(range(5_000))
        time.sleep(0.004)

"""
END = "print('done', flush=True)\n"


def program(middle: str = "work()\n", before: str = "") -> str:
    """A script that does something after it has begun.

    Args:
        middle: Statements, which may call ``work``.
        before: Statements before it says that it has begun.
    """
    return f"{BEGIN}{before}\nprint('ready', flush=True)\nbegun()\n{middle}\n{END}"


STEADY = program()
PROFILES = "from perun_like import profile\n"
NEVER_PROFILES = "profile = lambda **options: lambda function: function\n"
IN_PLACE = program(
    "for _ in range(4):\n    step(float(sys.argv[1]) / 4)\n",
    f"{PROFILES}@profile(name='app', period='10ms', output='results')\ndef step(seconds): work(seconds)\nstep(0.01)\n",
)
