"""SUSPECT settled: beyond 6 sigma yet within the bound, so other inputs must decide.

**Rare is allowed.** Sigma is the expected size of the error over random orders of summation; the
partial sums of one element can run far from what is expected, so the tail is longer than a normal
one. Simulated float32 sums in sequence of n = 192 to 3072 products: 5e-6 to 1e-5 of them lie beyond
6 sigma, the largest of 1.3 million at 7.4. Up to SHARE_MAX of a tensor's elements may.

**Order and repetition are replayed.** Sigma also assumes that the rounding errors of a sum are
independent and its order random. They are not where a model repeats values (adding the same term
again rounds the same way again, so an honest sum of n equal terms is off by about sqrt(n)/2 sigma)
or sorts them (PP-OCR's detector has kernels whose first taps are negative and last positive: the
partial sums are 4 times what a random order gives). Other inputs of the *model* cannot tell,
because its weights stay. So the node is run again alone, on its own inputs with every
floating-point element of every operand, weights included, scaled by a factor in [0.5, 1.5), and
with random signs for the weights of a sum of products, which makes its order random: shapes,
layouts and magnitudes stay. A wrong kernel is wrong there too, unless its error is less than about
60 sigma and comes from the very signs; the worst-case bound holds for that one.

A node fails when too many elements are beyond 6 sigma in its own run and in each of REPLAYS
replays, or when a replay exceeds the bound, which proves it wrong. The first replay without either
clears it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from conformance.judge import Judgement, Verdict
from conformance.nodes import Tensors
from conformance.replay import other_operands, replay
from conformance.report import NodeCheck
from engine.execution.execution import Execution

SHARE_MAX = 1e-4
REPLAYS = 2


def settle(checks: Sequence[NodeCheck], execution: Execution, seed: int) -> list[NodeCheck]:
    """The checks of a run, with every SUSPECT turned into PASS or FAIL."""
    return [_settle(c, execution, seed) if c.verdict is Verdict.SUSPECT else c for c in checks]


def is_rare(judgement: Judgement) -> bool:
    """True when no more elements are beyond 6 sigma than an honest kernel may have."""
    return judgement.suspects <= rare_max(judgement)


def rare_max(judgement: Judgement) -> int:
    """How many elements of a tensor an honest kernel may have beyond 6 sigma."""
    return int(SHARE_MAX * judgement.count)


def _settle(check: NodeCheck, execution: Execution, seed: int) -> NodeCheck:
    first = check.judgement
    here = f"{_beyond(first)}, the worst at {first.sigmas:.3g}"
    if is_rare(first):
        note = f"{here}; an honest kernel may have {rare_max(first)} there, so it is chance"
        return replace(check, verdict=Verdict.PASS, note=note)
    worst = 0.0
    for replayed in _replays(check, execution, seed):
        worst = max(worst, replayed.sigmas)
        if replayed.verdict is Verdict.FAIL:
            note = f"{here}; replayed on other operands it exceeds the worst case: a wrong kernel"
            return replace(check, verdict=Verdict.FAIL, note=note)
        if is_rare(replayed):
            came = "none" if replayed.suspects == 0 else f"{replayed.suspects}"
            note = (
                f"{here}; replayed on other operands {came} came back (the worst at "
                f"{replayed.sigmas:.3g}), so it was these values, not the kernel"
            )
            return replace(check, verdict=Verdict.PASS, note=note)
    note = (
        f"{here}; beyond 6 sigma again in {REPLAYS} replays on other operands (the worst at "
        f"{worst:.3g}): a wrong kernel"
    )
    return replace(check, verdict=Verdict.FAIL, note=note)


def _beyond(judgement: Judgement) -> str:
    return f"{judgement.suspects} of {judgement.count} elements beyond 6 sigma"


def _replays(check: NodeCheck, execution: Execution, seed: int) -> Iterator[Judgement]:
    node = execution.graph.nodes[check.index]
    backend = execution.backend_of(node.outputs[0])
    tensors = Tensors(execution, [node])
    arrays = [None if v is None else tensors.peek(v, backend) for v in node.inputs]
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    for k in range(REPLAYS):
        operands = other_operands(node, arrays, np.random.default_rng([seed, k]))
        yield replay(node, operands, backend)[which]
