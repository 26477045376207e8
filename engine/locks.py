"""Locks: several locks as one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any


class Locks:
    """Several locks taken together, by whoever wants them in the same order: no deadlock."""

    def __init__(self, locks: Iterable[AbstractContextManager[Any]]) -> None:
        by_id = {id(lock): lock for lock in locks}
        self._locks = [by_id[key] for key in sorted(by_id)]

    def __enter__(self) -> None:
        for n, lock in enumerate(self._locks):
            try:
                lock.__enter__()
            except BaseException:
                self._exit(n)
                raise

    def __exit__(self, *_: object) -> None:
        self._exit(len(self._locks))

    def _exit(self, count: int) -> None:
        for lock in reversed(self._locks[:count]):
            lock.__exit__(None, None, None)


def together(locks: Iterable[AbstractContextManager[Any]]) -> AbstractContextManager[Any]:
    """All of them; a single one as it is: KeyboardInterrupt cannot fall between its halves."""
    distinct = list({id(lock): lock for lock in locks}.values())
    return distinct[0] if len(distinct) == 1 else Locks(distinct)
