"""JSON with something else in one place, and other values that nobody expects."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Place = tuple[Any, ...]

WEIRD = [
    *(
        None,
        True,
        -1,
        0,
        1 << 31,
        1 << 63,
        1 << 200,
        1.5,
        -0.0,
        1e308,
        "",
        "x",
        "../../x",
        "nul\0",
        "\ud800",
        "\x1b[2J",
    ),
    *([], [[]], {}, {"a": {}}, [None], ["x"] * 3, "é" * 10_000, list(range(100))),
]
NOT_JSON = [b"", b"{", b"[]", b"\xff\xfe", b"NaN", b'{"a": NaN}', b"[" * 50_000, b'{"a":' * 50_000, b"9" * 5_000]


def places(content: Any, path: Place = ()) -> list[Place]:
    """Where in a JSON value another value may be put."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] * bool(path) + [place for key, value in inner for place in places(value, (*path, key))]


def changed(content: Any, place: Place, value: Any) -> Any:
    """A JSON value with another value in one place."""
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


def without(content: Any, place: Place) -> Any:
    """A JSON value that lacks something."""
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return content


def hostile_json(draw: st.DrawFn, content: Any) -> bytes:
    """The JSON of a value with a few things in it that can't be, or no JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(NOT_JSON))
    for _ in range(draw(st.integers(1, 3))):
        if not (there := places(content)):
            break
        place = draw(st.sampled_from(there))
        how = draw(st.sampled_from(["changed", "changed", "without", "added", "added"]))
        if how == "without":
            content = without(content, place)
        else:
            place = place if how == "changed" or not isinstance(place[-1], str) else (*place[:-1], "more")
            content = changed(content, place, draw(st.sampled_from(WEIRD)))
    return json.dumps(content).encode()


def harmed(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes as a disk, a network or a full file system may leave them."""
    harmed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["flip", "flip", "cut", "zeros", "noise", "again"]))
        at = draw(st.integers(0, max(len(harmed) - 1, 0)))
        length = draw(st.integers(1, 600))
        if how == "flip" and harmed:
            harmed[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del harmed[at:]
        elif how == "zeros":
            harmed[at : at + length] = bytes(length)
        elif how == "noise":
            harmed[at : at + length] = draw(st.binary(min_size=1, max_size=64))
        else:
            harmed[at:at] = harmed[max(0, at - length) : at]
    return bytes(harmed)
