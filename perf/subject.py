"""Subject: what can be measured, and how its queues are drained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from engine.execution.execution import Execution
from engine.runtime import Runtime


class Subject(Protocol):
    """What can be measured: a `Session`, or anything with its runtime and execution."""

    @property
    def runtime(self) -> Runtime:
        """Whose queues are drained."""
        ...

    @property
    def execution(self) -> Execution:
        """Whose commands are profiled."""
        ...

    def run(self, feeds: Mapping[str, Any] | None = None) -> None:
        """Enqueue one inference."""
        ...


def drain(runtime: Runtime) -> None:
    """Return when every queue of the runtime is idle."""
    runtime.synchronize()
