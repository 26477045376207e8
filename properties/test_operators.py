"""Every operator, on every backend: right on random calls, edges and whole numbers, and lawful."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.devices import config_of, target_of
from engine.config import ForwardType, ScheduleConfig
from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import FLOAT, FLOAT16
from engine.ops import OPERATORS, unary
from engine.ops.spec import Call, Law, OpSpec
from properties.choose import HypothesisChoose, SeededChoose
from properties.claims import (
    check_any_bits,
    check_every_half,
    check_exact,
    check_law,
    check_reject,
    every_half,
)
from properties.devices import Target, backends, runtime, selectors
from properties.memory import Violation
from properties.refusals import check_refused
from properties.single import Case, check_case, draw_case, edge_cases


def accepts(spec: OpSpec, x: np.ndarray) -> bool:
    try:
        return bool(spec.infer_types(Call((x,)).operands(frozenset()), {}))
    except (ShapeError, UnsupportedError):
        return False


def bitwise_laws(op_type: str) -> list[Law]:
    return [law for law in OPERATORS[op_type].laws if law.bitwise]


TARGETS = backends()
CPU = Target("cpu", runtime().backend(ForwardType.CPU, ScheduleConfig()))
IDS = [t.id for t in TARGETS]
on_every_backend = pytest.mark.parametrize("target", TARGETS, ids=IDS)
EXACT = [op for op, spec in OPERATORS.items() if spec.is_exact]
LAWFUL = [(op, law) for op, spec in OPERATORS.items() for law in spec.laws]
EDGES = [
    pytest.param(op, edge, id=f"{op}-{i}")
    for op, spec in OPERATORS.items()
    for i, edge in enumerate(spec.edges)
]
REJECTS = [
    pytest.param(op, reject, id=f"{op}-{reject.name}")
    for op, spec in OPERATORS.items()
    for reject in spec.rejects
]
OF_ONE_TENSOR = [s.op_type for s in unary.SPECS if accepts(s, every_half(FLOAT))]


@st.composite
def cases(draw: st.DrawFn, op_type: str, exact: bool = False, hard: bool = False) -> Case:
    return draw_case(op_type, HypothesisChoose(draw, exact=exact), hard=hard)


def run_on_examples(check, target, op_type: str, **kind: bool) -> None:
    """`check(backend, case)` on drawn cases; skipped with the reason where no case ran."""
    ran = []

    @given(cases(op_type, **kind))
    def property_holds(case: Case) -> None:
        ran.append(check(target.backend, case))

    property_holds()
    if not any(ran):
        pytest.skip(f"{op_type} on {target.id}: none of {len(ran)} calls is covered by the claim")


@on_every_backend
@pytest.mark.parametrize("op_type", OPERATORS)
def test_results_lie_within_the_derived_error(op_type, target):
    run_on_examples(check_case, target, op_type, hard=True)


@on_every_backend
@pytest.mark.parametrize("op_type", EXACT)
def test_results_on_small_whole_numbers_are_exact(op_type, target):
    run_on_examples(check_exact, target, op_type, exact=True)


@pytest.mark.device_free
@pytest.mark.parametrize("op_type", ["ReduceL1", "ReduceSumSquare"])
def test_sums_beyond_half_are_not_claimed_to_be_exact(op_type):
    """Neither an error nor a warning: the claim ends at 2048, half itself at 65504."""
    call = Call((np.full((33, 33, 33), 2, np.float16),))
    assert check_exact(CPU.backend, Case(op_type, call)) is False


@on_every_backend
@pytest.mark.parametrize(("op_type", "edge"), EDGES)
def test_edges_are_right(op_type, edge, target):
    ran = [check_case(target.backend, case) for case in edge_cases(op_type, edge())]
    if not any(ran):
        pytest.skip(f"{target.id} refuses this call")


@on_every_backend
@pytest.mark.parametrize(("op_type", "law"), LAWFUL, ids=lambda p: getattr(p, "name", p))
def test_laws_hold(op_type, law, target):
    run_on_examples(lambda backend, case: check_law(backend, case, law), target, op_type)


@on_every_backend
@pytest.mark.parametrize(("op_type", "edge"), [e for e in EDGES if bitwise_laws(e.values[0])])
def test_bitwise_laws_hold_at_the_edges(op_type, edge, target):
    call = edge()
    present = frozenset(i for i, x in enumerate(call.inputs) if x is not None)
    case = Case(op_type, call, OPERATORS[op_type].constant_inputs & present)
    applied = [check_law(target.backend, case, law) for law in bitwise_laws(op_type)]
    if not any(applied):
        pytest.skip(f"{target.id} refuses this call, or no law applies")


@pytest.mark.parametrize(("op_type", "reject"), REJECTS)
def test_invalid_calls_are_refused(op_type, reject):
    check_reject(op_type, reject)


@pytest.mark.parametrize("device", selectors())
@pytest.mark.parametrize(("op_type", "reject"), REJECTS)
def test_models_of_invalid_calls_are_refused_before_any_kernel_runs(op_type, reject, device):
    config = config_of(target_of(device, runtime()))
    check_refused(op_type, reject.call(), config, runtime())


@pytest.mark.device_free
def test_the_check_of_refusals_notices_what_is_accepted():
    with pytest.raises(Violation, match="accepted, and must be refused"):
        check_refused("Relu", Call((np.zeros(2, "f4"),)), ScheduleConfig(), runtime())


@on_every_backend
@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float", "half"])
@pytest.mark.parametrize("op_type", OF_ONE_TENSOR)
def test_every_half_is_right(op_type, dtype, target):
    if not check_every_half(target.backend, op_type, dtype):
        pytest.skip(f"{target.id} refuses this call")


@on_every_backend
def test_elements_of_any_bits_are_held_and_moved(target):
    for seed in range(40):
        assert check_any_bits(target.backend, SeededChoose(seed))


ONCE_WRONG = {
    "rank 0": ("Gelu", Call((np.array(0.5, "f4"),))),
    "exp overflows inside": ("Sigmoid", Call((np.array([-91.8, -88.8], "f4"),))),
    "odd powers that no double holds": (
        "Pow",
        Call((np.array([-1.0, 1, -1]), np.array([2**55 + 1, 2**55 + 1, 2**55]))),
    ),
    "odd powers that no float holds": (
        "Pow",
        Call((np.array([-1, 1, -1], "f4"), np.array([2**55 + 1, 2**55 + 1, 2**55]))),
    ),
    "products overflow in one order": (
        "ReduceProd",
        Call((np.array([3e17, 5e8, 0, -1e16, 5e13, -7e11, 504, 3e38, 0.5], "f4"),)),
    ),
    "products underflow in one order": (
        "ReduceProd",
        Call((np.array([1e-30, 3e20, 1e-17, 2e-10, 7e25, 3e12], "f4"),)),
    ),
    "a denominator through zero": (
        "LRN",
        Call((np.array([[[2.0000005]], [[2]], [[1.9999995]]], "f4"),), {"size": 1, "alpha": -0.25}),
    ),
    "a power of no end": (
        "LRN",
        Call((np.full((1, 2, 3), 0.01, "f4"),), {"size": 2**31, "beta": 1e30}),
    ),
    "squares overflow": ("LRN", Call((np.full((1, 3, 2), 1e25, "f4"),), {"size": 2})),
    "sum beyond 2^53": (
        "ReduceMean",
        Call((np.full((5, 2), 2**54 + 3, "i8"), np.array([0])), {"keepdims": 1}),
    ),
    "float statistics of doubles": (
        "LayerNormalization",
        Call((np.full(4, 1000 / 3), np.ones(4)), {"epsilon": 1e-6}),
    ),
    "sines beside an infinity": ("Sin", Call((np.array([1e-5] * 15 + [np.inf], "f4"),))),
    "tangents beside a large number": ("Tan", Call((np.array([1e10] + [1e-5] * 15, "f4"),))),
    "powers beside a subnormal number": (
        "Pow",
        Call((np.array([1.5] * 3 + [5e-324] + [1.5] * 12), np.full(16, 2.5))),
    ),
    "root of minus infinity": ("Pow", Call((np.array([-np.inf, -0.0], "f4"), np.array(0.5, "f4")))),
    "squares below the smallest number": ("Pow", Call((np.array([1e-112]), np.array([2.0])))),
    "mean of nothing": (
        "LayerNormalization",
        Call((np.zeros((2, 0), "f4"), np.ones(0, "f4")), {"axis": -1}),
    ),
    "scales that half rounds": (
        "Resize",
        Call(
            (np.array([[[1, -2, -4, -4]]], "f4"), None, np.array([1, 1, 0.6], "f4")),
            {"mode": "linear"},
        ),
    ),
}
"""Calls on which a kernel, a reference or an error model was once wrong."""


@on_every_backend
@pytest.mark.parametrize(("op_type", "call"), ONCE_WRONG.values(), ids=ONCE_WRONG)
def test_what_was_once_wrong_stays_right(op_type, call, target):
    known = OPERATORS[op_type].constant_inputs
    present = frozenset(i for i, x in enumerate(call.inputs) if x is not None)
    if not check_case(target.backend, Case(op_type, call, known & present)):
        pytest.skip(f"{target.id} refuses this call")
