"""The spool: rows survive whatever happens to the process or to the end of the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.errors import FileError
from perun_like.sampling import spool
from perun_like.sampling.spool import FOOTER, HEADER, ROWS, Part, Tail
from perun_like.sampling.spool_reader import frames, tail_segments


def rows_of(payload: bytes, sensors: int) -> list[list[int]]:
    return np.frombuffer(payload, "<i8").reshape(-1, spool.row_words(sensors)).tolist()


def test_rows_come_back_in_order_across_segments(tmp_path: Path) -> None:
    tail, part = Tail(str(tmp_path / "tail"), 2, 10), Part(str(tmp_path / "part"))
    written = 0
    for chunk in (3, 200, 1, 0, 50):
        for _ in range(chunk):
            assert tail.append(written, written + 1, [written * 2, -written])
            written += 1
            if written % 37 == 0:
                part.move(0, tail)
        part.move(0, tail)
    part.close()
    rows = [row for frame in frames(part.path) for row in rows_of(frame.payload, 2)]
    assert rows == [[i, i + 1, 0b11, 2 * i, -i] for i in range(written)]


def test_a_failed_read_is_marked_and_not_a_zero_that_counts(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path / "tail"), 3, 4)
    tail.append(1, 2, [5, None, 7])
    ((_, rows),) = tail_segments(str(tmp_path / "tail"))
    assert rows_of(rows, 3) == [[1, 2, 0b101, 5, 0, 7]]


@pytest.mark.parametrize("sensors", [1, 62, 63, 64, 126, 127, 200])
def test_validity_of_any_number_of_sensors(tmp_path: Path, sensors: int) -> None:
    values = [None if i % 3 == 0 else i for i in range(sensors)]
    tail = Tail(str(tmp_path / "tail"), sensors, 2)
    tail.append(0, 0, values)
    ((_, rows),) = tail_segments(str(tmp_path / "tail"))
    (row,) = rows_of(rows, sensors)
    masks = row[2 : 2 + spool.mask_words(sensors)]
    assert [bool(masks[i // 63] >> (i % 63) & 1) for i in range(sensors)] == [v is not None for v in values]


def test_a_full_tail_refuses_rows_until_it_is_moved(tmp_path: Path) -> None:
    tail, part = Tail(str(tmp_path / "tail"), 1, 1), Part(str(tmp_path / "part"))
    accepted = sum(tail.append(i, i, [i]) for i in range(10_000))
    assert 0 < accepted < 10_000
    part.move(0, tail)
    assert tail.append(0, 0, [0])
    rows = [row[0] for frame in frames(part.path) for row in rows_of(frame.payload, 1)]
    assert rows == list(range(accepted))


def test_what_was_taken_but_not_yet_written_is_still_in_the_file(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path / "tail"), 1, 8)
    tail.append(1, 1, [1])
    assert tail.take() is not None
    tail.append(2, 2, [2])
    segments = tail_segments(str(tmp_path / "tail"))
    assert [row[0] for _, rows in segments for row in rows_of(rows, 1)] == [1, 2]
    tail.moved()
    assert [row[0] for _, rows in tail_segments(str(tmp_path / "tail")) for row in rows_of(rows, 1)] == [2]


def test_every_row_counted_before_a_kill_is_there(tmp_path: Path) -> None:
    path = str(tmp_path / "tail")
    source = (
        "import sys\nfrom perun_like.sampling.spool import Tail\n"
        f"tail = Tail({path!r}, 1, 100_000)\ni = 0\n"
        "while True:\n    tail.append(i, i, [i * i])\n    i += 1\n"
        "    if i % 1000 == 0: sys.stdout.write(f'{i}\\n'); sys.stdout.flush()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        said = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    said = max([said, *map(int, process.communicate()[0].split())])
    rows = [row for _, rows in tail_segments(path) for row in rows_of(rows, 1)]
    assert len(rows) >= said
    assert rows == [[i, i, 1, i * i] for i in range(len(rows))]


@given(cut=st.integers(0, 400), flip=st.integers(0, 399))
def test_of_a_torn_or_damaged_part_all_is_read_but_the_damage(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("p") / "part"
    part = Part(str(path))
    part.write_json(HEADER, {"a": 1})
    for i in range(5):
        part.write(ROWS, bytes([i]) * (i * 7), stream=i, sequence=i)
    part.write_json(FOOTER, {})
    part.close()
    whole = list(frames(str(path)))
    assert len(whole) == 7
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:cut])
    kept = list(frames(str(path)))
    assert kept == whole[: len(kept)]
    assert len(kept) == 7 or cut < len(content)
    damaged = bytearray(content)
    damaged[flip % len(content)] ^= 0x10
    path.write_bytes(damaged)
    good = list(frames(str(path)))
    assert len(good) == 6
    assert [frame for frame in whole if frame in good] == good


@pytest.mark.parametrize("content", [b"x" * 8192, b"\xff" * 64, b"PTAIL1\0\0" + b"\x7f" * 24])
def test_a_foreign_file_is_no_tail(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tail").write_bytes(content)
    with pytest.raises(FileError, match="tail"):
        tail_segments(str(tmp_path / "tail"))


def test_a_full_disk_is_an_error_and_not_a_bus_error(tmp_path: Path) -> None:
    source = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\nfrom perun_like.sampling.spool import Tail\n"
        f"try: Tail({str(tmp_path / 'tail')!r}, 1, 100_000)\nexcept OSError: print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "refused\n")
