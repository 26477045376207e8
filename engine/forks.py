"""Forks: what has threads or a device behind it belongs to one process, and says so in others.

A fork copies objects, but neither threads nor what a driver holds; and a lock that another thread
held at that moment is never released in the child.
"""

from __future__ import annotations

import os
from weakref import WeakSet

from engine.errors import ClosedError


class ProcessBound:
    """What works only in the process in which it was made.

    Attributes:
        noun: what errors call it.
    """

    noun = "object"
    _process: int

    def _bind_to_process(self) -> None:
        """Belong to this process; called once its locks are there."""
        self._process = os.getpid()
        _EVERY.add(self)

    @property
    def _is_inherited(self) -> bool:
        """Whether this process was forked from the one in which it was made."""
        return self._process != os.getpid()

    def _after_fork(self) -> None:
        """Called in the child before anything else: replace locks that may be held for ever."""


def check_process(bound: ProcessBound) -> None:
    """Raise ClosedError in a process that was forked since it was made."""
    if bound._is_inherited:
        raise ClosedError(
            f"this {bound.noun} was made before this process was forked, and its threads and "
            "device did not come along; make it in this process, or start processes by 'spawn'"
        )


_EVERY: WeakSet[ProcessBound] = WeakSet()


def _after_fork() -> None:
    for each in list(_EVERY):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
