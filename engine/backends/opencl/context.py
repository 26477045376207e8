"""What all OpenCL sessions of a runtime share on one device: context, queue, programs."""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from functools import cache
from importlib import resources
from typing import Any

from engine.backends.opencl import device as discovery
from engine.backends.opencl.pocl_target import name_target
from engine.errors import CompileError, DeviceError


@cache
def source(family: str) -> str:
    """The text of kernels/<family>.cl, its `#include "other.cl"` lines replaced by that text."""
    folder = resources.files("engine.backends.opencl") / "kernels"
    text = (folder / f"{family}.cl").read_text()
    return re.sub(r'^#include "(\w+)\.cl"$', lambda m: source(m[1]), text, flags=re.MULTILINE)


class OpenCLContext:
    """A context, an in-order queue, and the programs built so far.

    Attributes:
        queue: where commands go; swapped for a profiling queue by `profiling`.
        builds: how many programs were compiled (not found in memory).
    """

    def __init__(self, device: Any, shared: Any = None) -> None:
        cl = discovery.opencl()
        self.cl = cl
        name_target(device)
        try:
            if isinstance(shared, cl.CommandQueue):
                self.context, self.queue = shared.context, shared
            else:
                self.context = shared if shared is not None else cl.Context([device])
                self.queue = cl.CommandQueue(self.context, device)
        except cl.Error as error:
            raise DeviceError(f"cannot use {device.name.strip()}: {error}") from error
        self.device = self.queue.device
        self.info = discovery.describe(self.device)
        self.builds = 0
        self._programs: dict[str, Any] = {}
        self._lock = threading.Lock()

    def program(self, family: str, options: tuple[str, ...]) -> Any:
        """The built program of kernels/<family>.cl; raises CompileError with the build log."""
        text = source("common") + source(family)
        key = hashlib.sha256("\0".join((text, *options)).encode()).hexdigest()
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._build(family, text, options)
                self.builds += 1
            return self._programs[key]

    def _build(self, family: str, text: str, options: tuple[str, ...]) -> Any:
        cl = self.cl
        program = cl.Program(self.context, text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cl.CompilerWarning)
                return program.build(list(options), devices=[self.device], cache_dir=False)
        except cl.RuntimeError as error:
            raise CompileError(
                f"{self.info.platform} / {self.info.name} cannot build kernels/{family}.cl "
                f"with {' '.join(options)}",
                str(error),
            ) from error

    def finish(self) -> None:
        """Return when every queue is idle."""
        self.queue.finish()

    def profiling(self) -> Any:
        """A queue on the same context that records event times."""
        properties = self.cl.command_queue_properties.PROFILING_ENABLE
        return self.cl.CommandQueue(self.context, self.device, properties=properties)
