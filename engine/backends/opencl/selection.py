"""Which device a selector names: a rule over names, free of any driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import DeviceError

TYPES = ("cpu", "gpu", "accelerator")
"""Kinds of devices that a selector may name."""

ALIASES = {"pocl": "portable computing language"}
"""Names for platforms whose own name does not hold them."""

SHORT = ("pocl", "intel", "nvidia", "amd", "rusticl")
"""Selectors that are shown instead of numbers, where one names a single device."""


@dataclass(frozen=True)
class Listed:
    """A device as it is listed: "platform.device" numbers, names, and one of TYPES or ""."""

    numbers: str
    platform: str
    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.numbers}  {self.platform} / {self.name}"


def matches(selector: str, listed: Sequence[Listed]) -> list[Listed]:
    """The devices that the first rule with any match gives, in any case.

    A type means the type and nothing else. The other rules, in order: the numbers; the whole name
    of a platform or a device; a part of a platform's name, or an alias of it; a part of a device's
    name. So `intel` is Intel's driver, though another driver names its device after the processor.
    """
    wanted = selector.strip().lower()
    if not wanted:
        return []
    if wanted in TYPES:
        return [d for d in listed if d.type == wanted]
    part = ALIASES.get(wanted, wanted)
    rules = (
        lambda d: wanted == d.numbers,
        lambda d: wanted in (d.platform.lower(), d.name.lower()),
        lambda d: part in d.platform.lower(),
        lambda d: wanted in d.name.lower(),
    )
    return next((found for rule in rules if (found := [d for d in listed if rule(d)])), [])


def one(selector: str, listed: Sequence[Listed], problems: Sequence[str] = ()) -> Listed:
    """The one device that a selector names.

    Args:
        problems: why other devices are not listed.

    Raises:
        DeviceError: none or several; with the candidates.
    """
    found = matches(selector, listed)
    if len(found) == 1:
        return found[0]
    problem = f"is ambiguous, {len(found)} devices match" if found else "matches no device"
    lines = [str(device) for device in found or listed]
    lines.append("cpu  the NumPy backend, at the command line (in Python type=ForwardType.CPU)")
    raise DeviceError(
        f"device {selector!r} {problem}; use a part of a name that only one has, or the numbers:"
        + "".join(f"\n  {line}" for line in [*lines, *problems])
    )


def shortest(device: Listed, listed: Sequence[Listed]) -> str:
    """What to type for a device: a short name that means it alone, else its numbers."""
    return next((n for n in SHORT if matches(n, listed) == [device]), device.numbers)
