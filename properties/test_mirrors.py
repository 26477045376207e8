"""Kernels give what the order of summation that they declare gives, computed by NumPy."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from conformance.mirrors import MIRRORS
from conformance.mirrors.arithmetic import Arithmetic, Range
from engine.backends.opencl.backend import OpenCLBackend
from engine.backends.order import Sums
from engine.ir.types import FLOAT
from engine.ops import OPERATORS
from engine.ops.spec import Call
from properties.choose import SeededChoose
from properties.devices import opencl_backends
from properties.memory import Violation
from properties.mirrored import as_low, check_declared, check_low, product_of
from properties.single import Case, check_case, draw_case, edge_cases

SEEDS = 2
OPENCL = opencl_backends()
ONE_FORMAT = [t for t in OPENCL if t.backend.storage(FLOAT) == t.backend.compute(FLOAT)]
"""Where memory is not narrower than the sums, and does not hide their last bits."""
on_every_device = pytest.mark.parametrize("target", OPENCL, ids=[t.id for t in OPENCL])


def cases(op_type):
    """A few random calls and an edge."""
    drawn = [draw_case(op_type, SeededChoose(seed)) for seed in range(SEEDS)]
    return drawn + edge_cases(op_type, OPERATORS[op_type].edges[0]())[:1]


@on_every_device
@pytest.mark.parametrize("op_type", MIRRORS)
def test_a_kernel_does_what_it_declares(op_type, target):
    assert sum(check_declared(target.backend, case) for case in cases(op_type))


@pytest.mark.one_driver
@pytest.mark.parametrize("op_type", MIRRORS)
def test_low_has_a_witness_on_a_driver_without_half(op_type):
    """The order that kernels declare at low, mirrored, lies within the bounds derived for it."""
    (first, *_) = OPENCL
    assert sum(check_low(as_low(first.backend), case) for case in cases(op_type))


@pytest.mark.parametrize("target", ONE_FORMAT, ids=[t.id for t in ONE_FORMAT])
def test_another_order_than_the_declared_one_is_seen(target, monkeypatch):
    """Sums in four lanes instead of one, which any tolerance takes for the same."""
    real = OpenCLBackend.order
    other = Sums(run=64, lanes=4)

    def order(self, node):
        return dataclasses.replace(real(self, node), sums=other)

    case = product_of(0)
    assert check_case(target.backend, case)
    assert check_declared(target.backend, case)
    monkeypatch.setattr(OpenCLBackend, "order", order)
    with pytest.raises(Violation, match="not what the declared order of summation gives"):
        check_declared(target.backend, case)


@pytest.mark.device_free
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_products_are_added_with_one_rounding(dtype):
    """Against rational numbers, also where a sum lies beside the middle of two neighbours."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(600).astype(dtype) for _ in range(3))
    eps = np.finfo(dtype).eps
    a[:300], b[:300] = 1 + eps, np.spacing(c[:300]) / 2 * (1 - eps)
    b[:150] *= -1
    one = [Range(x, x) for x in (a, b, c)]
    got = Arithmetic(np.dtype(dtype), fused=True).multiply_add(*one).low
    for y, *terms in zip(got, a, b, c, strict=True):
        x, w, z = (Fraction(float(term)) for term in terms)
        sides = [np.nextafter(y, dtype(s * np.inf)) for s in (-1, 1)]
        off, *others = (abs(Fraction(float(n)) - (x * w + z)) for n in (y, *sides))
        assert off < min(others) or (off == min(others) and y.view(f"i{y.itemsize}") % 2 == 0)


@on_every_device
def test_equal_terms_are_cleared_by_the_mirror(target):
    """A thousand equal products round the same way again and again: beyond sigma, and honest."""
    x = np.full((1, 1500), 0.1, np.float32)
    w = np.full((1500, 3), 0.7, np.float32)
    assert check_case(target.backend, Case("MatMul", Call((x, w))))
