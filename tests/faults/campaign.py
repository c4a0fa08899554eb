"""Many tries of faults by several workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from .checks import Outcome
from .worker import Worker


def run(tries: Sequence[tuple[str, int]], jobs: int, reason: str) -> Iterator[Outcome]:
    """Try faults; outcomes as they come. Closing the iterator ends everything at once.

    Args:
        tries: Names of faults, and seeds.
        jobs: How many at a time.
        reason: Why they can't be kept apart from this machine; empty if they can.
    """
    opened = [Worker(reason) for _ in range(jobs)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in opened:
        idle.put(worker)
    done: SimpleQueue[Outcome] = SimpleQueue()

    def work(name: str, seed: int) -> None:
        worker = idle.get()
        try:
            done.put(worker.attempt(name, seed))
        except Exception as error:  # noqa: BLE001 - one bad try must not end the campaign; it is told as what it is
            done.put(Outcome(name, seed, failed=repr(error)))
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(jobs)
    try:
        for name, seed in tries:
            pool.submit(work, name, seed)
        for _ in tries:
            yield done.get()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in opened:
            worker.close()
        pool.shutdown()
