"""What each host of a job has sampled as a file of its own, made on that host or, where it wasn't, by who comes later.

They are in the job's parts directory until the run's file is made: ``hosts/<host>-<hash>.h5``, ordinary results files
of one host each, and beside that directory a summary of each. Who puts the run together reads no more than summaries.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Sequence

from perun_like.analysis.merge import needed
from perun_like.errors import FileError, PerunError, StillWrittenError
from perun_like.model.joining import during, joined
from perun_like.model.recording import Recording
from perun_like.monitoring.results import result_of
from perun_like.sampling import spool_reader
from perun_like.sampling.distrust import open_plain
from perun_like.store import gather, schema, summary
from perun_like.store.assembly import assemble_host, order_of, part_files, parts_by_host, with_id
from perun_like.store.gather import HostFile
from perun_like.store.place import RunPlace
from perun_like.store.publish import has_stamp, publish
from perun_like.store.summary import Summary, read_summary, write_summary
from perun_like.store.writer import image_of

_DIRECTORY = "hosts"


def make_host_file(place: RunPlace, host: str) -> str | None:
    """Make the file of the host that this process is on, once its parts are complete.

    To be called by the last rank of a host: the hosts of a job then do it side by side. It does no harm if several do.

    Args:
        place: The run's.
        host: The host's identity.

    Returns:
        The file; None if nothing is to be made: the host's parts aren't complete, hold what was measured in place,
        or have become a result already.

    Raises:
        PerunError: it can't be written.
    """
    try:
        return _made_here(place, host)
    except (PerunError, OSError):
        if os.path.isdir(place.parts) and host not in [one.identity for one in summaries(place)]:
            raise
        return None  # somebody else was faster, and perhaps has made the result already


def _made_here(place: RunPlace, host: str) -> str | None:
    # Parts are named so: a look into those of all hosts, by all hosts, would take its time.
    paths = parts_by_host(part_files(place.parts, f"{os.uname().nodename}-")).get(host, [])
    if not paths or any(spool_reader.footer(path) is None for path in paths):
        return None
    recording = assemble_host(paths)
    if not is_host_file(recording):
        return None
    return os.path.join(directory_of(place), _make(place, host, paths, recording).file.name)


def is_host_file(recording: Recording) -> bool:
    """Whether what was recorded on a host can be analysed without the others: programs, each of which ran once."""
    in_place = any(host.rounds for host in recording.hosts)
    return not in_place and all(process.round == 0 for process in recording.processes)


def complete(place: RunPlace) -> list[Summary] | None:
    """Make the files of those hosts that have none, one after the other; what all of them say, in the run's order.

    Returns:
        None if there are fewer than two hosts, or they can only be looked at together.

    Raises:
        FileError: there is no part here, or one of them can't be read.
        PerunError: a part is still being written, or a file can't be.
    """
    made = {each.identity: each for each in made_already(place)}
    known = {name for each in made.values() for name in each.parts}
    left = parts_by_host([path for path in part_files(place.parts) if os.path.basename(path) not in known])
    if len(made.keys() | left.keys()) < 2:
        return None
    without_processes: dict[str, list[str]] = {}
    for host, others in left.items():
        paths = others + [os.path.join(place.parts, name) for name in made[host].parts] if host in made else others
        recording = _assembled(paths)
        if not is_host_file(recording):
            return None
        if recording.processes:
            made[host] = _make(place, host, paths, recording)
        else:
            without_processes[host] = paths
    return _in_order(place, made, without_processes)


def _in_order(place: RunPlace, made: dict[str, Summary], without_processes: dict[str, list[str]]) -> list[Summary]:
    """All of them; of hosts that were lost with what they knew of their ranks, the samples are of the whole run."""
    for host, paths in without_processes.items():
        others = [each.recording for each in made.values() if each.recording.processes]
        recording = _assembled(paths)
        made[host] = _make(place, host, paths, during(recording, joined(others)) if others else recording)
    return sorted(made.values(), key=lambda each: order_of(each.recording, each.parts[0]))


def made_already(place: RunPlace) -> list[Summary]:
    """Summaries of host files that are there and whole. What isn't is passed over: it is made again."""
    return [one for one in summaries(place) if _is_in(directory_of(place), one)]


def summaries(place: RunPlace) -> list[Summary]:
    """All summaries that are whole.

    Raises:
        OSError: there is no directory of parts.
    """
    found: list[Summary] = []
    for name in sorted(os.listdir(place.parts)):
        if name.endswith(summary.SUFFIX):
            with contextlib.suppress(FileError):
                found.append(read_summary(os.path.join(place.parts, name)))
    return found


def take_back(place: RunPlace, directory: str) -> None:
    """Move host files back to their place among the parts, for a master file that was never written.

    Args:
        place: The run's.
        directory: Where they may be, with what people had put beside them. If none is there, all stays as it is.
    """
    if not os.path.isdir(directory):
        return
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory_of(place))
    there = [one.file.name for one in summaries(place) if _is_in(directory, one)]
    for name in there:
        os.replace(os.path.join(directory, name), os.path.join(directory_of(place), name))
    if there:
        gather.give_back(directory, directory_of(place))
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def _is_in(directory: str, one: Summary) -> bool:
    with contextlib.suppress(OSError):
        return has_stamp(os.path.join(directory, one.file.name), one.file.stamp)
    return False


class Arrivals:
    """Which ranks' hosts have made their files, for who waits for them: each summary is read once.

    Args:
        place: The run's.
    """

    def __init__(self, place: RunPlace) -> None:
        self._place = place
        self._ranks: dict[str, set[int]] = {}

    def ranks(self) -> set[int]:
        """All ranks of all hosts that have made their files so far."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._place.parts):
                if name.endswith(summary.SUFFIX) and name not in self._ranks:
                    with contextlib.suppress(FileError):
                        one = read_summary(os.path.join(self._place.parts, name))
                        self._ranks[name] = {process.rank for process in one.recording.processes}
        return set().union(*self._ranks.values())


def directory_of(place: RunPlace) -> str:
    """Where the host files of a run are until the run's file is made."""
    return os.path.join(place.parts, _DIRECTORY)


def _assembled(paths: Sequence[str]) -> Recording:
    """A host's parts, whoever has made them; not those of samplers that live."""
    for path in paths:
        if spool_reader.footer(path) is None and is_being_written(path):
            raise StillWrittenError(f"{path} is still being written: wait until its program has ended")
    return assemble_host(paths)


def is_being_written(path: str) -> bool:
    """Whether a sampler holds the lock on its part; not if the file system has no locks."""
    with open_plain(path) as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _make(place: RunPlace, host: str, paths: Sequence[str], recording: Recording) -> Summary:
    """Make a host's file, and then say that it is there."""
    hostname = str(recording.hosts[0].host.get("hostname") or "")
    stem = f"{schema.plain(hostname)}-{zlib.crc32(host.encode(errors='surrogatepass')):08x}"
    named = with_id(recording, place.parts)
    tree = result_of(named)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory_of(place))
    stamp = publish(os.path.join(directory_of(place), f"{stem}.h5"), image_of(named, tree), replace=True)
    file = HostFile(f"{stem}.h5", stamp, {"hostname": hostname, "boot_id": recording.hosts[0].host.get("boot_id")})
    parts = tuple(sorted(os.path.basename(path) for path in paths))
    path = os.path.join(place.parts, stem + summary.SUFFIX)
    made = Summary(host, parts, file, recording._replace(hosts=()), path)
    write_summary(made, needed(tree))
    return made
