"""A job of several hosts becomes the same result whoever puts it together, when, and after whichever interruption."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jobs_of_hosts import STARTED_UNIX_NS, S, devices_of, job, part_of, start_ns, usual
from recordings import rounds
from stored_recordings import assert_same

from perun_like.errors import FileError, InputError, PerunError
from perun_like.model.check import self_check
from perun_like.model.node import NodeType
from perun_like.model.recording import Recording
from perun_like.model.serial import to_dict
from perun_like.monitoring import host_files, journal
from perun_like.monitoring.host_files import Arrivals, complete, directory_of, make_host_file
from perun_like.monitoring.results import result_of
from perun_like.monitoring.saving import recover, save_job
from perun_like.store import gather
from perun_like.store.assembly import assemble
from perun_like.store.belongings import has_belongings
from perun_like.store.place import RunPlace
from perun_like.store.publish import Stamp
from perun_like.store.reader import load, open_run, read_recording

Parts = list[tuple[int, Recording]]


def with_host(recording: Recording, **facts: Any) -> Recording:
    """The same with other facts about its host."""
    (host,) = recording.hosts
    return recording._replace(hosts=(host._replace(**facts),))


def cut(number: int, ranks: Sequence[int], size: int) -> Recording:
    """A host of which the sampler was killed."""
    return with_host(part_of(number, ranks, size), cut="the sampling process was killed", stats={})


def lost(number: int, size: int) -> Recording:
    """A host that was lost before anything was known of its ranks."""
    return cut(number, [], size)._replace(processes=())


def of_one_name() -> Parts:
    """Hosts that are called the same."""
    return [(n, with_host(part, host={**part.hosts[0].host, "hostname": "node"})) for n, part in usual()]


def nameless() -> Parts:
    """Hosts of which nobody knows what they are called, nor their boot ids."""
    unknown = {"hostname": None, "boot_id": None}
    return [(n, with_host(part, host=part.hosts[0].host | unknown)) for n, part in usual()]


def of_different_periods() -> Parts:
    """Each reads less often than the one before; the last has no energy to read."""
    parts = usual()
    streams = [part.hosts[0].streams for _, part in parts]
    slower = streams[1][0]._replace(
        period_ns=200_000_000,
        **{name: getattr(streams[1][0], name)[..., ::2] for name in ("t0_ns", "t1_ns", "raw", "valid")},
    )
    kept = [streams[0], (slower, streams[1][1]), streams[2][1:]]
    return [(n, with_host(part, streams=those)) for (n, part), those in zip(parts, kept, strict=True)]


JOBS: dict[str, Parts] = {
    "three hosts": usual(),
    "two hosts of one rank": usual(2, 1),
    "a second sampler": [*usual(), (1, devices_of(1, 6))],
    "hosts that begin and end at different times": [
        (0, part_of(0, [0, 1], 5, 2.0)),
        (1, part_of(1, [2], 5, 7.0)),
        (2, part_of(2, [3, 4], 5, 4.0)),
    ],
    "a host whose sampler was killed": [*usual(2)[:1], (1, cut(1, [0, 1], 4))],
    "a lost host": [(0, part_of(0, [0, 1], 6)), (1, lost(1, 6)), (2, part_of(2, [4, 5], 6, 6.0))],
    "only lost hosts": [(0, lost(0, 4)), (1, lost(1, 4))],
    "hosts of one name": of_one_name(),
    "hosts without a name": nameless(),
    "hosts of different periods": of_different_periods(),
    "a failed rank": [
        (0, part_of(0, [0], 2)),
        (1, part_of(1, [1], 2)._replace(processes=(part_of(1, [1], 2).processes[0]._replace(exit_code=3),))),
    ],
    "long columns": [(n, part_of(n, [n], 2, 900.0)) for n in range(2)],
}


@pytest.fixture(params=["one file", "a master file"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the hosts are few enough to become one file."""
    if request.param == "a master file":
        monkeypatch.setattr(gather, "MOST_HOSTS", 1)
    return str(request.param)


@pytest.mark.parametrize("name", JOBS)
def test_what_is_read_is_what_was_sampled(tmp_path: Path, kind: str, name: str) -> None:
    """To the last bit, as if all parts had been read at once."""
    place = job(tmp_path, JOBS[name])
    at_once = assemble(place.parts)
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)
    with open_run(path) as run:
        assert run.is_master == (kind == "a master file")
    assert not os.path.exists(place.parts)


@pytest.mark.parametrize("name", JOBS)
def test_the_result_is_that_of_all_samples_at_once(tmp_path: Path, kind: str, name: str) -> None:
    place = job(tmp_path, JOBS[name])
    at_once = result_of(assemble(place.parts))
    tree, path = save_job(place)
    assert to_dict(tree) == to_dict(at_once)
    assert to_dict(load(path)) == to_dict(at_once)
    assert self_check(tree) == []


def test_times_and_ranks_are_those_of_the_job(tmp_path: Path) -> None:
    """Hosts booted hours apart; the truth is what the job was made of."""
    place = job(tmp_path, JOBS["hosts that begin and end at different times"])
    tree, path = save_job(place)
    (run,) = tree.find(NodeType.RUN)
    assert run.metadata["started_unix_ns"] == STARTED_UNIX_NS
    begun_ns = {process.rank: process.start_ns - start_ns(0) for process in read_recording(path).processes}
    assert begun_ns == {0: 0, 1: 1_000_000, 2: 2_000_000, 3: 0, 4: 1_000_000}
    assert run.metadata["window_ns"] == [start_ns(0), start_ns(0) + 7 * S]
    assert run.metrics["runtime_s"].value == 7.0
    lengths = {node.id: node.metrics["runtime_s"].value for node in run.nodes}
    assert lengths == {"node0": 2.0, "node1": 6.998, "node2": 4.0}
    assert [rank.rank for rank in run.ranks] == [0, 1, 2, 3, 4]
    assert [rank.host for rank in run.ranks] == ["node0", "node0", "node1", "node2", "node2"]
    assert sorted({region.rank for region in run.regions}) == [0, 1, 2, 3, 4]


def test_ranks_that_left_nothing_are_named(tmp_path: Path, kind: str) -> None:
    tree, _ = save_job(job(tmp_path, JOBS["a lost host"]))
    (run,) = tree.find(NodeType.RUN)
    assert run.metadata["missing_ranks"] == [2, 3]
    assert run.metrics["energy_j"].upper is None
    assert "ranks 2, 3" in run.metrics["energy_j"].missing


def test_the_given_id_names_the_file(tmp_path: Path, kind: str) -> None:
    _, path = save_job(job(tmp_path, usual(), "mine"))
    assert path == str(tmp_path / "results/heat/mine.h5")
    assert read_recording(path).run_id == "mine"


def test_size_is_kept(tmp_path: Path, kind: str) -> None:
    assert read_recording(save_job(job(tmp_path, JOBS["a lost host"]))[1]).size == 6


def test_one_host_is_a_file_as_ever(tmp_path: Path) -> None:
    place = job(tmp_path, [(0, part_of(0, [0, 1], 2)), (0, devices_of(0, 2))])
    expected = assemble(place.parts)
    tree, path = save_job(place)
    assert_same(read_recording(path), expected)
    assert len(tree.find(NodeType.NODE)) == 1
    assert sorted(os.listdir(tmp_path / "results/heat")) == [os.path.basename(path)]


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Be on one of the hosts."""
    real = os.uname()

    def be(number: int) -> None:
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], f"node{number}", *real[2:])))

    return be


def make_all(place: RunPlace, on_host: Callable[[int], None], hosts: int) -> list[str | None]:
    made = []
    for number in range(hosts):
        on_host(number)
        made.append(make_host_file(place, f"boot-{number}"))
    return made


def test_each_host_makes_its_own_and_then_no_part_is_needed(
    tmp_path: Path, on_host: Callable[[int], None], kind: str
) -> None:
    place = job(tmp_path, [*usual(), (1, devices_of(1, 6))])
    at_once = assemble(place.parts)
    made = make_all(place, on_host, 3)
    alone = [read_recording(str(path)) for path in made]
    assert [len(each.hosts) for each in alone] == [1, 2, 1]
    assert [[p.rank for p in each.processes] for each in alone] == [[4, 5], [2, 3], [0, 1]]
    for path in place.part_files():
        os.unlink(path)
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)


def test_a_host_s_file_is_a_result_of_its_own(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    place = job(tmp_path, usual())
    path = make_all(place, on_host, 1)[0]
    assert path is not None
    assert os.path.dirname(path) == os.path.join(place.parts, "hosts")
    tree = load(path)
    assert self_check(tree) == []
    assert [node.id for node in tree.find(NodeType.NODE)] == ["node0"]
    assert tree.find(NodeType.RUN)[0].metadata["window_ns"] == [start_ns(0) + 1_000_000, start_ns(0) + 4 * S]


def test_no_file_is_made_of_what_is_not_complete(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    place = job(tmp_path, [(0, cut(0, [0], 2)), (1, part_of(1, [1], 2)), (1, cut(1, [], 2))])
    assert make_all(place, on_host, 2) == [None, None]
    assert not os.path.exists(directory_of(place))


def test_no_file_is_made_where_the_parts_are_gone(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    place = job(tmp_path, usual())
    shutil.rmtree(place.parts)
    assert make_all(place, on_host, 1) == [None]
    assert not os.path.exists(place.parts)


@pytest.mark.parametrize("moment", ["its file", "its summary"])
def test_who_comes_late_has_nothing_to_do(
    tmp_path: Path, on_host: Callable[[int], None], kind: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another rank has made everything, while this one was just about to write."""
    place = job(tmp_path, usual())
    at_once = assemble(place.parts)
    name = {"its file": "publish", "its summary": "write_summary"}[moment]
    real, paths = getattr(host_files, name), []

    def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(host_files, name, real)
        paths.append(save_job(place)[1])
        return real(*args, **kwargs)

    monkeypatch.setattr(host_files, name, late)
    on_host(1)
    assert make_host_file(place, "boot-1") is None
    assert_same(read_recording(paths[0]), at_once)
    assert not os.path.exists(place.parts)


def test_a_host_file_that_can_not_be_written_is_told(
    tmp_path: Path, on_host: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = job(tmp_path, usual())
    on_host(1)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PerunError, match="No space left on device: make room"):
        make_host_file(place, "boot-1")


@pytest.mark.parametrize("make", [save_job, lambda place: recover(place.parts)[0]], ids=["save", "recover"])
def test_a_host_of_which_a_part_is_damaged_is_lacking_and_told(
    tmp_path: Path, kind: str, make: Callable[[RunPlace], tuple[Any, str]]
) -> None:
    place = job(tmp_path, usual())
    damaged = place.part("node1-sampler-01")
    Path(damaged).write_bytes(b"damaged" * 100)
    tree, path = make(place)
    for run in [*tree.find(NodeType.RUN), *load(path).find(NodeType.RUN)]:
        (told,) = run.metadata["missing"]
        assert told["what"] == "all of node1-sampler-01.part"
        assert run.metrics["energy_j"].missing == ("all of node1-sampler-01.part", "ranks 2, 3")
        assert run.metrics["energy_j"].upper is None
    assert self_check(tree) == []
    kept = Path(path.removesuffix(".h5") + ".damaged", os.path.basename(damaged))
    assert kept.read_bytes() == b"damaged" * 100


def test_late_files_are_no_obstacle_after_a_kill(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    """A host wrote its file once more just after all of them were brought to their place, and then all died."""
    place = job(tmp_path, usual(), "mine")
    at_once = assemble(place.parts)
    make_all(place, on_host, 3)
    journal.write(place.named("mine", "heat"), Stamp(1, 1))
    os.rename(directory_of(place), tmp_path / "results/heat/mine.hosts")
    make_all(place, on_host, 1)
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)
    assert os.listdir(tmp_path / "results/heat") == ["mine.h5"]


def in_place() -> Parts:
    """A job whose ranks measured a function of theirs."""
    made: Parts = []
    for number, part in usual(2, 1, 6.0):
        marked = rounds([(0, S)], [(2 * S, 3 * S)], rank=part.processes[0].rank)
        shift_ns = start_ns(number) + S - int(marked.start_ns[0])
        moved = marked._replace(start_ns=marked.start_ns + shift_ns, stop_ns=marked.stop_ns + shift_ns)
        made.append((number, with_host(part, rounds=(moved,))))
    return made


def test_what_was_measured_in_place_is_looked_at_as_a_whole(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    place = job(tmp_path, in_place())
    assert make_all(place, on_host, 2) == [None, None]
    assert complete(place) is None
    tree, path = save_job(place, "work")
    assert [len(host.rounds) for host in read_recording(path).hosts] == [1, 1]
    assert tree.nodes[0].metadata["rounds"] == 2


def test_recovering_what_was_measured_in_place_makes_a_file_a_name(tmp_path: Path) -> None:
    place = job(tmp_path, in_place())
    ((_, path),) = recover(place.parts)
    assert os.path.dirname(path) == str(tmp_path / "results/work")


def test_a_part_that_came_later_is_not_left_out(tmp_path: Path, on_host: Callable[[int], None], kind: str) -> None:
    """A second sampler of a host may need longer."""
    place = job(tmp_path, usual())
    make_all(place, on_host, 3)
    late = job(tmp_path / "other", [(1, devices_of(1, 6))])
    (part,) = late.part_files()
    os.rename(part, place.part("node1-sampler-late"))
    at_once = assemble(place.parts)
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)
    assert sum(len(host.streams) for host in at_once.hosts) == 7


def damaged_summary(place: RunPlace, host_file: str) -> None:
    path = next(Path(place.parts).glob("node1*.summary"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def short_summary(place: RunPlace, host_file: str) -> None:
    path = next(Path(place.parts).glob("node1*.summary"))
    path.write_bytes(path.read_bytes()[:100])


def summary_of_another(place: RunPlace, host_file: str) -> None:
    path = next(Path(place.parts).glob("node1*.summary"))
    path.write_bytes(zlib.compress(json.dumps({"identity": "boot-1"}).encode()) + zlib.compress(b"{}"))


def truncated_file(place: RunPlace, host_file: str) -> None:
    os.truncate(host_file, 3000)


def other_file(place: RunPlace, host_file: str) -> None:
    shutil.copy(next(Path(directory_of(place)).glob("node0*.h5")), host_file)


def no_file(place: RunPlace, host_file: str) -> None:
    os.unlink(host_file)


def no_files(place: RunPlace, host_file: str) -> None:
    shutil.rmtree(directory_of(place))


HARMS = [damaged_summary, short_summary, summary_of_another, truncated_file, other_file, no_file, no_files]


@pytest.mark.parametrize("harm", HARMS)
def test_a_host_file_that_came_to_harm_is_made_again(
    tmp_path: Path, on_host: Callable[[int], None], kind: str, harm: Callable[[RunPlace, str], None]
) -> None:
    place = job(tmp_path, usual())
    at_once = assemble(place.parts)
    made = make_all(place, on_host, 3)
    harm(place, str(made[1]))
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)


def test_without_its_part_a_damaged_host_file_is_an_error_with_its_name(
    tmp_path: Path, on_host: Callable[[int], None]
) -> None:
    """A byte within, which size and seal don't show."""
    place = job(tmp_path, usual())
    made = str(make_all(place, on_host, 3)[1])
    content = bytearray(Path(made).read_bytes())
    content[2000] ^= 1
    Path(made).write_bytes(content)
    with pytest.raises(FileError, match=made):
        save_job(place)
    assert os.path.exists(place.parts)


def test_many_makers_of_one_file_are_no_harm(tmp_path: Path, on_host: Callable[[int], None], kind: str) -> None:
    place = job(tmp_path, usual())
    at_once = assemble(place.parts)
    on_host(1)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: make_host_file(place, "boot-1"), range(8)))
    assert len(set(made)) == 1
    _, path = save_job(place)
    assert_same(read_recording(path), at_once)


def test_arrivals_tell_of_ranks_as_their_hosts_files_come(tmp_path: Path, on_host: Callable[[int], None]) -> None:
    place = job(tmp_path, usual())
    arrivals = Arrivals(place)
    assert arrivals.ranks() == set()
    seen = []
    for number in range(3):
        on_host(number)
        make_host_file(place, f"boot-{number}")
        seen.append(arrivals.ranks())
    assert seen == [{4, 5}, {2, 3, 4, 5}, {0, 1, 2, 3, 4, 5}]
    shutil.rmtree(place.parts)
    assert arrivals.ranks() == {0, 1, 2, 3, 4, 5}


def test_a_part_that_is_being_written_is_waited_for_by_people(tmp_path: Path) -> None:
    import fcntl

    place = job(tmp_path, [(0, part_of(0, [0], 2)), (1, cut(1, [1], 2))])
    path = next(path for path in place.part_files() if "node1" in path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PerunError, match=rf"{path} is still being written"):
            save_job(place)


@pytest.mark.parametrize("taken", ["the file", "the directory"])
def test_another_run_s_results_are_never_touched(tmp_path: Path, kind: str, taken: str) -> None:
    """A directory is in the way of a master file only."""
    place = job(tmp_path, usual(), "mine")
    there = tmp_path / "results/heat" / ("mine.h5" if taken == "the file" else "mine.hosts/node.h5")
    there.parent.mkdir(parents=True)
    there.write_text("another's")
    if taken == "the directory" and kind == "one file":
        save_job(place)
    else:
        for _ in range(2):
            with pytest.raises(InputError, match=r"exists and is left as it is"):
                save_job(place)
        assert len(place.part_files()) == 3
    assert there.read_text() == "another's"


STEPS = ("fsync", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink")
KILLED, DONE = 9, 0


def dies_at(step: int, act: Callable[[], object]) -> bool:
    """Do something in a process that is gone just before one of its steps; whether it came to its end first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads do nothing
        pid = os.fork()
    if pid == 0:
        left = iter(range(step))

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(left, None) is None:
                    os._exit(KILLED)
                return real(*args, **kwargs)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
            os._exit(DONE)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (KILLED, DONE)
    return status == DONE


def steps() -> Iterator[int]:
    yield from range(1, 500)
    raise AssertionError("it never comes to its end")


def test_after_a_kill_at_any_step_it_can_be_done_again(tmp_path: Path, kind: str) -> None:
    """The result is whole, and what people put there is left, but nothing else.

    The second attempt is killed too, at another step.
    """
    theirs = ["drawings/other.h5", "list.txt"]
    parts = [*usual(2), (0, devices_of(0, 4))]
    template = job(tmp_path / "template", parts)
    for name in theirs:
        path = Path(directory_of(template), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    at_once = assemble(template.parts)
    tree, files = to_dict(result_of(at_once)), 1 if kind == "one file" else 3
    for step in steps():
        results = tmp_path / f"{step}"
        shutil.copytree(tmp_path / "template/results", results)
        directory = str(results / os.path.basename(template.parts))
        ended = dies_at(step, lambda directory=directory: recover(directory))  # type: ignore[misc]
        if os.path.exists(directory) and has_belongings(directory):
            dies_at(step // 2 + 1, lambda directory=directory: recover(directory))  # type: ignore[misc]
        if os.path.exists(directory) and has_belongings(directory):
            recover(directory)
        (path,) = results.glob("heat/*.h5")
        assert_same(read_recording(path), at_once)
        assert to_dict(load(path)) == tree
        left = [found for found in results.rglob("*") if found.is_file()]
        kept = [str(found.relative_to(f"{directory}/hosts")) for found in left if directory in str(found)]
        assert sorted(kept) == theirs
        assert len(left) == files + len(theirs), left
        shutil.rmtree(results)
        if ended:
            break
    assert step > 20
