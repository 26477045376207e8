"""Threads that begin together and go on until each of them has done its share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

from perf.scenarios.tenants import Tenant

T = TypeVar("T")


class _Crowd:
    def __init__(self, size: int, wanted: int, *, closed: bool) -> None:
        self._begin = threading.Barrier(size)
        self._lock = threading.Lock()
        self._lacking, self._wanted, self._closed = size, wanted, closed

    def numbers(self) -> Iterator[int]:
        """Of one thread's requests, until everybody had as many as were wanted."""
        self._begin.wait()
        for number in count():
            if number == self._wanted:
                with self._lock:
                    self._lacking -= 1
            if number >= self._wanted and (self._lacking <= 0 or not self._closed):
                return
            yield number

    def give_up(self) -> None:
        """Nobody waits for a thread that failed."""
        self._begin.abort()
        self._lacking = 0


def together(
    tenants: Sequence[Tenant],
    wanted: int,
    serve: Callable[[Tenant, int], T],
    *,
    closed: bool = True,
    warmup: int = 0,
) -> dict[str, list[T]]:
    """What `serve(tenant, number)` gave, for each tenant, all of them in threads at once.

    An exception in a thread ends all and is raised.

    Args:
        closed: whoever is quick goes on until the slowest has done `wanted` requests, so that
            nobody's last requests have the device to themselves; else each does `wanted`.
        warmup: requests of each thread that go before and are not kept.
    """
    crowd = _Crowd(len(tenants), warmup + wanted, closed=closed)

    def work(tenant: Tenant) -> list[T]:
        try:
            return [serve(tenant, number) for number in crowd.numbers()][warmup:]
        except BaseException:
            crowd.give_up()
            raise

    with ThreadPoolExecutor(len(tenants)) as pool:
        begun = {tenant.name: pool.submit(work, tenant) for tenant in tenants}
        errors = [future.exception() for future in begun.values()]
        for error in errors:
            if error is not None and not isinstance(error, threading.BrokenBarrierError):
                raise error
        return {name: future.result() for name, future in begun.items()}
