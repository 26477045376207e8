"""The devices that properties run on, from the environment variable PARALLAX_DEVICES.

A comma-separated list of "cpu" and OpenCL device selectors; the default is "cpu,portable" (PoCL).
A device that is named and absent is an error: a run never passes by not having run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from engine.backends.protocol import Backend
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.runtime import Runtime

DEFAULT = "cpu,portable"


@dataclass(frozen=True)
class Target:
    """One backend under test; `id` is "cpu" or "<selector>-<precision>"."""

    id: str
    backend: Backend


@cache
def runtime() -> Runtime:
    """The one Runtime of this process."""
    return Runtime()


def selectors() -> tuple[str, ...]:
    """What PARALLAX_DEVICES names, in order."""
    names = os.environ.get("PARALLAX_DEVICES", "").strip() or DEFAULT
    return tuple(name.strip() for name in names.split(",") if name.strip())


def targets_on(
    shared: Runtime, selector: str, precisions: Iterable[Precision] = tuple(Precision)
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The backends of one selector on a runtime, and notes; raises DeviceError when absent.

    OpenCL devices give one backend per precision. LOW whose effective precision is NORMAL is not
    listed a second time; a note says so.
    """
    if selector == "cpu":
        return (Target("cpu", shared.backend(ForwardType.CPU, ScheduleConfig())),), ()
    targets, notes = [], []
    for precision in precisions:
        config = ScheduleConfig(
            type=ForwardType.OPENCL,
            device=selector,
            backend_config=BackendConfig(precision=precision),
        )
        backend = shared.backend(ForwardType.OPENCL, config)
        if backend.precision is precision:
            targets.append(Target(f"{selector}-{precision.value}", backend))
        else:
            notes.append(
                f"{selector}: precision {precision.value} is effectively "
                f"{backend.precision.value} (no cl_khr_fp16) and is not run twice"
            )
    return tuple(targets), tuple(notes)


@cache
def _expected() -> tuple[tuple[Target, ...], tuple[str, ...]]:
    targets: list[Target] = []
    notes: list[str] = []
    for selector in selectors():
        found, said = targets_on(runtime(), selector)
        targets += found
        notes += said
    return tuple(targets), tuple(notes)


def backends() -> tuple[Target, ...]:
    """Every backend under test; raises DeviceError where an expected device is absent."""
    return _expected()[0]


def opencl_backends() -> tuple[Target, ...]:
    """The same without the CPU backend."""
    return tuple(t for t in backends() if t.backend.name != "cpu")


def notes() -> tuple[str, ...]:
    """What is not run, and why: one sentence each."""
    return _expected()[1]


def report() -> list[str]:
    """Lines that name each device and its driver."""
    lines = [f"devices (PARALLAX_DEVICES): {', '.join(t.id for t in backends())}"]
    seen = {(t.backend.info.platform, t.backend.info.version): t.backend.info for t in backends()}
    lines += [f"  {i.platform} / {i.name}, driver {i.driver}, {i.version}" for i in seen.values()]
    return lines + [f"  note: {note}" for note in notes()]
