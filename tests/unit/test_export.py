"""``perun-like export``: the same figures for other programs."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal

import pytest
from stored_recordings import rapl_sensor, rapl_stream, recording, tree, with_gaps

from perun_like.model.serial import from_dict
from perun_like.report.csv import write_table
from perun_like.store.reader import open_run
from perun_like.store.writer import write

START_NS = 5_000_000_000


def table(tmp_path, stored):
    path = str(tmp_path / "run.h5")
    write(path, stored, tree())
    output = io.BytesIO()
    with open_run(path) as run:
        write_table(run, output)
    return list(csv.DictReader(io.StringIO(output.getvalue().decode())))


@pytest.mark.parametrize("sweeps", [0, 1, 511, 512, 513, 8_192, 20_000])
def test_every_value_is_there_exactly(tmp_path, sweeps):
    stream = with_gaps(rapl_stream(sweeps, 2, first_unit=2**32 - 50))
    rows = table(tmp_path, recording(stream))
    assert len(rows) == sweeps
    for index, row in enumerate(rows):
        assert Decimal(row["time_s"]) == Decimal(int(stream.t0_ns[index]) - START_NS) / 10**9
        assert (row["host"], row["backend"]) == ("node01", "rapl")
        for sensor, raw, valid in zip(stream.sensors, stream.raw[:, index], stream.valid[:, index], strict=True):
            cell = row[f"{sensor.id} [J]"]
            assert cell == "" if not valid else Decimal(cell) == Decimal(int(raw)) / 10**6


@pytest.mark.parametrize("scale", [1.0, 0.01, 2.5, 1e-9, 1 / 3, -1.0])
def test_any_scale_and_sign(tmp_path, scale):
    sensors = tuple(rapl_sensor(name)._replace(kind="gauge", scale=scale, unit="W") for name in "ab")
    raw = rapl_stream(30).raw - 10_000
    rows = table(tmp_path, recording(rapl_stream(30)._replace(sensors=sensors, raw=raw)))
    for name, values in zip("ab", raw, strict=True):
        assert [float(row[f"rapl:{name} [W]"]) for row in rows] == pytest.approx(
            [int(v) * scale for v in values], rel=1e-15
        )


def test_times_before_the_start_are_negative(tmp_path):
    stored = recording(rapl_stream(5), window_ns=(START_NS + 2_000_000, START_NS + 9_000_000))
    times = [float(row["time_s"]) for row in table(tmp_path, stored)]
    assert times == sorted(times)
    assert times[0] < 0 < times[-1]


def test_backends_and_hosts_share_one_table(tmp_path):
    other = rapl_stream(3, 1)._replace(
        backend="memory", sensors=(rapl_sensor()._replace(id="memory:used", unit="B", scale=1.0),)
    )
    first = recording(rapl_stream(4, 1), other).hosts[0]
    ahead = {"hostname": "node, 02 %s", "clocks": [{"monotonic_ns": 2 * START_NS, "realtime_ns": 10**18}, None]}
    shifted = rapl_stream(2, 1)._replace(t0_ns=rapl_stream(2).t0_ns + START_NS)
    rows = table(tmp_path, recording(hosts=(first, first._replace(host=ahead, streams=(shifted,)))))
    assert [(row["host"], row["backend"]) for row in rows] == [
        *[("node01", "rapl")] * 4,
        *[("node01", "memory")] * 3,
        *[("node, 02 %s", "rapl")] * 2,
    ]
    assert [row["memory:used [B]"] != "" for row in rows] == [False] * 4 + [True] * 3 + [False] * 2
    assert [row["rapl:package-0 [J]"] != "" for row in rows] == [True] * 4 + [False] * 3 + [True] * 2
    assert rows[7]["time_s"] == rows[0]["time_s"]  # the same moment by two clocks


def perun(*args, **more):
    command = [sys.executable, "-c", "from perun_like.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


@pytest.fixture
def run(tmp_path):
    path = str(tmp_path / "run.h5")
    write(path, recording(rapl_stream(600)), tree())
    return path


def test_json_goes_to_standard_output(run):
    done = perun("export", run, "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert from_dict(json.loads(done.stdout)) == tree()


def test_csv_goes_to_a_file(run, tmp_path):
    output = tmp_path / "table.csv"
    done = perun("export", run, "csv", "--output", str(output))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(output.read_text().splitlines()) == 601


def test_the_run_itself_is_not_overwritten(run):
    with open(run, "rb") as file:
        before = file.read()
    done = perun("export", run, "json", "--output", run)
    assert done.returncode == 2
    assert "is the run itself" in done.stderr
    with open(run, "rb") as file:
        assert file.read() == before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("missing.h5", "json"), 1, "No such file"),
        (("{run}", "xml"), 2, "json"),
        (("{run}", "json", "--output", "/nowhere/x"), 2, "can't write /nowhere/x"),
        (("{run}", "csv", "--output", "/dev/full"), 2, "No space left"),
    ],
)
def test_what_can_go_wrong_is_told_in_one_line(run, arguments, code, told):
    done = perun("export", *(argument.format(run=run) for argument in arguments))
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_damage_is_told_and_no_half_table_is_left(run, tmp_path):
    os.truncate(run, 3_000)
    done = perun("export", run, "csv", "--output", str(tmp_path / "table.csv"))
    assert done.returncode == 1
    assert "damaged or truncated" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["run.h5"]


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    path = str(tmp_path / "run.h5")
    write(path, recording(rapl_stream(50_000)), tree())
    command = [sys.executable, "-c", "from perun_like.cli import main; main()", "export", path, "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b"host,backend,time_s")
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 128 + 13
