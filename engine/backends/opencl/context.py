"""What all OpenCL sessions of a runtime share on one device: context, queue, programs."""

from __future__ import annotations

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from engine.backends.live import LiveCounter
from engine.backends.opencl import device as discovery
from engine.backends.opencl import ending, program_cache, queues, quirks
from engine.backends.opencl.launch import IdleKernels, set_arguments
from engine.backends.opencl.pocl_target import name_target
from engine.backends.opencl.sharing import Place
from engine.backends.opencl.status import checked, failure
from engine.backends.opencl.transfers import InFlight, RunsInFlight
from engine.backends.protocol import KernelCache
from engine.config import PowerMode
from engine.errors import CompileError, ConfigError, DeviceError
from engine.forks import ProcessBound, check_process

T = TypeVar("T")
logger = logging.getLogger("parallax.opencl")
COMPUTED_MAX = 4096
"""Results that `OpenCLContext.once` keeps."""


@cache
def source(family: str) -> str:
    """The text of kernels/<family>.cl, its `#include "other.cl"` lines replaced by that text."""
    return _expanded(family)


def text_of(family: str) -> str:
    """What is compiled for a family."""
    return _joined(source("common"), source(family))


@cache
def _joined(common: str, family: str) -> str:
    """The same string for the same parts, so that its hash is computed once."""
    return common + family


def _expanded(family: str) -> str:
    """Not through `source`: its cache would keep what a test puts in the place of `source`."""
    folder = resources.files("engine.backends.opencl") / "kernels"
    text = (folder / f"{family}.cl").read_text()
    return re.sub(r'^#include "(\w+)\.cl"$', lambda m: _expanded(m[1]), text, flags=re.MULTILINE)


@dataclass(frozen=True)
class Untried:
    """A program made of a binary, of which it shows only when kernels are made what is in it.

    It is referred to here so that its id stays its own.
    """

    program: Any
    key: str
    family: str
    text: str
    options: tuple[str, ...]


class OpenCLContext(ProcessBound):
    """A context, an in-order queue, and the programs built so far.

    Attributes:
        queue: where commands go; swapped for a profiling queue by `profiled`.
        is_shared: the context (and maybe the queue) is the user's own.
        lock: held by whoever enqueues commands that belong together.
        cache: where programs are looked up before they are built; None looks nowhere.
        counter: the buffers and commands that are allocated.
        in_flight: transfers with the host that are not finished. runs: runs that are not.
        builds: how many programs were compiled from source.
    """

    noun = "device"

    def __init__(self, place: Place, power: PowerMode = PowerMode.NORMAL) -> None:
        cl = discovery.opencl()
        self.cl, self.device, self.power = cl, place.device, power
        name_target(self.device)
        if place.queue is not None and power is not PowerMode.NORMAL:
            raise ConfigError(
                f"power={power.name} makes a queue of its own, but shared_context is a "
                "CommandQueue, which keeps its priority; use NORMAL, or share its context"
            )
        try:
            with ending.making:
                self.context = place.context or cl.Context([self.device])
                self.queue = place.queue or queues.new_queue(cl, self.context, self.device, power)
        except cl.Error as error:
            raise DeviceError(f"cannot use {self.device.name.strip()}: {error}") from error
        self.info = discovery.describe(self.device)
        self.is_shared = place.context is not None
        self.lock = threading.RLock()
        self.cache: KernelCache | None = None
        self.counter = LiveCounter()
        self.in_flight = InFlight(self)
        self.runs = RunsInFlight(self)
        self.builds = 0
        self._programs: dict[str, Any] = {}
        self._built_from: dict[int, tuple[str, tuple[str, ...]]] = {}
        self._untried: dict[int, Untried] = {}
        self._rebuilt: dict[int, tuple[Any, Any]] = {}
        self._idle: defaultdict[tuple[int, str], IdleKernels] = defaultdict(IdleKernels)
        self._computed: dict[Hashable, Any] = {}
        self._macros = quirks.macros(self.info)
        self._lock = threading.Lock()
        self._bind_to_process()
        ending.note(self)

    def program(self, family: str, options: tuple[str, ...]) -> Any:
        """The built program of kernels/<family>.cl; raises CompileError with the build log."""
        text = text_of(family)
        options = (*options, *self._macros)
        key = program_cache.key(family, text, options, self.info)
        with self._lock:
            if key not in self._programs:
                found = self._find(key) or self._built_before(key)
                if found is not None:
                    origin = Untried(found, key, family, text, options)
                    self._untried[id(found)] = origin
                self._programs[key] = found or self._build(family, text, options)
                self._built_from[self._programs[key].int_ptr] = family, options
                self._hold(key)
            program = self._programs[key]
            if self.cache is not None:
                self.cache.leave(
                    key, lambda: program_cache.to_binary(self.cl, program, self.device)
                )
            return program

    def once(self, compute: Callable[..., T], *arguments: Hashable) -> T:
        """What a function gives for some shapes and strides, which most resizes leave alone."""
        key = (compute, arguments)
        if key not in self._computed:
            if len(self._computed) >= COMPUTED_MAX:
                self._computed.clear()
            self._computed[key] = compute(*arguments)
        result: T = self._computed[key]
        return result

    def kernel(self, program: Any, name: str, arguments: Sequence[Any]) -> tuple[Any, IdleKernels]:
        """A kernel object with its arguments set, and where it goes when its command is gone.

        A program made of a binary that does not hold this kernel is built from source instead.

        Raises:
            DeviceError: the driver refuses the kernel or its arguments.
        """
        program = self._rebuilt.get(id(program), (program, program))[1]
        while True:
            try:
                idle = self._idle[id(program), name]
                kernel = idle.take() or self.cl.Kernel(program, name)
                set_arguments(kernel, arguments)
                return kernel, idle
            except (self.cl.Error, TypeError) as error:
                untried = self._untried.pop(id(program), None)
                if untried is None:
                    raise _failure(self, error, name) from error
                program = self._replaced(untried, f"the driver refuses its kernel {name} ({error})")

    def built_from(self, kernel: Any) -> tuple[str, tuple[str, ...]]:
        """The source and the options of a kernel's program, also where that was a binary."""
        program = kernel.get_info(self.cl.kernel_info.PROGRAM)
        family, options = self._built_from[program.int_ptr]
        return text_of(family), options

    def _replaced(self, untried: Untried, reason: str) -> Any:
        """The program built from source, in the place of a binary that is of no use."""
        with self._lock:
            if self.cache is not None:
                self.cache.reject(untried.key, reason)
            program = self._build(untried.family, untried.text, untried.options)
            self._programs[untried.key] = program
            self._rebuilt[id(untried.program)] = untried.program, program
            self._built_from[program.int_ptr] = untried.family, untried.options
            self._hold(untried.key)
            if self.cache is not None:
                self.cache.leave(
                    untried.key, lambda: program_cache.to_binary(self.cl, program, self.device)
                )
            return program

    def _find(self, key: str) -> Any:
        """The program as an earlier process left it, or None."""
        binary = self.cache.find(key) if self.cache is not None else None
        if self.cache is None or binary is None:
            return None
        try:
            return program_cache.from_binary(self.cl, self.context, self.device, binary)
        except self.cl.Error as error:
            self.cache.reject(key, f"the driver refuses it ({error})")
            return None

    def _built_before(self, key: str) -> Any:
        """The program as another context of this process built it, or None."""
        binary = program_cache.BUILT.find(key)
        if binary is None:
            return None
        try:
            return program_cache.from_binary(self.cl, self.context, self.device, binary)
        except self.cl.Error:
            return None

    def _hold(self, key: str) -> None:
        if program_cache.gives_binaries_freely(self.info):
            binary = program_cache.to_binary(self.cl, self._programs[key], self.device)
            if binary:
                program_cache.BUILT.hold(key, binary)

    def _build(self, family: str, text: str, options: tuple[str, ...]) -> Any:
        cl = self.cl
        program = cl.Program(self.context, text)
        logger.debug("building kernels/%s.cl %s", family, " ".join(options))
        try:
            with program_cache.quiet(cl):
                # PoCL counts warnings on standard error; errors come in the log all the same
                program.build([*options, "-w"], devices=[self.device], cache_dir=False)
        except cl.RuntimeError as error:
            raise CompileError(
                f"{self.info.platform} / {self.info.name} cannot build kernels/{family}.cl "
                f"with {' '.join(options)}",
                str(error),
            ) from error
        self.builds += 1
        return program

    def finish(self) -> None:
        """Return when the queue is idle; raises DeviceError when its work failed."""
        check_process(self)
        with self.lock:
            queue = self.queue
        with checked(self, "waiting for the queue"), ending.waiting():
            queue.finish()
        self._prune()

    def wait(self, timeout_s: float) -> bool:
        """Like `finish`, but give up after a time; whether the queue is idle."""
        check_process(self)
        idle = queues.wait(self, timeout_s)
        self._prune()
        return idle

    def _prune(self) -> None:
        self.in_flight.prune()
        self.runs.prune()

    @contextmanager
    def profiled(self) -> Iterator[None]:
        """Inside, commands go to a queue that records event times, of this thread only."""
        with self.lock:
            self.finish()
            flags = self.cl.command_queue_properties.PROFILING_ENABLE
            plain = self.queue
            with checked(self, "making a profiling queue"):
                self.queue = queues.new_queue(self.cl, self.context, self.device, self.power, flags)
            try:
                yield
            finally:
                try:
                    self.finish()
                finally:
                    self.queue = plain


def _failure(context: OpenCLContext, error: Any, name: str) -> DeviceError:
    if isinstance(error, TypeError):
        return DeviceError(f"kernel {name}: cannot set arguments: {error}")
    return failure(context, error, f"making kernel {name}")
