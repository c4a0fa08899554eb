"""A profiler without the profiling: asks, starts the program, takes leave, saves for a while, ends as it ended.

``stand_in.py DIRECTORY PROGRAM ARGS...``; DIRECTORY/RANK has the program's end once it is saved.
"""

from __future__ import annotations

import os
import sys
import time

from perun_like.launch.child import Child, SignalGate, end_like
from perun_like.launch.launchers import Surroundings, detect
from perun_like.launch.pmi import PmiServer

SAVING_S = 0.1

server = PmiServer.of(os.environ)
comm = detect(os.environ, None, Surroundings(server.job_name))
ending = Child(sys.argv[2:], dict(os.environ), SignalGate()).wait()
if ending.exit_code == 0:
    server.leave()
time.sleep(SAVING_S)  # stands for work of that length: a launcher that kills us meanwhile loses data
with open(os.path.join(sys.argv[1], str(comm.rank)), "w") as file:
    file.write(f"{ending.exit_code} {ending.signal} {comm.job_id} {server.asked}")
end_like(ending)
