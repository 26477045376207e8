"""Kernels give what the order of summation that they declare gives, computed by NumPy."""

import dataclasses

import numpy as np
import pytest

from conformance.mirrors import MIRRORS
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


@on_every_device
def test_equal_terms_are_cleared_by_the_mirror(target):
    """A thousand equal products round the same way again and again: beyond sigma, and honest."""
    x = np.full((1, 1500), 0.1, np.float32)
    w = np.full((1500, 3), 0.7, np.float32)
    assert check_case(target.backend, Case("MatMul", Call((x, w))))
