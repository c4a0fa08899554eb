"""What others may have put in the place of our files: nothing waits for it, follows it, or believes its size."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from perun_like.errors import FileError
from perun_like.sampling import ranks, spool, spool_reader
from perun_like.sampling.activity import Activity
from perun_like.sampling.collecting import collect
from perun_like.sampling.completing import tails_left
from perun_like.sampling.distrust import open_plain, parse, parse_object
from perun_like.sampling.marks import Marks
from perun_like.sampling.spool import FOOTER, HEADER, ROWS, STREAM, Part, Tail
from perun_like.sampling.spool_reader import Frame, frames


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    outside = path.parent / "outside"
    outside.write_bytes(b'{"secret": 1}\n')
    path.symlink_to(outside)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def bound_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTS = [pipe, directory, link, dangling, bound_socket, device]
Plant = Callable[[Path], None]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the socket is left to be found
def test_what_is_planted_in_our_directories_is_passed_over(tmp_path: Path, plant: Plant) -> None:
    marks = tmp_path / "0"
    marks.mkdir()
    Marks(str(marks)).begin("real")
    for name in ("names-7-aa", "names-8-bb", "rounds-8-bb-0"):
        plant(marks / name)
        (marks / "outside").unlink(missing_ok=True)
    (marks / "names-9-cc").write_text('[0, "planted beside"]\n')
    plant(marks / "marks-9-cc-0")
    plant(marks / "note")
    plant(tmp_path / "tail-0")
    plant(tmp_path / "ready")
    found = collect(str(marks), 0)
    assert sorted(name for facts, *_ in found for name in facts["names"]) == ["planted beside", "real"]
    assert [len(calls) for facts, calls, _ in found if facts["pid"] == 9] == [0]
    assert ranks.read_notes(str(tmp_path)) == {}
    assert ranks.hides_devices(str(tmp_path)) is False
    assert Activity(str(marks)).idle_s() >= 0
    gone: set[int] = set()
    assert tails_left([Frame(STREAM, 0, 0, b"")], str(tmp_path), gone) == []
    assert gone == {0}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_no_part(tmp_path: Path, plant: Plant) -> None:
    path = tmp_path / "x.part"
    plant(path)
    with pytest.raises(OSError, match=r"x\.part"):
        list(frames(str(path)))
    assert spool_reader.footer(str(path)) is None
    with pytest.raises(OSError, match=r"x\.part"):
        open_plain(str(path))


def test_names_of_files_that_are_numbers_to_unicode_alone(tmp_path: Path) -> None:
    for name in ("²", "٣", "9" * 40, "names-²-aa", f"names-{'9' * 40}-aa"):
        (tmp_path / name).mkdir()
    assert ranks.ranks_in(str(tmp_path)) == []
    assert collect(str(tmp_path), 0) == []


NOTES = [
    *(b"[]", b"null", b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000),
    *(b'{"process": {"start_ns": NaN}}', b'{"a": 1' + b"0" * 9_999 + b"}"),
]


@pytest.mark.parametrize("text", NOTES, ids=range(len(NOTES)))
def test_notes_that_are_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3/note").write_bytes(text)
    assert ranks.read_notes(str(tmp_path)) == {}
    with pytest.raises(ValueError, match=r"."):
        parse_object(text)


def test_what_can_t_have_been_noted_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3/note").write_text(
        '{"process": {"pid": "x"}, "cpus": ["a"], "environ": [], "view": 7, "run": {"name": "a"}}'
    )
    assert ranks.read_notes(str(tmp_path)) == {3: {"run": {"name": "a"}}}


def test_json_that_would_need_much_more_memory_than_it_has_characters() -> None:
    assert parse(b"[" + b"1," * 999_999 + b"1]") == [1] * 1_000_000
    with pytest.raises(ValueError, match="more than there can be"):
        parse(b"[" + b"[]," * 999_999 + b"[]]")


def header_and(tmp_path: Path, *payloads: bytes) -> str:
    part = Part(str(tmp_path / "x.part"))
    part.write_json(HEADER, {"a": 1})
    for number, payload in enumerate(payloads, 1):
        part.write(ROWS, payload, 0, number)
    part.close()
    return part.path


def test_a_part_that_was_made_to_keep_us_busy_is_refused(tmp_path: Path) -> None:
    """Each of a million heads says that all that follows is its payload."""
    heads = b"".join(
        b"PRF1" + bytes(20) + (32 * (19_999 - number)).to_bytes(8, "little") for number in range(1, 20_000)
    )
    path = header_and(tmp_path, b"good")
    with open(path, "ab") as file:
        file.write(heads)
    good: list[Frame] = []
    with pytest.raises(FileError, match=r"x\.part is damaged from its byte"):
        good.extend(frames(path))
    assert [frame.payload for frame in good[1:]] == [b"good"]


def test_a_part_of_holes_is_refused_and_one_with_damage_is_read_around_it(tmp_path: Path) -> None:
    path = header_and(tmp_path, b"one", b"two" * 1000, b"three")
    os.truncate(path, 1 << 40)
    with pytest.raises(FileError, match="are there"):
        next(frames(path))
    os.truncate(path, 1 << 24)
    assert [frame.sequence for frame in frames(path)] == [0, 1, 2, 3]
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"?")
    assert [frame.sequence for frame in frames(path)] == [0, 1, 3]


class Counts:
    """The state of a file where the file system has counted so many blocks."""

    def __init__(self, status: os.stat_result, blocks: int) -> None:
        self.st_mode, self.st_size, self.st_blocks = status.st_mode, status.st_size, blocks


@pytest.mark.parametrize("blocks", [0, 8], ids=["not at all", "late"])
def test_a_file_system_that_counts_blocks_late_has_good_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    path = str(tmp_path / "late.part")
    part = Part(path)
    part.write(ROWS, b"x" * 4_000_000)
    part.write_json(FOOTER, {})
    part.close()
    os.truncate(path, (1 << 28) + (1 << 27))  # else there would have to be as much
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: Counts(fstat(fd), blocks))
    assert [frame.kind for frame in frames(path)] == [ROWS, FOOTER]
    os.truncate(path, 1 << 40)
    with pytest.raises(FileError, match="are there"):
        list(frames(path))


def test_a_part_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = header_and(tmp_path, bytes(1 << 20), bytes(1 << 20))
    reading = frames(path)
    assert next(reading).kind == HEADER
    os.truncate(path, 1000)
    assert list(reading) == []


def test_a_tail_of_holes_takes_no_more_than_what_it_says_is_used(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path / "tail-0"), 1, 4)
    tail.append(1, 2, [3])
    ((_, rows),) = spool_reader.tail_segments(str(tmp_path / "tail-0"))
    os.truncate(tmp_path / "tail-0", 1 << 40)
    assert [found for _, found in spool_reader.tail_segments(str(tmp_path / "tail-0"))] == [rows]


@pytest.mark.parametrize("ranks", [["x"], [[]], {}, 5, [None]])
def test_a_footer_of_no_ranks_is_none(tmp_path: Path, ranks: object) -> None:
    part = Part(str(tmp_path / "x.part"))
    part.write_json(spool.FOOTER, {"ranks": ranks})
    part.close()
    assert spool_reader.footer(part.path) is None


def test_a_footer_may_hold_what_looks_like_a_frame(tmp_path: Path) -> None:
    part = Part(str(tmp_path / "x.part"))
    part.write_json(spool.FOOTER, {"cut": "PRF1" * 9, "ranks": [1]})
    part.close()
    assert spool_reader.footer(part.path) == {"cut": "PRF1" * 9, "ranks": [1]}
