"""Whatever a file is, reading it gives what was written or a FileError that says what to do."""

from __future__ import annotations

import json
import os
import random
import re

import h5py
import numpy as np
import pytest
from stored_recordings import calls, rapl_stream, recording, rounds, tree, with_gaps

import perun_like
from perun_like.errors import FileError
from perun_like.model.node import DataNode, Metric, NodeType
from perun_like.store.reader import load, open_run, read_recording
from perun_like.store.writer import write


@pytest.fixture
def run(tmp_path):
    path = str(tmp_path / "run.h5")
    small = DataNode("heat", NodeType.APP, {"energy_j": Metric(1.5, "J", 1.0, 2.0)})
    write(path, recording(with_gaps(rapl_stream(5, 1)), regions=(calls(),)), small)
    return path


def fails(path, match=""):
    for read in (load, read_recording):
        with pytest.raises(FileError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_load_is_public_and_takes_any_path(tmp_path):
    write(str(tmp_path / "run.h5"), recording(), tree())
    assert perun_like.load(tmp_path / "run.h5") == tree()


def test_a_file_cut_anywhere_is_said_to_be_cut(run):
    with open(run, "rb") as file:
        whole = file.read()
    nothing_lost = int.from_bytes(whole[40:48], "little")  # what HDF5 takes the file's length for
    expected = load(run)
    for length in {*range(1, len(whole), 10), *range(len(whole) - 60, len(whole))} - {nothing_lost}:
        with open(run, "wb") as file:
            file.write(whole[:length])
        with pytest.raises(FileError, match="damaged or truncated"):
            load(run)
    with open(run, "wb") as file:
        file.write(whole[:nothing_lost])
    assert load(run) == expected


def test_a_changed_byte_anywhere_is_noticed(run):
    with open(run, "rb") as file:
        whole = file.read()
    chance, expected = random.Random(1), load(run)
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= chance.randrange(1, 256)
        with open(run, "wb") as file:
            file.write(damaged)
        with pytest.raises(FileError):
            load(run)
    with open(run, "wb") as file:
        file.write(whole)
    assert load(run) == expected


def test_who_changes_a_file_with_hdf5_can_still_read_it(run):
    expected = load(run)
    with h5py.File(run, "r+") as file:
        file.attrs["note"] = "the one with the fan off"
    assert load(run) == expected
    with h5py.File(run, "r+") as file:
        file["mine"] = np.arange(1000)
    assert load(run) == expected


def test_what_is_not_a_file_of_ours_is_named(tmp_path):
    text, empty, foreign, pipe = (tmp_path / name for name in ("notes.txt", "empty.h5", "foreign.h5", "pipe.h5"))
    text.write_text("energy: 12 J")
    empty.touch()
    with h5py.File(foreign, "w") as file:
        file["x"] = [1]
    os.mkfifo(pipe)
    fails(str(text), "not an HDF5 file")
    fails(str(empty), "is empty")
    fails(str(foreign), "perun_like hasn't written")
    fails(str(pipe), "not a file")
    fails(str(tmp_path), "is a directory")
    fails(str(tmp_path / "none.h5"), "No such file")
    with pytest.raises(FileError, match="null"):
        load("nul\0.h5")


def test_parts_beside_a_damaged_file_are_pointed_at(tmp_path):
    (tmp_path / "run.parts").mkdir()
    (tmp_path / "run.h5").touch()
    hint = re.escape(f"perun-like recover {tmp_path / 'run.parts'}")
    fails(str(tmp_path / "run.h5"), hint)
    fails(str(tmp_path / "run.parts"), hint)


def change(path, name, make):
    """Put something else in place of one of the file's objects."""
    with h5py.File(path, "r+") as file:
        del file[name]
        make(file)


def test_a_newer_format_is_refused_by_name(run):
    with h5py.File(run, "r+") as file:
        file.attrs["schema_version"] = 3
        file.attrs["software_version"] = "9.1"
    fails(run, r"has format 3, written by perun_like 9\.1, and .* up to 2: update")


@pytest.mark.parametrize("version", ["one", 1.0, [1, 1]])
def test_a_version_that_is_no_number_is_damage(run, version):
    with h5py.File(run, "r+") as file:
        file.attrs["schema_version"] = version
    fails(run, "schema_version is not an integer")


DOCUMENTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"[" * 100_000,
    b"\xff",
    b'{"schema": {"name": "other", "version": 1}}',
    b'{"schema": {"name": "perun-like", "version": 2}, "root": {}}',
    b'{"schema": {"name": "perun-like", "version": 1}, "root": {"id": "x", "type": "MOON"}}',
]


@pytest.mark.parametrize("text", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_json_that_is_not_ours_is_damage(run, text):
    change(run, "tree", lambda file: file.create_dataset("tree", data=np.array([text or b" "], "S")))
    change(run, "recording", lambda file: file.create_dataset("recording", data=np.array([text or b" "], "S")))
    fails(run, "damaged")


WRONG_METRICS = [
    {"value": "1"},
    {"value": True},
    {"unit": 3},
    {"provenance": "guessed"},
    {"scope": None},
    {"n": 1.5},
    {"missing": "x"},
]


@pytest.mark.parametrize("wrong", WRONG_METRICS, ids=str)
def test_metrics_of_the_wrong_type_are_damage(run, wrong):
    with h5py.File(run) as file:
        document = json.loads(file["tree"][0])
    document["root"]["metrics"]["energy_j"].update(wrong)
    text = np.array([json.dumps(document)], "S")
    change(run, "tree", lambda file: file.create_dataset("tree", data=text))
    with pytest.raises(FileError, match="damaged"):
        load(run)


def test_links_out_of_the_file_are_not_followed(run, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other, h5py.File(run) as file:
        file.copy("tree", other)
    change(run, "tree", lambda file: file.__setitem__("tree", h5py.ExternalLink(str(tmp_path / "other.h5"), "tree")))
    with pytest.raises(FileError, match="tree is not there"):
        load(run)


def test_bytes_of_other_files_are_not_read(run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b'{"schema": 1}')
    change(run, "tree", lambda f: f.create_dataset("tree", (1,), "S13", external=[(str(secret), 0, 13)]))
    with pytest.raises(FileError, match="stored in a way"):
        load(run)


def column_of(run, make):
    change(run, "hosts/0/rapl/package-0", make)
    with pytest.raises(FileError, match="package-0") as caught:
        read_recording(run)
    return str(caught.value)


def test_a_virtual_column_is_refused(run, tmp_path):
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (5,))
    told = column_of(run, lambda file: file.create_virtual_dataset("hosts/0/rapl/package-0", layout))
    assert "stored in a way" in told


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"compression": "gzip", "fletcher32": True}], ids=str)
def test_other_filters_are_refused(run, options):
    data = np.arange(5)
    told = column_of(run, lambda file: file.create_dataset("hosts/0/rapl/package-0", data=data, chunks=(5,), **options))
    assert "stored in a way" in told


@pytest.mark.parametrize("data", [np.array(["a"] * 5, object), np.arange(5.0), np.arange(10).reshape(5, 2)], ids=str)
def test_a_column_is_one_row_of_integers(run, data):
    dtype = h5py.string_dtype() if data.dtype == object else None
    told = column_of(run, lambda file: file.create_dataset("hosts/0/rapl/package-0", data=data, dtype=dtype))
    assert "not a column of the right type" in told


def test_a_column_of_another_length_is_damage(run):
    assert "has not 5 rows" in column_of(run, lambda file: file.create_dataset("hosts/0/rapl/package-0", data=[1, 2]))


def test_sizes_are_not_believed(run):
    """A terabyte that takes no room in the file, and that both the column and the JSON promise."""
    rows, filters = 10**11, {"chunks": (1 << 16,), "shuffle": True, "compression": "gzip"}
    with h5py.File(run) as file:
        facts = json.loads(file["recording"][0])
    facts["hosts"][0]["streams"][0]["sweeps"] = rows
    text = np.array([json.dumps(facts)], "S")
    change(run, "recording", lambda file: file.create_dataset("recording", data=text))
    for name in ("t0_ns", "read_ns", "package-0", "package-0.valid"):
        make = {"shape": (rows,), "dtype": "i8", **filters}
        change(run, f"hosts/0/rapl/{name}", lambda f, n=name, m=make: f.create_dataset(f"hosts/0/rapl/{n}", **m))
    with pytest.raises(FileError, match="larger than it can be"):
        read_recording(run)


@pytest.mark.parametrize(("name", "value"), [("modulus", 0), ("modulus", -7), ("first", 1.5), ("unit_nj", "x")])
def test_attributes_that_cannot_be_are_damage(run, name, value):
    with h5py.File(run, "r+") as file:
        file["hosts/0/rapl/package-0"].attrs[name] = value
    with pytest.raises(FileError, match="damaged"):
        read_recording(run)


@pytest.fixture
def in_place(tmp_path):
    path = str(tmp_path / "run.h5")
    write(path, recording(rapl_stream(5, 1), in_place=(rounds(77, 3, steps=2), rounds(78, 2))), tree())
    return path


def change_facts(path, make):
    with h5py.File(path) as file:
        facts = json.loads(file["recording"][0])
    make(facts)
    text = np.array([json.dumps(facts)], "S")
    change(path, "recording", lambda file: file.create_dataset("recording", data=text))


def test_files_from_before_there_were_rounds_are_read(in_place):
    """They have neither the table nor the facts."""

    def forget(facts):
        del facts["hosts"][0]["rounds"]
        for name in ("round", "in_place"):
            del facts["processes"][0][name]

    change_facts(in_place, forget)
    with h5py.File(in_place, "r+") as file:
        del file["hosts/0/rounds"]
    found = read_recording(in_place)
    assert found.hosts[0].rounds == ()
    assert (found.processes[0].round, found.processes[0].in_place) == (0, False)


WRONG_ROUNDS = [
    ("round", [0, 0, 1, 1, 2, 2, 0, 2], "not numbered"),
    ("round", [1, 1, 1, 1, 2, 2, 0, 1], "not numbered"),
    ("round", [0, 0, 1, 1, 1, 1, 0, 1], "not numbered"),
    ("round", [0, 0, 2, 2, 1, 1, 0, 1], "not numbered"),
    ("duration_ns", [1, 1, 1, -1, 1, 1, 1, 1], "end before they begin"),
    ("start_ns", [1, 2], "has not 8 rows"),
    ("each/cpu_ns", [1] * 8, "has not 5 rows"),
    ("each/failed", [0.5] * 5, "not a column of the right type"),
]


@pytest.mark.parametrize(("name", "values", "words"), WRONG_ROUNDS)
def test_rounds_that_cannot_be_are_damage(in_place, name, values, words):
    path = f"hosts/0/rounds/{name}"
    change(in_place, path, lambda file: file.create_dataset(path, data=values))
    with pytest.raises(FileError, match=words):
        read_recording(in_place)


WRONG_NUMBERS = [("intervals", 10**12), ("rounds", -5), ("rounds", "x"), ("processes", []), ("processes", [1])]


@pytest.mark.parametrize(("key", "value"), WRONG_NUMBERS, ids=str)
def test_numbers_of_rounds_that_do_not_add_up_are_damage(in_place, key, value):
    change_facts(in_place, lambda facts: facts["hosts"][0]["rounds"].update({key: value}))
    with pytest.raises(FileError, match="damaged"):
        read_recording(in_place)


@pytest.mark.parametrize("value", [-1, "1", 1.5, None, True])
def test_a_process_of_no_round_is_damage(in_place, value):
    change_facts(in_place, lambda facts: facts["processes"][0].update(round=value))
    with pytest.raises(FileError, match="round is"):
        read_recording(in_place)


def test_what_a_later_version_may_add_is_ignored(run):
    with h5py.File(run) as file:
        facts, document = (json.loads(file[name][0]) for name in ("recording", "tree"))
    expected, node = read_recording(run), load(run)
    facts["hosts"][0]["streams"][0]["sensors"][0]["sensor"]["colour"] = facts["more"] = "blue"
    facts["processes"][0]["colour"] = facts["hosts"][0]["missing"][0]["colour"] = "blue"
    document["root"]["metrics"]["energy_j"]["colour"] = document["root"]["colour"] = "blue"
    for name, content in (("recording", facts), ("tree", document)):
        text = np.array([json.dumps(content)], "S")
        change(run, name, lambda file, n=name, t=text: file.create_dataset(n, data=t))
    assert load(run) == node
    assert read_recording(run).processes == expected.processes
    assert read_recording(run).hosts[0].streams[0].sensors == expected.hosts[0].streams[0].sensors


@pytest.mark.parametrize("rows", [1, 7, 4_999, 5_000, 1 << 16])
def test_blocks_are_the_whole_in_order(tmp_path, rows):
    stream = with_gaps(rapl_stream(5_000, 2, first_unit=2**32 - 100))
    path = str(tmp_path / "run.h5")
    write(path, recording(stream), tree())
    with open_run(path) as opened:
        (columns,) = opened.streams(opened.facts()["hosts"][0])
        blocks = list(columns.blocks(rows))
    assert [len(block.t0_ns) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    valid = np.concatenate([block.valid for block in blocks], axis=1)
    raw = np.concatenate([block.raw for block in blocks], axis=1)
    np.testing.assert_array_equal(np.concatenate([block.t1_ns for block in blocks]), stream.t1_ns)
    np.testing.assert_array_equal(valid, stream.valid)
    np.testing.assert_array_equal(raw[valid], stream.raw[valid])


def test_what_goes_wrong_in_the_callers_block_is_the_callers(run):
    with pytest.raises(BrokenPipeError), open_run(run):
        raise BrokenPipeError
