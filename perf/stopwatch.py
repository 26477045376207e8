"""Where session creation spends its time, seen through the seam and without touching the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.backends.protocol import Backend
from engine.config import ForwardType, ScheduleConfig
from engine.runtime import Runtime

SECTIONS = {"prepare": "prepare", "allocate": "upload", "write": "upload", "lower": "lower"}
"""Backend method -> the section its time is booked under."""


class Stopwatch:
    """Exclusive times in ns by section: a section inside another one is not counted twice."""

    def __init__(self) -> None:
        self.sections_ns: dict[str, int] = {}
        self._inner_ns = [0]

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Book the time inside, less that of the sections inside it."""
        self._inner_ns.append(0)
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            whole = time.perf_counter_ns() - started
            own = whole - self._inner_ns.pop()
            self._inner_ns[-1] += whole
            self.sections_ns[name] = self.sections_ns.get(name, 0) + own

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time booked under a section."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self.section(name):
                return function(*arguments, **keywords)

        return call


class TimedBackend:
    """A backend whose methods of `SECTIONS` are timed; everything else is the backend's own."""

    def __init__(self, backend: Backend, watch: Stopwatch) -> None:
        self._backend = backend
        for method, section in SECTIONS.items():
            setattr(self, method, watch.timed(section, getattr(backend, method)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class TimedRuntime(Runtime):
    """A runtime whose context creation and program builds are timed, and its backends too."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch
        self._timed: dict[int, Any] = {}

    def backend(self, forward: ForwardType, config: ScheduleConfig) -> Backend:
        """The timed form of the backend."""
        with self._watch.section("context"):
            plain = super().backend(forward, config)
        if id(plain) not in self._timed:
            context: Any = getattr(plain, "context", None)
            if context is not None and not hasattr(context, "is_timed"):
                context.is_timed = True
                context.program = self._watch.timed("build", context.program)
            self._timed[id(plain)] = TimedBackend(plain, self._watch)
        timed: Backend = self._timed[id(plain)]
        return timed
