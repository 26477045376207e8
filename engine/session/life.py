"""Life: what a session owns, from its making to its end, and in which process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from engine.cache import CacheFile
from engine.errors import ClosedError, ConfigError
from engine.forks import ProcessBound, check_process
from engine.runtime import Runtime

logger = logging.getLogger("parallax.session")


class Owner(ProcessBound):
    """What has a lock, a runtime that it uses or owns, and an end.

    Args:
        runtime: whose devices to use; it is told of the end.
        owns_runtime: close the runtime at the end.
        cache: where compiled kernels are looked up and left.
        closed: called at the very end.

    Attributes:
        noun: what errors call it; that of a Module is one to the user.
    """

    noun = "Session"

    def __init__(
        self,
        runtime: Runtime,
        *,
        owns_runtime: bool,
        cache: CacheFile | None,
        closed: Callable[[], object],
    ) -> None:
        self.runtime = runtime
        self.closed = False
        self.cache = cache
        self._has_run = False
        self._lock = threading.RLock()
        self._bind_to_process()
        self._closing = ExitStack()
        self._closing.callback(closed)
        if owns_runtime:
            self._closing.callback(runtime.close)

    def close(self) -> None:
        """Free what is the session's own, after a bounded wait; harmless the second time.

        One that ran writes its compiled kernels into the cache file, if there is one.

        Use after close raises ClosedError.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._forget()
            if not self._is_inherited:
                try:
                    self._save_cache()
                finally:
                    self._closing.close()

    def _forget(self) -> None:
        """Let go of what is of no use after the end."""

    def _save_cache(self) -> None:
        """A cache that cannot be written costs time, and nothing else."""
        if self.cache is not None and self._has_run:
            try:
                self.cache.save()
            except ConfigError as error:
                logger.warning("%s", error)

    def check_open(self) -> None:
        """Raise ClosedError after `close`, and in a process that was forked since."""
        if self.closed:
            raise ClosedError(f"this {self.noun} is closed")
        check_process(self)

    def _after_fork(self) -> None:
        """What a thread of the parent was doing does not end here."""
        self._lock = threading.RLock()
