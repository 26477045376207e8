"""What this machine's processor can do: drivers for processors compile for it, unsaid."""

from __future__ import annotations

from collections.abc import Set
from functools import cache
from pathlib import Path

AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
"""What compilers mean by AVX-512 without a further name."""

HALF = frozenset({"avx512_fp16", "asimdhp"})
"""Either of them is arithmetic on vectors of half, on x86-64 and on ARM."""


@cache
def flags() -> frozenset[str]:
    """Of the first processor, as in /proc/cpuinfo; empty where that does not exist."""
    path = Path("/proc/cpuinfo")
    return flags_in(path.read_text()) if path.exists() else frozenset()


def flags_in(cpuinfo: str) -> frozenset[str]:
    """The first line of flags ("Features" on ARM)."""
    for line in cpuinfo.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def emulates_half(flags: Set[str]) -> bool:
    """Whether half arithmetic is made of conversions and float arithmetic.

    False where nothing is known of the processor.
    """
    return bool(flags) and not flags & HALF
