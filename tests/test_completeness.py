"""Every operator has a spec, kernels or a reason, and every kernel file a user."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import engine.backends.cpu as cpu
import engine.backends.opencl as opencl
from conformance.judge import float64_inputs
from engine.errors import ParallaxError
from engine.ir.types import FLOAT, FLOATS, NARROW_FLOATS, TensorType
from engine.ops import OPERATORS, binary, cast, unary
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Units
from engine.ops.spec import HERE, PEER, Operand, no_growth
from engine.ops.strings import strings
from properties.choose import SeededChoose
from properties.single import draw_case

pytestmark = pytest.mark.device_free

DRAWS = 20
UNITS = (Units(FLOAT, FLOAT), Units(FLOAT, np.dtype(np.float16)))
OPENCL = Path(opencl.__file__).parent
CPU_KERNELS = {op for family in cpu.FAMILIES for op in family.KERNELS}
OPENCL_KERNELS = {op for family in opencl.FAMILIES for op in family.KERNELS}
INTERNAL = {"Copy"}
"""Operators that execution itself performs."""

ELEMENTWISE = (*unary.SPECS, *binary.SPECS, *cast.SPECS)

every_operator = pytest.mark.parametrize("op_type", OPERATORS)


def cases(op_type, exact=False):
    for seed in range(DRAWS):
        yield draw_case(op_type, SeededChoose(seed, exact=exact))


@every_operator
def test_an_operator_is_listed_under_its_own_name(op_type):
    assert OPERATORS[op_type].op_type == op_type


@pytest.mark.parametrize("op_type", sorted(set(OPERATORS) - INTERNAL))
def test_an_operator_has_a_cpu_kernel(op_type):
    assert op_type in CPU_KERNELS


@pytest.mark.parametrize("op_type", sorted(set(OPERATORS) - INTERNAL))
def test_an_operator_has_an_opencl_kernel_or_a_sentence(op_type):
    has_kernel, sentence = op_type in OPENCL_KERNELS, opencl.NOT_YET.get(op_type, "")
    assert has_kernel != bool(sentence)
    assert has_kernel or len(sentence.split()) > 3


@pytest.mark.parametrize("spec", ELEMENTWISE, ids=lambda s: s.op_type)
def test_an_elementwise_operator_has_the_law_of_neighbours(spec):
    assert NEIGHBOURS in spec.laws


def test_every_kernel_has_a_spec():
    assert CPU_KERNELS | OPENCL_KERNELS | set(opencl.NOT_YET) <= set(OPERATORS)


def test_no_operator_has_two_kernels():
    for families in (cpu.FAMILIES, opencl.FAMILIES):
        names = [op for family in families for op in family.KERNELS]
        assert sorted(names) == sorted(set(names))


def test_refusals_are_about_operators_with_kernels():
    for family in opencl.FAMILIES:
        assert set(getattr(family, "WHY_NOT", {})) <= set(family.KERNELS)


def test_every_kernel_file_is_used():
    code = "\n".join(p.read_text() for p in OPENCL.glob("*.py"))
    text = "\n".join(p.read_text() for p in (OPENCL / "kernels").glob("*.cl"))
    loaded = set(re.findall(r'program\(\s*f?"(\w+)"', code)) | set(
        re.findall(r'source\("(\w+)"', code)
    )
    included = set(re.findall(r'#include "(\w+)\.cl"', text))
    files = {p.stem for p in (OPENCL / "kernels").glob("*.cl")}
    assert files - loaded - included == set()
    assert loaded | included <= files


@every_operator
def test_types_follow_from_the_reference(op_type):
    spec = OPERATORS[op_type]
    for exact in (False, True):
        for case in cases(op_type, exact):
            operands = case.call.operands(case.constants)
            types = spec.infer_types(operands, case.call.attributes)
            inputs = float64_inputs(case.call.inputs)
            with np.errstate(all="ignore"):
                outputs = spec.reference(inputs, case.call.attributes)
            assert [o.shape for o in outputs] == [t.dims for t in types], case
            for out, type_ in zip(outputs, types):
                wide = (
                    np.dtype(np.float64) if type_.dtype in FLOATS | NARROW_FLOATS else type_.dtype
                )
                assert out.dtype == wide, case


@every_operator
@pytest.mark.parametrize("strange", [strings("1"), np.array(["nan"], np.float32)], ids=str)
def test_inputs_of_another_dtype_are_refused_or_typed(op_type, strange):
    """Their values are looked at before anybody has seen that they are no numbers."""
    spec = OPERATORS[op_type]
    for call in (draw_case(op_type, SeededChoose(0)).call, *(edge() for edge in spec.edges[:1])):
        for i, x in enumerate(call.inputs):
            if x is not None:
                other = np.resize(strange, x.shape)
                inputs = (*call.inputs[:i], other, *call.inputs[i + 1 :])
                with contextlib.suppress(ParallaxError):
                    operands = replace(call, inputs=inputs).operands(spec.constant_inputs)
                    spec.infer_types(operands, call.attributes)


@every_operator
def test_errors_fit_the_outputs_and_are_ordered(op_type):
    spec = OPERATORS[op_type]
    for case in cases(op_type):
        inputs = float64_inputs(case.call.inputs)
        for units in UNITS:
            with np.errstate(all="ignore"):
                outputs = spec.reference(inputs, case.call.attributes)
                errors = spec.error_model(inputs, case.call.attributes, units)
            assert len(errors) == len(outputs)
            for out, error in zip(outputs, errors):
                assert np.broadcast_shapes(error.sigma.shape, out.shape) == out.shape, case
                assert np.broadcast_shapes(error.bound.shape, out.shape) == out.shape, case
                assert not (error.sigma < 0).any(), case
                assert not (error.bound < 0).any(), case
                assert not np.isnan(error.sigma).any(), case
                assert not np.isnan(error.bound).any(), case
                assert (error.sigma <= error.bound).all(), case


@every_operator
def test_arity_covers_every_example(op_type):
    low, high = OPERATORS[op_type].arity
    for case in cases(op_type):
        assert low <= len(case.call.inputs) <= high


@pytest.mark.parametrize(
    "op_type", [op for op, spec in OPERATORS.items() if spec.grow is not no_growth]
)
def test_what_grows_is_accepted(op_type):
    """On any tensor, empty ones and those with many extents of 1 included."""
    spec = OPERATORS[op_type]
    for seed in range(2 * DRAWS):
        choose = SeededChoose(seed)
        shape = choose.shape((1, 4), 9)
        if seed % 2:
            shape = tuple(choose.one_of((n, 0, 1)) for n in shape)
        here = TensorType(FLOAT, shape)
        growth = spec.grow(choose, here)
        if growth is None:
            continue
        operands = []
        for item in growth.inputs:
            if isinstance(item, str):
                assert item in (HERE, PEER)
                operands.append(Operand(here))
            elif item is None:
                operands.append(None)
            else:
                array = np.asarray(item)
                operands.append(Operand(TensorType(array.dtype, array.shape), array))
        assert spec.infer_types(operands, growth.attributes)
