"""What is said of a host file beside it: all that its run's result needs, a few kB whatever the host has recorded.

A summary is there if and only if its host file is. It is compressed JSON, which carries a checksum of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.model.serial import encode, encode_tree, from_dict
from perun_like.sampling.distrust import parse, read_plain
from perun_like.store.facts import integer
from perun_like.store.gather import HostFile
from perun_like.store.publish import Stamp, write_whole
from perun_like.store.reader import recording_of
from perun_like.store.references import plain_name
from perun_like.store.trust import telling_damage
from perun_like.store.writer import facts_of

SUFFIX = ".summary"
_FEW_BYTES, _MOST_INFLATION = 1 << 24, 300
_MOST_BYTES = 1 << 30  # of a host with a hundred thousand regions; what says that it is larger is damaged


class Summary(NamedTuple):
    """What is known of a host without its samples.

    Attributes:
        identity: The host's.
        parts: Names of the parts that its file was made of, sorted.
        file: The host file.
        recording: The run as far as that host knows it, without what it recorded; the id is empty unless given.
        path: Where this stands; the host's result stands there too.
    """

    identity: str
    parts: tuple[str, ...]
    file: HostFile
    recording: Recording
    path: str


def write_summary(summary: Summary, tree: DataNode) -> None:
    """Write a summary with the host's result, in place of an older one if there is one.

    Raises:
        PerunError: it can't be written.
    """
    facts = {
        "identity": summary.identity,
        "parts": summary.parts,
        "file": summary.file._asdict() | {"stamp": summary.file.stamp._asdict()},
        "recording": facts_of(summary.recording),
    }
    write_whole(
        summary.path,
        *(zlib.compress(text.encode()) for text in (encode(facts), "".join(encode_tree(tree)))),
        replace=True,
    )


def read_summary(path: str) -> Summary:
    """A summary.

    Raises:
        FileError: it can't be read, or is damaged.
    """
    with telling_damage(path):
        facts, _ = _texts(path)
        content: dict[str, Any] = parse(facts, _MOST_BYTES)
        file = content["file"]
        return Summary(
            identity=str(content["identity"]),
            parts=tuple(plain_name(name) for name in content["parts"]),
            file=HostFile(plain_name(file["name"]), _stamp(file["stamp"]), {**file["host"]}),
            recording=recording_of(content["recording"]),
            path=path,
        )


def _stamp(facts: Mapping[str, Any]) -> Stamp:
    return Stamp(integer(facts, "size_b"), integer(facts, "crc32", high=(1 << 32) - 1))


def read_tree(summary: Summary) -> DataNode:
    """The result of a host.

    Raises:
        FileError: it can't be read, or is damaged.
    """
    with telling_damage(summary.path):
        return from_dict(parse(_texts(summary.path)[1], _MOST_BYTES))


def _texts(path: str) -> list[bytes]:
    """The two texts of a summary: facts, and the result. Each carries a checksum of its own."""
    content = read_plain(path, _MOST_BYTES)
    texts: list[bytes] = []
    while content and len(texts) < 2:
        inflater = zlib.decompressobj()
        texts.append(inflater.decompress(content, min(_MOST_BYTES, _FEW_BYTES + _MOST_INFLATION * len(content))))
        if not inflater.eof:
            raise ValueError("it ends too early, or is too large")
        content = inflater.unused_data
    return texts
