"""From `--device` and `--precision` to what is measured, and what is left out and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from conformance.devices import config_of, precision_of, target_of
from engine.backends import registry
from engine.backends.protocol import DeviceInfo
from engine.config import ForwardType, Precision
from engine.errors import ConfigError
from engine.runtime import Runtime
from parallax.devices import effective, list_devices
from parallax.options import default_precision
from perf.candidates import PEER, Candidate

ALL = "all"
INSTALL = f'{PEER} is not installed: pip install "parallax-engine[test]"'


@dataclass
class Field:
    """What runs against what.

    Attributes:
        devices: those of the candidates. left_out: what is not measured -> why.
    """

    candidates: list[Candidate] = field(default_factory=list)
    devices: list[DeviceInfo] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def candidates(wanted: str | None, precisions: str | None) -> Field:
    """The candidates of one device, of several, or of all.

    Args:
        wanted: devices, comma-separated; None: the first that works; "all": every OpenCL device,
            the CPU backend and onnxruntime where it is installed.
        precisions: comma-separated; None: the default one of a single device, all of several.

    Raises:
        DeviceError: a device is absent or ambiguous. ConfigError: an unknown precision, one that
            the only device does not take, nothing to measure, or onnxruntime named and absent.
    """
    names = [None] if wanted is None else [name.strip() for name in wanted.split(",")]
    several = len(names) > 1 or names == [ALL]
    asked = _precisions(names[0], precisions, several=several)
    found = Field()
    for name in dict.fromkeys(names):
        for device, info in _devices(name, found):
            _add(device, info, asked, found, several=several)
    if not found.candidates:
        reasons = "; ".join(f"{what}: {why}" for what, why in found.left_out.items())
        raise ConfigError(f"nothing to measure: {reasons}")
    return found


def _precisions(device: str | None, names: str | None, *, several: bool) -> list[Precision]:
    if names is None:
        return list(Precision) if several else [precision_of(default_precision(device))]
    return list(dict.fromkeys(precision_of(name) for name in names.split(",")))


def _devices(name: str | None, found: Field) -> Iterator[tuple[str, DeviceInfo | None]]:
    """What one name stands for; the peer has no DeviceInfo."""
    if name == ALL:
        listed, problem = list_devices()
        yield from ((_shortest(numbers), info) for numbers, info in listed)
        if problem:
            found.left_out["OpenCL"] = problem
        if importlib.util.find_spec(PEER) is None:
            found.left_out[PEER] = "not installed"
        else:
            yield PEER, None
    elif name == PEER:
        if importlib.util.find_spec(PEER) is None:
            raise ConfigError(INSTALL)
        yield PEER, None
    else:
        with Runtime() as runtime:
            target = target_of(name, runtime)
            info = runtime.backend(target[0], config_of(target)).info
        forward, selector = target
        yield "cpu" if forward is ForwardType.CPU else name or _shortest(str(selector)), info


def _shortest(device: str) -> str:
    """What to type for a device of that number, or for "cpu"."""
    return device if device == "cpu" else registry.opencl_selectors()[device]


def _add(
    device: str, info: DeviceInfo | None, asked: Sequence[Precision], found: Field, *, several: bool
) -> None:
    """A candidate for each precision that is a computation of its own there."""
    if info is None:
        found.candidates.append(Candidate(device))
        return
    found.devices.append(info)
    becomes = effective(device, info)
    taken: set[str] = set()
    for precision in sorted(asked, key=lambda p: becomes[p.value] != p.value):
        where = f"{device} at {precision.value}"
        try:
            config_of((ForwardType.CPU if device == "cpu" else ForwardType.OPENCL, None), precision)
        except ConfigError as error:
            if not several:
                raise
            found.left_out[where] = str(error)
            continue
        if becomes[precision.value] in taken:
            found.left_out[where] = f"{becomes[precision.value]} is effective there"
            continue
        taken.add(becomes[precision.value])
        found.candidates.append(Candidate(device, precision.value))
