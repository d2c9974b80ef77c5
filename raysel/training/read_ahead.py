"""Reads what comes next while a device computes: in threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """What `read` gives for each item, in the order of the items.

    Args:
        read: called from several threads at once; it must not depend on the order of the calls.
        threads: that read at a time; twice as many results are waiting or being read. 0 reads
            each item when it is asked for.

    Raises:
        Exception: what `read` raised, where its result is due.
    """
    if not threads:
        yield from map(read, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "raysel-read")
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
