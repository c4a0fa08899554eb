"""Exceptions that the program's handlers of signals raise: they are the program's, wherever they come to light."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from types import CodeType
from typing import Any


def pass_on(error: BaseException) -> None:
    """Raise an exception again if it comes from such a handler."""
    if is_of_handler(error):
        raise error


def is_of_handler(error: BaseException) -> bool:
    """Whether an exception comes from a handler of a signal, as a time limit's does, and from nothing of ours."""
    codes, traceback = set(_codes()), error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


def _codes() -> Iterator[CodeType]:
    signal: Any = sys.modules.get("signal")  # whoever has a handler has imported it, which takes 0.6 ms
    if signal is None:
        return
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        for called in (handler, getattr(type(handler), "__call__", None)):  # noqa: B004 - a method of the handler's class
            if isinstance(code := getattr(called, "__code__", None), CodeType):
                yield code
