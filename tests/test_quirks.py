"""Known misbehaviour of drivers: shown with OpenCL C alone, and what kernels do about it."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine.backends.opencl import program_cache, quirks
from properties.devices import opencl_backends

ONE_BY_ONE = """
#if TYPE_IS_DOUBLE
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
__kernel void wide(__global const T *x, __global const T *p, __global T *y) {
  const CAT(T, 16) v = vload16(0, x), q = vload16(0, p);
  vstore16(CALL, 0, y);
}
__kernel void narrow(__global const T *x, __global const T *p, __global T *y) {
  const size_t i = get_global_id(0);
  const T v = x[i], q = p[i];
  y[i] = CALL;
}
"""


def context():
    if not opencl_backends():
        pytest.skip("PARALLAX_DEVICES names no OpenCL device")
    return opencl_backends()[0].backend.context


def results(call: str, x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A built-in of sixteen lanes at once, and of each element alone."""
    there = context()
    cl, kind = there.cl, {"f": "float", "d": "double"}[x.dtype.char]
    options = [f"-DT={kind}", f"-DTYPE_IS_DOUBLE={int(kind == 'double')}", f"-DCALL={call}"]
    with program_cache.quiet(cl):
        program = cl.Program(there.context, ONE_BY_ONE).build(options, cache_dir=False)
    copy, both = cl.mem_flags.COPY_HOST_PTR, []
    for name, count in (("wide", 1), ("narrow", 16)):
        buffers = [cl.Buffer(there.context, copy, hostbuf=a) for a in (x, p, np.zeros_like(x))]
        kernel = cl.Kernel(program, name)
        kernel.set_args(*buffers)
        cl.enqueue_nd_range_kernel(there.queue, kernel, (count,), (1,))
        both.append(np.empty_like(x))
        cl.enqueue_copy(there.queue, both[-1], buffers[2], is_blocking=True)
    return both[0], both[1]


def among(ordinary: float, hard: float, dtype: str) -> np.ndarray:
    x = np.full(16, ordinary, dtype)
    x[3] = hard
    return x


EVIDENCE = {
    "QUIRK_TRIGONOMETRY_BY_VECTOR": [
        (f"{function}(v)", among(1e-5, hard, "f"), among(0, 0, "f"))
        for function in ("sin", "cos", "tan")
        for hard in (2.0**23, 1e10, np.inf)
    ],
    "QUIRK_POW_OF_WIDE_DOUBLES": [("pow(v,q)", among(1.5, 5e-324, "d"), among(2.5, 2, "d"))],
}
CASES = [
    pytest.param(macro, *case, id=f"{case[0]} beside {case[1][3]:g}")
    for macro, cases in EVIDENCE.items()
    for case in cases
]


@pytest.mark.device_free
def test_every_quirk_has_its_evidence():
    assert {quirk.macro for quirk in quirks.QUIRKS} == set(EVIDENCE)


@pytest.mark.parametrize(("macro", "call", "x", "p"), CASES)
def test_a_driver_without_the_quirk_does_not_misbehave(macro, call, x, p):
    """Where it does, `applies` is too narrow; where a driver with the quirk is right, too wide."""
    if x.dtype == np.float64 and not context().info.supports_fp64:
        pytest.skip("the device has no double")
    together, alone = results(call, x, p)
    same = np.allclose(np.delete(together, 3), np.delete(alone, 3), rtol=1e-6, atol=0)
    if f"-D{macro}" not in quirks.macros(context().info):
        assert same, f"{call}: {together} together, {alone} alone"
    elif same:
        pytest.skip(f"{context().info.version} has {call} right; {macro} does no harm there")


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("platform", "macros"),
    [
        ("Portable Computing Language", tuple(f"-D{macro}" for macro in EVIDENCE)),
        ("Intel(R) OpenCL", ()),
        ("NVIDIA CUDA", ()),
    ],
)
def test_quirks_go_by_the_driver(platform, macros):
    assert quirks.macros(SimpleNamespace(platform=platform)) == macros
