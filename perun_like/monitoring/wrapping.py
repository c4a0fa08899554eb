"""Putting something before and after each call of a function, of whichever kind, without changing what it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# Of a function's code object; the module inspect, which names them, takes 14 ms to import.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Steps(Protocol):
    """One call: entered and left once or, of a generator, at each of its steps."""

    def enter(self) -> None:
        """It begins, or goes on. An interrupt is all that may be raised."""
        ...

    def leave(self, raised: bool) -> None:
        """It has ended, or waits to be resumed. Entering it may have been interrupted."""
        ...


def check_function(decorator: str, function: object) -> None:
    """Refuse what can't be wrapped.

    Raises:
        TypeError: it is a class, a class method's or static method's descriptor, or no function.
    """
    if isinstance(function, (type, classmethod, staticmethod)) or not callable(function):
        raise TypeError(
            f"@{decorator} goes directly above a function (below @classmethod and @staticmethod), not on {function!r}"
        )


def kind_of(function: Callable[..., Any]) -> str:
    """``function``, ``coroutine``, ``generator`` or ``async generator``."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    kinds = {_ASYNC_GENERATOR: "async generator", _COROUTINE: "coroutine", _GENERATOR: "generator"}
    return next((kind for flag, kind in kinds.items() if flags & flag), "function")


def wrap(function: F, steps: Callable[[], Steps]) -> F:
    """The function, with ``steps`` made, entered and left around each of its calls."""
    wrappers: dict[str, Callable[..., Any]] = {
        "function": _wrap_function,
        "coroutine": _wrap_coroutine,
        "generator": _wrap_generator,
        "async generator": _wrap_async_generator,
    }
    return cast(F, wrappers[kind_of(function)](function, steps))


def _wrap_function(function: Callable[..., Any], steps: Callable[[], Steps]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = steps()
        raised = True
        try:
            call.enter()
            result = function(*args, **kwargs)
            raised = False
        finally:
            call.leave(raised)
        return result

    return wrapper


def _wrap_coroutine(function: Callable[..., Any], steps: Callable[[], Steps]) -> Callable[..., Any]:
    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = steps()
        raised = True
        try:
            call.enter()
            result = await function(*args, **kwargs)
            raised = False
        finally:
            call.leave(raised)
        return result

    return wrapper


def _wrap_generator(function: Callable[..., Any], steps: Callable[[], Steps]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator, call = function(*args, **kwargs), steps()
        step, value = generator.send, None
        while True:
            raised = True
            try:
                call.enter()
                item = step(value)
                raised = False
            except StopIteration as stop:
                raised = False
                return stop.value
            finally:
                call.leave(raised)
            try:
                step, value = generator.send, (yield item)
            except GeneratorExit:
                generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in goes to the wrapped generator
                step, value = generator.throw, error

    return wrapper


def _wrap_async_generator(function: Callable[..., Any], steps: Callable[[], Steps]) -> Callable[..., Any]:
    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator, call = function(*args, **kwargs), steps()
        step, value = generator.asend, None
        while True:
            raised = True
            try:
                call.enter()
                item = await step(value)
                raised = False
            except StopAsyncIteration:
                raised = False
                return
            finally:
                call.leave(raised)
            try:
                step, value = generator.asend, (yield item)
            except GeneratorExit:
                await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in goes to the wrapped generator
                step, value = generator.athrow, error

    return wrapper
