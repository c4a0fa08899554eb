"""A result as JSON, for scripts. ``perun_like.model.serial`` says what is in it."""

from __future__ import annotations

from perun_like.model.node import DataNode
from perun_like.model.serial import encode, to_dict
from perun_like.report.output import open_output


def dumps(tree: DataNode) -> str:
    """A result as indented JSON in ASCII, without a newline at its end."""
    return encode(to_dict(tree), indent=2)


def write(tree: DataNode, path: str) -> None:
    """Write a result as JSON.

    Args:
        tree: The result.
        path: A file, replaced as a whole if it exists; ``-`` is standard output.

    Raises:
        OSError: it can't be written; an existing file is as it was.
    """
    text = dumps(tree)
    with open_output(path) as file:
        file.write(text.encode("ascii") + b"\n")
