"""SUSPECT settled: beyond 6 sigma yet within the bound, so other inputs must decide.

Sigma assumes that the rounding errors of a sum are independent. They are not where a model repeats
values: adding the same term again rounds the same way again (within one binade every step errs by
the same amount), so an honest sum of n equal terms is off by about sqrt(n)/2 sigma. Other inputs of
the *model* cannot tell, because its weights stay. So the node is run again alone, on its own
inputs with every floating-point element of every operand, weights included, scaled by a factor in
[0.5, 1.5): shapes, layouts, signs and magnitudes stay, repetition goes. A wrong kernel is wrong
there too. A node that is beyond 6 sigma in any of its replays fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from conformance.judge import Verdict
from conformance.nodes import Tensors
from conformance.replay import jittered, replay
from conformance.report import NodeCheck
from engine.execution import Execution

REPLAYS = 2


def settle(checks: Sequence[NodeCheck], execution: Execution, seed: int) -> list[NodeCheck]:
    """The checks of a run, with every SUSPECT turned into PASS or FAIL."""
    return [
        _settle(c, execution, seed) if c.verdict is Verdict.SUSPECT else c for c in checks
    ]


def _settle(check: NodeCheck, execution: Execution, seed: int) -> NodeCheck:
    node = execution.graph.nodes[check.index]
    backend = execution.backend_of(node.outputs[0])
    tensors = Tensors(execution, [node])
    arrays = [None if v is None else tensors.peek(v, backend) for v in node.inputs]
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    worst = 0.0
    j = check.judgement
    here = f"{j.suspects} of {j.count} elements beyond 6 sigma"
    for k in range(REPLAYS):
        rng = np.random.default_rng([seed, k])
        again = replay(node, [None if a is None else jittered(a, rng) for a in arrays], backend)
        worst = max(worst, again[which].sigmas)
        if again[which].verdict is not Verdict.PASS:
            note = f"{here}, and {worst:.3g} sigma when replayed on other operands"
            return replace(check, verdict=Verdict.FAIL, note=note)
    note = f"{here}, but at most {worst:.3g} sigma when replayed on other operands"
    return replace(check, verdict=Verdict.PASS, note=note)
