"""Every operator on tensors without elements, with arithmetic traps unmasked.

Where an extent is 0, kernels divide by numbers that are otherwise at least 1. OpenCL calls the
result of an integer division by zero undefined; on processors it is a trap (SIGFPE), which PoCL
hides as long as its own handler stands. A program that installs one later, as other drivers and
`faulthandler` do, then dies of it. So this runs in a process of its own, with the system's:
`python -m properties.empties SELECTOR` prints each call before it is made and judges its results.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import numpy as np

from engine.errors import ParallaxError
from engine.ops import OPERATORS
from engine.ops.spec import Call
from properties.choose import SeededChoose
from properties.devices import runtime, targets_on
from properties.single import Case, check_case, draw_case

EXAMPLES = 2
"""Of each operator, beside its edges."""


def cases(op_type: str) -> Iterator[Case]:
    """Valid calls of which at least one input has no elements."""
    spec = OPERATORS[op_type]
    made = [draw_case(op_type, SeededChoose(seed)) for seed in range(EXAMPLES)]
    made += [Case(op_type, edge(), spec.constant_inputs) for edge in spec.edges]
    seen: set[str] = set()
    for case in made:
        for call in (case.call, *_emptied(case.call, spec.constant_inputs)):
            present = frozenset(i for i, x in enumerate(call.inputs) if x is not None)
            found = Case(op_type, call, case.constants & present)
            if any(x is not None and not x.size for x in call.inputs) and repr(found) not in seen:
                seen.add(repr(found))
                if _is_valid(found):
                    yield found


def _emptied(call: Call, known: frozenset[int]) -> Iterator[Call]:
    """The call with every axis of one extent cut to 0, in all inputs but those known before."""
    extents = {n for x in call.inputs if x is not None for n in x.shape if n}
    for extent in sorted(extents):
        inputs = [
            x if x is None or i in known else np.asarray(x[_cut(x.shape, extent)])
            for i, x in enumerate(call.inputs)
        ]
        yield Call(tuple(inputs), call.attributes)


def _cut(shape: tuple[int, ...], extent: int) -> tuple[slice, ...]:
    return tuple(slice(0) if n == extent else slice(None) for n in shape)


def _is_valid(case: Case) -> bool:
    try:
        OPERATORS[case.op_type].infer_types(
            case.call.operands(case.constants), case.call.attributes
        )
    except ParallaxError:
        return False
    return True


def main(selector: str) -> int:
    """Judge all of them at every precision; prints how many were run."""
    targets, _ = targets_on(runtime(), selector)
    ran = 0
    for target in targets:
        check_case(target.backend, Case("Relu", Call((np.ones(1, np.float32),))))
    signal.signal(signal.SIGFPE, signal.SIG_DFL)  # after a launch: drivers bring theirs late
    for op_type in OPERATORS:
        for case in cases(op_type):
            for target in targets:
                print(f"{target.id}: {case}", flush=True)
                ran += check_case(target.backend, case)
    print(ran)
    sys.stdout.flush()
    os._exit(0)  # drivers may take their handlers down in ways of their own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
