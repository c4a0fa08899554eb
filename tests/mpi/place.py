"""A rank of a job: what we tell from its environment, and what MPI says. One file a rank, named by MPI's rank."""

from __future__ import annotations

import json
import os
import sys

from mpi4py import MPI

from perun_like.launch.launchers import detect

comm = detect(os.environ)
world = MPI.COMM_WORLD
host = world.Split_type(MPI.COMM_TYPE_SHARED, world.rank)
truth = {"rank": world.rank, "size": world.size, "local_rank": host.rank, "local_size": host.size}
seen = {"host": os.uname().nodename, "host_id": os.environ.get("PERUN_HOST_ID")}
powercap = "/sys/class/powercap/name"
if os.path.exists(powercap):
    with open(powercap) as file:
        seen["powercap"] = file.read()
with open(os.path.join(sys.argv[1], f"{world.rank}.json"), "w") as file:
    json.dump({"comm": comm._asdict(), "truth": truth, **seen}, file)
