"""What is said of a damaged results file: what of it can still be read, and that is shown."""

from __future__ import annotations

import json
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Run
from stored_recordings import calls, rapl_stream, recording, tree

from perun_like.errors import FileError
from perun_like.store.contents import Contents, look
from perun_like.store.reader import load, salvaged
from perun_like.store.schema import SEAL_BYTES
from perun_like.store.writer import write

Show = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=[5, 70_000], ids=["small", "deflated"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "run.h5"
    write(str(path), recording(rapl_stream(request.param, 2), regions=(calls(),)), tree())
    return path


def offset_of(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        dataset = file[name]
        return dataset.id.get_chunk_info(0).byte_offset if dataset.chunks else dataset.id.get_offset()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def datasets(path: Path) -> set[str]:
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return set(names)


def test_all_of_a_good_file_is_whole(run: Path) -> None:
    found = look(str(run))
    assert found is not None
    assert (set(found.whole), found.damaged) == (datasets(run), ())


@pytest.mark.parametrize("name", ["hosts/0/rapl/package-0", "hosts/0/regions/start_ns", "recording", "tree"])
def test_what_a_flipped_bit_has_damaged_is_named_and_the_result_shown(run: Path, name: str, perun: Run) -> None:
    names = datasets(run)
    before = perun("report", str(run)).stdout
    flip(run, offset_of(run, name) + 3)
    found = look(str(run))
    assert found == Contents(tuple(n for n in found.whole if n in names - {name}), (name,))  # type: ignore[union-attr]
    with pytest.raises(FileError, match=rf"damaged is /{name} of {len(names)} datasets"):
        load(run)
    ended = perun("report", str(run))
    assert ended.returncode == 1
    assert f"/{name}" in ended.stderr
    assert ended.stdout == ("" if name == "tree" else before)


def test_damage_to_what_leads_to_the_data_harms_none_of_it(run: Path, perun: Run) -> None:
    before = perun("report", str(run)).stdout
    flip(run, 100)
    with pytest.raises(FileError, match="all that was recorded are unharmed"):
        load(run)
    assert perun("report", str(run)).stdout == before


@pytest.mark.parametrize("left", [0.3, 0.9, 0.999])
def test_of_a_cut_file_nothing_can_be_told(run: Path, left: float, perun: Run) -> None:
    content = run.read_bytes()
    run.write_bytes(content[: int(len(content) * left)])
    with pytest.raises(FileError, match="it has been cut"):
        load(run)
    ended = perun("report", str(run))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr


def test_hostile_contents_are_none(run: Path) -> None:
    content = bytearray(run.read_bytes())
    at = content.rfind(b"perun-like contents ")
    chance = np.random.default_rng(1)
    for _ in range(200):
        harmed = bytearray(content)
        harmed[at + int(chance.integers(0, len(content) - at))] ^= int(chance.integers(1, 256))
        harmed[200] ^= 1
        run.write_bytes(harmed)
        assert look(str(run)) is None or look(str(run)).damaged == ()  # type: ignore[union-attr]  # in the seal itself
        with pytest.raises(FileError):
            load(run)


def test_the_salvaged_result_is_the_result(run: Path) -> None:
    assert salvaged(str(run)) == load(run) == tree()


def with_contents(run: Path, known: object) -> None:
    """Give a file other contents, as whoever wants to harm can."""
    content = run.read_bytes()
    text = json.dumps(known).encode()
    start = content.rfind(b"perun-like contents ")
    told = b"perun-like contents %08x %08x" % (len(text), zlib.crc32(text)) + text
    run.write_bytes(content[:start] + told + content[-SEAL_BYTES:])


HOSTILE = [
    {"all": [[0, 2000, 0]], "again": [[0, 2000, 0]]},
    {"all": [[0, 2000, 0], [1999, 1, 0]]},
    {"end": [[0, 1 << 30, 0]]},
    {str(number): [[0, 1500, 0]] for number in range(100_000)},
]


@pytest.mark.parametrize("known", HOSTILE, ids=["twice", "overlapping", "more than there is", "very often"])
def test_contents_that_have_more_than_the_file_are_none(run: Path, known: object) -> None:
    with_contents(run, {"first": [[0, 1000, 0]], "second": [[1000, 1000, 0]]})
    assert look(str(run)) == Contents((), ("first", "second"))
    with_contents(run, known)
    assert look(str(run)) is None


@pytest.mark.parametrize("before", range(-24, 3))
def test_contents_are_found_wherever_they_begin(run: Path, before: int) -> None:
    """The file is looked at from its end, 64 kB at a time."""
    known = {"first": [[0, 1000, 0]], "long": [[1000, 0, 0]]}
    short = len(json.dumps({**known, "": []}))
    name = "x" * ((1 << 16) - len("perun-like contents ") - 17 - short + before)
    with_contents(run, {**known, name: []})
    found = look(str(run))
    assert found is not None
    assert found.damaged == ("first",)
