"""Runtime: what sessions share: contexts, queues, programs, packed weights, arenas, threads."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Hashable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from weakref import WeakSet

from engine import arguments, auto, heap
from engine.arenas import SharedArena
from engine.backends import registry
from engine.backends.protocol import Backend, DeviceInfo, LiveMemory
from engine.config import ForwardType, PowerMode, Precision, ScheduleConfig
from engine.errors import ClosedError, ConfigError, InputError, ParallaxWarning
from engine.forks import ProcessBound, check_process

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend

logger = logging.getLogger("parallax.runtime")


@runtime_checkable
class User(Protocol):
    """What keeps a closed runtime's resources alive: a session."""

    closed: bool


@dataclass(frozen=True)
class BackendInfo:
    """One backend that a runtime has made."""

    name: str
    device: DeviceInfo
    precision: Precision


class Runtime(ProcessBound):
    """Backends made on demand and shared by every session that is given this runtime.

    Sessions on the same OpenCL device share one context, one in-order queue, its programs, packed
    weights and the memory of intermediate tensors, whatever their precision; on the CPU they share
    the threads and that memory. They take turns: safe from any thread, parallel only in different
    runtimes. Use as a context manager, or call `close`.

    Attributes:
        explanations: one sentence for every choice the runtime made for the user (AUTO).
    """

    noun = "Runtime"

    def __init__(self) -> None:
        self.explanations: list[str] = []
        self._cpu: CpuBackend | None = None
        self._threads: int | None = None
        self._contexts: dict[Any, Any] = {}
        self._opencl: dict[Any, Backend] = {}
        self._lent: list[Any] = []
        self._arenas: dict[Hashable, SharedArena] = {}
        self._users: WeakSet[Any] = WeakSet()
        self._auto: dict[Hashable, auto.Decision] = {}
        self._lock = threading.RLock()
        self._closed = False
        self._bind_to_process()

    # ------------------------------------------------------------------ what is shared
    def backend(self, forward: ForwardType, config: ScheduleConfig) -> Backend:
        """The backend of a forward type for a config, made once.

        Raises:
            DeviceError: no such device. ClosedError: the runtime is closed.
            ConfigError: the config contradicts what this runtime already shares, or AUTO finds
                nothing that can honour it.
        """
        arguments.of_kind("backend", config, ScheduleConfig, "a ScheduleConfig", ConfigError)
        forward = arguments.member("backend", ForwardType, forward)
        with self._lock:
            self._check_open()
            device = config.device
            if forward is ForwardType.AUTO:
                decision = self._resolve_auto(config)
                forward, device = decision.forward, decision.selector
            if forward is ForwardType.CPU:
                return self._cpu_backend(config)
            return self._opencl_backend(device, config)

    def _cpu_backend(self, config: ScheduleConfig) -> Backend:
        if self._cpu is None:
            self._cpu = registry.cpu_backend()
            _tell(self._cpu)
        asked = config.num_threads
        if config.backend_config.power is PowerMode.LOW:
            asked = registry.cpu_threads(power=PowerMode.LOW)
        used = None if asked is None else _capped(asked)
        if used is not None and self._threads is None:
            self._cpu.use_threads(used)
            self._threads = used
        if used not in (None, self._threads):
            raise ConfigError(
                f"this runtime's CPU backend has {self._threads} threads, which its sessions "
                f"share; {asked} were asked for: use the same number, or another Runtime"
            )
        return self._cpu

    def _opencl_backend(self, device: str | None, config: ScheduleConfig) -> Backend:
        preferences = config.backend_config
        context = self._context(device, preferences.shared_context, preferences.power)
        key = (id(context), preferences.precision)
        if key not in self._opencl:
            self._opencl[key] = registry.opencl_backend(context, preferences.precision)
            _tell(self._opencl[key])
        return self._opencl[key]

    def _context(self, device: str | None, shared: Any, power: PowerMode) -> Any:
        selector = (device, _identity(shared), power)
        if selector not in self._contexts:
            new = registry.opencl_context(device, shared, power)
            old = next((c for c in self._contexts.values() if c.device == new.device), new)
            if old is not new:
                _refuse_conflict(old, new)
            self._contexts[selector] = old
            self._lent.append(shared)  # its id stays its own as long as it lives
        return self._contexts[selector]

    def _resolve_auto(self, config: ScheduleConfig) -> auto.Decision:
        """What AUTO takes for what a configuration asks, decided once."""
        preferences = config.backend_config
        shared, is_low = preferences.shared_context, preferences.precision is Precision.LOW
        wishes = (config.device, _identity(shared), preferences.power, is_low)
        if wishes not in self._auto:
            decision = auto.choose(config, lambda selector: self._opencl_backend(selector, config))
            self._auto[wishes] = decision
            if decision.why not in self.explanations:
                self.explanations.append(decision.why)
        return self._auto[wishes]

    def arena(self, backend: Backend) -> SharedArena:
        """The memory of intermediate tensors, one for all backends with the same `memory`.

        Raises:
            ClosedError: the runtime and all of its sessions are closed.
        """
        check_process(self)
        if not hasattr(backend, "memory"):
            got = arguments.shown(backend)
            raise InputError(f"arena: got {got}, expected a backend of this runtime")
        with self._lock:
            if self._closed and backend not in self._made():
                raise ClosedError("this Runtime is closed")
            if backend.memory not in self._arenas:
                self._arenas[backend.memory] = SharedArena(backend.allocate, backend.lock)
            return self._arenas[backend.memory]

    @property
    def backends(self) -> tuple[BackendInfo, ...]:
        """What was made so far."""
        return tuple(BackendInfo(b.name, b.info, b.precision) for b in self._made())

    def _made(self) -> list[Backend]:
        with self._lock:
            return [*([self._cpu] if self._cpu is not None else []), *self._opencl.values()]

    def live(self) -> LiveMemory:
        """Buffers, commands and bytes allocated now on all devices of this runtime."""
        each = {b.memory: b.live() for b in self._made()}.values()
        return LiveMemory(*(sum(getattr(m, f) for m in each) for f in LiveMemory.__annotations__))

    def trim(self) -> None:
        """Give back memory of intermediate tensors that no session needs now."""
        with self._lock:
            self._check_open()
            arenas = list(self._arenas.values())
        for arena in arenas:  # each takes the lock of a backend: a run's callback may hold it
            arena.trim()

    # ------------------------------------------------------------------ life
    def adopt(self, user: User) -> None:
        """Note a session: what it shares is freed no earlier than it is closed."""
        arguments.of_kind("adopt", user, User, "a Session")
        with self._lock:
            self._check_open()
            self._users.add(user)

    def dismiss(self, user: User) -> None:
        """A session was closed."""
        arguments.of_kind("dismiss", user, User, "a Session")
        with self._lock:
            self._users.discard(user)
            if self._closed:
                self._free()

    def synchronize(self) -> None:
        """Return when every queue of this runtime is idle."""
        self._check_open()
        for backend in self._made():
            backend.synchronize()

    def close(self) -> None:
        """Make no more sessions; free what is shared once the last session is closed.

        Harmless the second time.
        """
        with self._lock:
            self._closed = True
            self._free()

    def _free(self) -> None:
        if self._is_inherited or any(not user.closed for user in self._users):
            return
        with ExitStack() as stack:
            for backend in self._made():
                stack.callback(backend.close)
            for arena in self._arenas.values():
                stack.callback(arena.trim)
        self._cpu = None
        for shared in (self._opencl, self._contexts, self._arenas, self._lent):
            shared.clear()
        heap.trim()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this Runtime is closed")
        check_process(self)

    def _after_fork(self) -> None:
        """What a thread of the parent was doing does not end here."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        made = ", ".join(f"{b.name} {b.precision.value} on {b.info.name}" for b in self._made())
        sessions = sum(not user.closed for user in list(self._users))
        state = "closed" if self._closed else made or "nothing made yet"
        return f"<Runtime: {state}; {sessions} session{'s' * (sessions != 1)}>"

    def __enter__(self) -> Runtime:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create_runtime(configs: Iterable[ScheduleConfig]) -> Runtime:
    """A runtime with the backends of all configs made, to give to `create_session`.

    Raises:
        ConfigError: two configs ask for different things of what would be shared (threads, power,
            OpenCL context of one device). DeviceError: a device is absent.
    """
    expected = "a list of ScheduleConfig, as in create_runtime([config])"
    listed = arguments.items("create_runtime", configs, expected, ConfigError)
    runtime = Runtime()
    try:
        for config in listed:
            arguments.of_kind("create_runtime", config, ScheduleConfig, expected, ConfigError)
            for forward in config.forwards:
                runtime.backend(forward, config)
    except BaseException:
        runtime.close()
        raise
    return runtime


def _tell(backend: Backend) -> None:
    device, precision = backend.info, backend.precision.value
    logger.info("opened %s / %s, precision %s", device.platform, device.name, precision)


def _identity(shared: Any) -> Hashable:
    """Of what a user lends: numbers by value, objects by themselves."""
    is_numbers = isinstance(shared, tuple) and all(isinstance(n, int) for n in shared)
    return shared if is_numbers else id(shared)


def _capped(num_threads: int) -> int:
    """Threads beyond the cores only wait for one another."""
    capped = registry.cpu_threads(num_threads)
    if capped < num_threads:
        warnings.warn(
            f"num_threads={num_threads}: {capped} are used, as many as there are cores",
            ParallaxWarning,
            stacklevel=2,
        )
    return capped


def _refuse_conflict(old: Any, new: Any) -> None:
    where = f"{old.info.platform} / {old.info.name}"
    if new.power is not old.power and new.power is not PowerMode.NORMAL:
        raise ConfigError(
            f"this runtime's queue on {where} has power={old.power.name}, which its sessions "
            f"share; power={new.power.name} was asked for: use another Runtime"
        )
    if new.is_shared and (new.context, new.queue) != (old.context, old.queue):
        raise ConfigError(
            f"this runtime already has a context and a queue on {where}; another shared_context "
            "contradicts it: use another Runtime"
        )
