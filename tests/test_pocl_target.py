"""The name of the processor that PoCL's compiler is given."""

import pytest

from engine.backends.opencl.pocl_target import right_name
from engine.backends.opencl.processor import AVX512

AVX2 = frozenset({"avx2", "fma", "bmi2", "f16c"})


@pytest.mark.parametrize(
    ("current", "flags", "name"),
    [
        ("generic", AVX2 | AVX512, "skylake-avx512"),
        ("generic", AVX2, "haswell"),
        ("generic", frozenset(), "x86-64"),
        ("znver3", AVX2 | AVX512, "skylake-avx512"),
        ("znver3", AVX2, "znver3"),
        ("znver3", AVX2 | {"avx512f"}, "znver3"),
        ("znver4", AVX2 | AVX512, "znver4"),
        ("sapphirerapids", AVX2 | AVX512, "sapphirerapids"),
    ],
)
def test_the_name_has_the_vector_extensions_of_the_processor(current, flags, name):
    assert right_name(current, flags) == name
