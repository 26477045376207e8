"""Known misbehaviour of drivers, and the macros by which kernels get around it.

A quirk says what the driver does wrong and how that was seen (`evidence`), on which drivers
(`applies`), and what the kernels do instead (`workaround`). Kernels that are built for such a
driver see its macro, those for other drivers are not touched. `tests/test_quirks.py` looks at the
evidence again on every driver that is tested. (What has to be said to a compiler before it runs
at all is in `pocl_target` and `intel_target`.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.backends.protocol import DeviceInfo


@dataclass(frozen=True)
class Quirk:
    """One misbehaviour.

    Attributes:
        macro: defined where it applies.
        applies: whether a device has it, from its description.
        evidence: what was seen, on which version.
        workaround: what the kernels do under the macro.
    """

    macro: str
    applies: Callable[[DeviceInfo], bool]
    evidence: str
    workaround: str


QUIRKS = (
    Quirk(
        macro="QUIRK_TRIGONOMETRY_BY_VECTOR",
        applies=lambda info: info.platform == "Portable Computing Language",
        evidence=(
            "PoCL 3.0: sin, cos and tan of float vectors of every width choose one range reduction "
            "for all lanes. One lane of 2^23 or more (or infinite) switches it, and the others are "
            "wrong: sin of 15 times 1e-5 and one infinity is 0.0102. Scalars, doubles and NaN do "
            "not. No version is known that has it right, so none is left out."
        ),
        workaround=(
            "Lanes of 2^23 and beyond are replaced by 0 in the vector and computed as scalars "
            "(kernels/unary.cl)."
        ),
    ),
    Quirk(
        macro="QUIRK_POW_OF_WIDE_DOUBLES",
        applies=lambda info: info.platform == "Portable Computing Language",
        evidence=(
            "PoCL 3.0: pow of double8 and double16 mixes lanes. Where lane 3 holds a subnormal "
            "base, lane 1 becomes 0, infinity or another number. Scalars, narrower vectors and "
            "floats do not."
        ),
        workaround="Sixteen doubles are taken four by four (POW in kernels/common.cl).",
    ),
)


def macros(info: DeviceInfo) -> tuple[str, ...]:
    """Build options for every quirk of a device."""
    return tuple(f"-D{quirk.macro}" for quirk in QUIRKS if quirk.applies(info))
