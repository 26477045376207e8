"""Tell Intel's runtime for processors of AVX512-FP16, which it does not see on every machine.

The runtime compiles for the processor whose family and model number it knows. A virtual machine may
hide the number: the runtime then takes an older processor and makes half arithmetic of conversions
and float arithmetic, nine times slower on ResNet-50, although the flags say AVX512-FP16. It reads
the name of the processor to compile for from the environment when it compiles first. Only a
processor with every extension of the first that had AVX512-FP16 gets that name; a name that the
user set stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Set

from engine.backends.opencl import processor

PLATFORM = "Intel(R) OpenCL"
"""Of the runtime for processors; that for GPUs is called otherwise."""

VARIABLE = "CL_CONFIG_CPU_TARGET_ARCH"
NAME = "sapphirerapids"
EXTENSIONS = processor.AVX512 | {
    *("avx512_fp16", "avx512_bf16", "avx512_vnni", "avx512_bitalg", "avx512_vpopcntdq"),
    *("avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx_vnni", "gfni", "vaes", "vpclmulqdq"),
}
"""Vector extensions that code for a Sapphire Rapids may use."""

_set_here: list[str] = []


def wanted(flags: Set[str], environment: Mapping[str, str]) -> str | None:
    """The name to set, None where there is nothing to set.

    Args:
        flags: of the processor, as in /proc/cpuinfo.
        environment: a variable that is there, even empty, is the user's choice.
    """
    return NAME if flags >= EXTENSIONS and VARIABLE not in environment else None


def set_target(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the name for this process where the runtime needs it; before its first compilation."""
    name = wanted(processor.flags(), environment)
    if name is not None:
        environment[VARIABLE] = name
        _set_here.append(name)


def note() -> str:
    """What was set and why; "" when nothing was."""
    if not _set_here:
        return ""
    return (
        f"{VARIABLE}={_set_here[0]} was set: the processor has AVX512-FP16, which the driver "
        "overlooks where a virtual machine hides the processor's model; set it yourself to choose"
    )
