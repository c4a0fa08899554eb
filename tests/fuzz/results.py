"""Results files: good ones, and ones made to harm."""

from __future__ import annotations

import contextlib
import io
import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from perun_like.monitoring.results import result_of
from perun_like.store.assembly import assemble
from perun_like.store.schema import SEAL_BYTES
from perun_like.store.writer import write

from .parts import measured_in_place, usual, written
from .values import harmed, hostile_json

_CONTENTS = b"perun-like contents "


def good_files(directory: Path) -> list[Path]:
    """A file of a program, and one of what was measured in place."""
    return [_good(directory, name, frames()) for name, frames in (("a", usual), ("b", measured_in_place))]


def _good(directory: Path, name: str, frames: Any) -> Path:
    recording = assemble(written(directory / f"{name}.parts", frames))
    path = directory / f"{name}.h5"
    write(str(path), recording, result_of(recording))
    return path


@st.composite
def results_files(draw: st.DrawFn, good: list[Path]) -> bytes:
    """The bytes of a results file: a good one that came to harm, or one that HDF5 itself made of hostile contents."""
    content = draw(st.sampled_from(good)).read_bytes()
    how = draw(st.sampled_from(["harmed", "harmed", "contents", "changed", "changed", "changed"]))
    if how == "harmed":
        return harmed(draw, content)
    if how == "contents":
        return _with_contents(draw, content)
    draft = io.BytesIO(content)
    with h5py.File(draft, "r+") as file:  # which drops the seal
        for _ in range(draw(st.integers(1, 3))):
            _change(draw, file)
    return draft.getvalue()


def _with_contents(draw: st.DrawFn, content: bytes) -> bytes:
    """A damaged file that says something else of where everything in it is, with the right checksum of that."""
    end = content.rfind(_CONTENTS)
    known = json.loads(content[end + len(_CONTENTS) + 17 : -SEAL_BYTES])
    if draw(st.booleans()):
        places = st.lists(st.tuples(st.integers(0, len(content)), st.integers(0, 2 * len(content)), st.just(0)))
        text = json.dumps({**known, **draw(st.dictionaries(st.sampled_from(list(known)), places))}).encode()
    else:
        text = hostile_json(draw, known)
    head = b"%08x %08x" % (len(text), zlib.crc32(text))
    return b"?" + content[1:end] + _CONTENTS + head + text + content[-SEAL_BYTES:]


def _change(draw: st.DrawFn, file: h5py.File) -> None:
    names: list[str] = []
    file.visit(names.append)
    how = draw(st.sampled_from(["json", "json", "json", "dataset", "attribute", "link", "gone"]))
    if how == "json":
        _change_json(draw, file, draw(st.sampled_from(["tree", "recording"])))
    elif how == "attribute":
        _change_attribute(draw, file[draw(st.sampled_from(["/", *names]))])
    else:
        name = draw(st.sampled_from(names))
        del file[name]
        if how == "dataset":
            _put_dataset(draw, file, name)
        elif how == "link":
            file[name] = draw(st.sampled_from(_LINKS))


_ATTRIBUTES = ["schema", "schema_version", "software_version", "first", "step", "modulus", "unit_nj"]
_FILTERS: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
    {"fletcher32": True},
]
_LINKS = [
    h5py.SoftLink("/"), h5py.SoftLink("/tree"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/"),
    h5py.ExternalLink("a.h5", "/tree"),
]  # fmt: skip


def _change_json(draw: st.DrawFn, file: h5py.File, name: str) -> None:
    try:
        text = hostile_json(draw, json.loads(file[name][0]))
    except (LookupError, ValueError, TypeError, RuntimeError, OSError):
        return  # it was changed before
    del file[name]
    file.create_dataset(name, data=np.array([text or b" "], "S"))


def _change_attribute(draw: st.DrawFn, place: Any) -> None:
    name = draw(
        st.sampled_from(["schema", "schema_version", "software_version", "first", "step", "modulus", "unit_nj"])
    )
    values = [0, -1, 1 << 62, 3, 1.5, "x", "perun-like", np.arange(3), np.int64(-(1 << 63)), np.uint64((1 << 64) - 1)]
    place.attrs[name] = draw(st.sampled_from(values))


def _put_dataset(draw: st.DrawFn, file: h5py.File, name: str) -> None:
    shape = draw(st.sampled_from([(), (0,), (1,), (100,), (10, 10), (10**9,), (10**12,), (1 << 40,)]))
    dtype = draw(st.sampled_from(["i1", "i8", "u8", "f8", "S1", "S100000", "?", h5py.string_dtype(), [("a", "i8")]]))
    options: dict[str, Any] = {}
    if shape and shape[0] and (shape[0] > 1000 or draw(st.booleans())):  # not allocated, but for what is written
        options = {"chunks": tuple(min(max(n, 1), 1 << 10) for n in shape)}
        options |= draw(
            st.sampled_from(
                [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"fletcher32": True}]
            )
        )
    with contextlib.suppress(ValueError):  # HDF5 itself doesn't allow all of these together
        file.create_dataset(name, shape, dtype, **options)
