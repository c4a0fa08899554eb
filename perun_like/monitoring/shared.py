"""A run of several ranks: one of those on a host has the sampler started that all of them share.

Nothing is ever communicated: who samples is a lock that the kernel keeps, who is left is a pipe that it keeps, and what
a rank has to say it writes into a directory on its host.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from perun_like.config import Settings
from perun_like.errors import SamplerError
from perun_like.launch.claim import Claim, Roll, job_directory
from perun_like.launch.comm import Comm
from perun_like.monitoring.measurement import READY_TIMEOUT_S, Measurement
from perun_like.sampling.host import host_identity
from perun_like.sampling.local import marks_directory, private_directory
from perun_like.sampling.process import SamplerProcess
from perun_like.sampling.ranks import VISIBILITY, is_ready, write_note
from perun_like.sampling.spool import footer
from perun_like.store.place import RunPlace

_LOOK_EVERY_S = 0.002  # while a rank waits for its host's sampler to be ready, and it and the others for its end
_END_TIMEOUT_S = 5.0
# Backends whose devices a job system may let one rank see and hide from another on the same host.
_OF_A_VIEW = ("nvml",)


class SharedMeasurement(Measurement):
    """A rank's part in the measurement of its job."""

    def __init__(self, place: RunPlace, comm: Comm, config: Settings, run: Mapping[str, Any]) -> None:
        super().__init__(place, comm, config, run)
        self._note: dict[str, Any] = {}
        self._shared = ""
        self._roll: Roll | None = None
        self._claims: list[Claim] = []

    def prepare(
        self,
        backends: Mapping[str, str],
        assigned: Mapping[str, Sequence[str]],
        sampler: SamplerProcess | None = None,
        *,
        in_place: bool = False,
    ) -> bool:
        """Be one of the host's ranks; whether it is this one that has the sampler started."""
        if sampler is not None:
            sampler.release()  # whether it is needed, and what it shall hold, is known only now
        try:
            self._join()
            if self._take(self._shared):
                self._say_view()
                self._start_sampler(backends, assigned, in_place, self._shared)
            else:
                self._await_ready()
                self._look_elsewhere(backends, assigned, in_place)
        except (SamplerError, OSError, TimeoutError) as error:
            self._lose(error)
        return self.sampler is not None

    def _join(self) -> None:
        rank = self._comm.rank
        directory = job_directory(private_directory(), host_identity(), str(self._comm.job_id))
        self._shared = os.path.join(directory, str(_nth_time(directory, rank)))
        self.marks = marks_directory(self._shared, rank)
        os.makedirs(self.marks, 0o700, exist_ok=True)
        self._note = {"cpus": _bound_cpus(), "environ": {k: os.environ[k] for k in VISIBILITY if k in os.environ}}
        write_note(self.marks, self._note)
        self._roll = Roll(self._shared)
        self._roll.enter(rank)

    def _take(self, directory: str) -> bool:
        claim = Claim(directory)
        if claim.try_take():
            self._claims.append(claim)
            return True
        return False

    def _start_sampler(
        self, backends: Mapping[str, str], assigned: Mapping[str, Sequence[str]], in_place: bool, shared: str
    ) -> None:
        """Have a sampler that holds the claim from now on, and lives until the host's last rank has ended."""
        claim = self._claims[-1]
        self.sampler = SamplerProcess(os.environ, orphan=in_place, held=claim.fds)
        claim.close()
        self._local = os.path.join(shared, f"sampler-{os.urandom(4).hex()}")
        os.mkdir(self._local, 0o700)
        order = self._order(backends, assigned) | {
            "part": self.place.part(f"{os.uname().nodename}-{os.path.basename(self._local)}"),
            "run_token": self._shared,
            "shared": self._shared,
            "until": os.path.join(self._shared, "running"),
            "marks": self._shared if shared == self._shared else None,
        }
        self.sampler.send("prepare", **order)
        self.sampler.wait_ready(READY_TIMEOUT_S)

    def _await_ready(self) -> None:
        """Wait until the host's sampler has read everything once."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(self._shared):
            if time.monotonic() > deadline:
                raise SamplerError(f"no sampler of this host was ready within {READY_TIMEOUT_S:g} s")
            time.sleep(_LOOK_EVERY_S)

    def _say_view(self) -> None:
        with open(os.path.join(self._shared, "view"), "w") as file:
            file.write(_view())

    def _look_elsewhere(
        self, backends: Mapping[str, str], assigned: Mapping[str, Sequence[str]], in_place: bool
    ) -> None:
        """Have a second sampler for devices that the host's can't open, if this rank may see others."""
        mine = _view()
        with open(os.path.join(self._shared, "view")) as file:
            if file.read() == mine:
                return
        directory = os.path.join(self._shared, f"view-{zlib.crc32(mine.encode()):08x}")
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        own = {name: spec for name, spec in backends.items() if name in _OF_A_VIEW}
        if own and self._take(directory):
            self._start_sampler(own, assigned, in_place, directory)

    def tell(self, type_: str, **content: Any) -> None:
        """Note something for the sampler."""
        if type_ == "watch":
            self._note["process"] = content["process"]
        elif type_ == "note":
            functions = self._note.setdefault("functions", {})
            functions[content["content"]["function"]] = content["content"]["place"]
        else:
            super().tell(type_, **content)
            return
        if self.marks is not None:
            try:
                write_note(self.marks, self._note)
            except OSError as error:
                self._lose(error)

    def sync(self, after_ns: int = 0) -> bool:
        """Have everything read that shows what there was at an instant: by asking, or by waiting for the next time."""
        if self.sampler is not None:
            return super().sync(after_ns)
        time.sleep(2 * self._config.period_ns / 1e9)
        return self.problem is None

    def stop(self, stop_ns: int) -> None:  # noqa: ARG002 - it is in the note
        """Leave the others."""
        if self._roll is not None:
            self._roll.leave()

    def finish(self, failed: bool) -> bool:
        """Wait as long as it is of use; whether all is there and it is this rank that makes a result of it.

        The launcher must see a failure at once: then nobody waits. Else the last rank of its host waits until its part
        is complete, as job systems end what is left without asking, and rank 0 until all are.
        """
        if not failed and self._roll is not None:
            self._await_others(self._roll)
        if self.reports and (failed or self.problem is not None):
            reason = f"{self.problem}; " if self.problem else ""
            self.problem = f"{reason}what was sampled is in {self.place.parts}: perun-like recover {self.place.parts}"
        return self.reports and not failed and self.problem is None

    def _await_others(self, roll: Roll) -> None:
        deadline = time.monotonic() + _END_TIMEOUT_S
        while self.reports and roll.ranks_alive():
            time.sleep(_LOOK_EVERY_S * 5)
            deadline = time.monotonic() + _END_TIMEOUT_S
        if not roll.ranks_alive():
            self._await_parts(deadline)

    @property
    def reports(self) -> bool:
        """Whether it is this rank that makes a result and tells of problems."""
        return self._comm.rank == 0

    def _await_parts(self, deadline: float) -> None:
        """Until this host's part is complete or, for who reports, all hosts' are."""
        wanted = set(range(self._comm.size)) if self.reports else {self._comm.rank}
        while lacking := wanted - self._complete():
            if time.monotonic() > deadline:
                if self.reports:
                    names = ", ".join(map(str, sorted(lacking)[:5])) + (", …" if len(lacking) > 5 else "")
                    self.problem = f"nothing has come from rank {names} after {_END_TIMEOUT_S:g} s"
                return
            time.sleep(_LOOK_EVERY_S * 5)

    def _complete(self) -> set[int]:
        """Ranks whose host's part is complete."""
        self.place.refresh()
        return {rank for path in self.place.part_files() for rank in (footer(path) or {}).get("ranks", ())}

    def release(self) -> None:
        """Let the sampler go: it ends by itself, and removes what is left."""
        if self.sampler is not None:
            self.sampler.disown()
            self.sampler = None
        for claim in self._claims:
            claim.close()

    def _lose(self, error: Exception) -> None:
        self.problem = self.problem or f"there is no complete measurement: {error}"
        self.release()


def _nth_time(directory: str, rank: int) -> int:
    """How many runs of this launch a rank has had before: all ranks have them in the same order."""
    fd = os.open(os.path.join(directory, f"runs-{rank}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b".")
        return os.fstat(fd).st_size - 1
    finally:
        os.close(fd)


def _bound_cpus() -> list[int]:
    """CPUs that this process may run on, if it is bound to some of them."""
    cpus = os.sched_getaffinity(0)
    return sorted(cpus) if len(cpus) < (os.cpu_count() or 1) else []


def _view() -> str:
    """What decides which GPUs this process can open: those that differ in it may see different ones."""
    devices = [name for name in sorted(os.listdir("/dev")) if name.startswith("nvidia") and name[6:].isdigit()]
    opened = [name for name in devices if _can_open(f"/dev/{name}")]
    return json.dumps([opened, *(os.environ.get(name) for name in ("NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"))])


def _can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
