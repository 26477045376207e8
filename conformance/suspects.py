"""SUSPECT settled: what sigma calls unlikely and the bound allows, and what no bound decides.

**By the mirror** (`conformance/mirrors`), where the kernel declares in which order it adds up:
NumPy computes the doubtful elements in that order. A kernel that gives these numbers rounds as it
declares; one that does not is wrong. Elements whose bound is infinite are decided so, too. Where
errors lean to one side (`judge.bias`) there are no doubtful elements to name, so SAMPLE sqrt(N) of
all N are drawn: a lean of 6 standard errors by errors of at most 6 sigma each takes sqrt(N)
elements at least, so that all of these are missed with a probability below e^-SAMPLE.

**By chance or replay**, only where no order is declared. Sigma is the expected size of the error
over random orders of summation, so the tail is longer than a normal one: simulated float32 sums in
sequence of n = 192 to 3072 products put 5e-6 to 1e-5 of them beyond 6 sigma, the largest of 1.3
million at 7.4. Up to SHARE_MAX of a tensor's elements may. More of them, or errors that lean to one
side, are replayed: the node runs again alone, on its own inputs with every floating-point element
of every operand, weights included, scaled by a factor in [0.5, 1.5), and with random signs for the
weights of a sum of products: shapes, layouts and magnitudes stay. It fails when that persists in
each of REPLAYS replays, or when a replay exceeds the bound. An error below about 60 sigma that
comes from the very signs is missed there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conformance.judge import Judgement, Verdict, compare, units_for
from conformance.mirrors import order_of, unexplained
from conformance.nodes import Tensors, expected_of
from conformance.replay import other_operands, replay
from conformance.report import CHANCE, MIRROR, REPLAY, NodeCheck
from engine.execution.execution import Execution
from engine.ops.compose import spec_of

SHARE_MAX = 1e-4
REPLAYS = 2
SAMPLE = 16
DOUBTFUL_MAX = 4096
"""Of the doubtful elements of a tensor at most so many are mirrored: the worst one and a draw."""


@dataclass(frozen=True)
class _Suspect:
    """A check and the run that it judged."""

    check: NodeCheck
    execution: Execution
    seed: int

    @property
    def judgement(self) -> Judgement:
        return self.check.judgement

    def cleared(self, how: str, note: str) -> NodeCheck:
        return replace(self.check, verdict=Verdict.PASS, settled=how, note=f"{self._said}; {note}")

    def failed(self, how: str, note: str) -> NodeCheck:
        return replace(self.check, verdict=Verdict.FAIL, settled=how, note=f"{self._said}; {note}")

    @property
    def _said(self) -> str:
        j = self.judgement
        said = []
        if j.suspects or not (j.is_biased or j.undecided):
            worst = f"the worst at {j.sigmas:.3g}"
            said.append(f"{j.suspects} of {j.count} elements beyond 6 sigma, {worst}")
        if j.undecided:
            said.append(f"{j.undecided} of {j.count} elements without a bound")
        if j.is_biased:
            said.append(f"errors lean to one side by {j.bias:.3g} standard errors")
        return ", ".join(said)


def settle(checks: Sequence[NodeCheck], execution: Execution, seed: int) -> list[NodeCheck]:
    """The checks of a run, with every SUSPECT turned into PASS or FAIL."""
    return [_settle(_Suspect(c, execution, seed)) for c in checks]


def is_rare(judgement: Judgement) -> bool:
    """True when no more elements are beyond 6 sigma than an honest kernel may have."""
    return judgement.suspects <= rare_max(judgement) and not judgement.is_biased


def rare_max(judgement: Judgement) -> int:
    """How many elements of a tensor an honest kernel may have beyond 6 sigma."""
    return int(SHARE_MAX * judgement.count)


def _settle(suspect: _Suspect) -> NodeCheck:
    check = suspect.check
    if check.verdict is Verdict.FAIL:
        return check
    if check.verdict is Verdict.PASS and not check.judgement.undecided:
        return check
    mirrored = _by_mirror(suspect)
    if mirrored is not None:
        return mirrored
    return check if check.verdict is Verdict.PASS else _by_replay(suspect)


# ---------------------------------------------------------------------- mirrors
def _by_mirror(suspect: _Suspect) -> NodeCheck | None:
    """None where the kernel declares no order."""
    check, execution = suspect.check, suspect.execution
    node = execution.graph.nodes[check.index]
    backend = execution.backend_of(node.outputs[0])
    order = order_of(node, backend)
    if order is None:
        return None
    tensors = Tensors(execution, [node])
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    got = tensors.peek(node.outputs[which], backend)
    references, errors = expected_of(tensors, node, backend)
    units = units_for(backend, node)
    found = compare(got, np.asarray(references[which]), errors[which], units)
    rng = np.random.default_rng(suspect.seed)
    flat = _drawn(found.doubtful, found.sigmas, rng)
    if suspect.judgement.is_biased:
        count = min(got.size, int(SAMPLE * np.sqrt(got.size)) + 1)
        flat = np.union1d(flat, rng.choice(got.size, count, replace=False))
    known = spec_of(node.op_type).constant_inputs
    arrays = [
        None if v is None else v.constant if i in known else tensors.peek(v, backend)
        for i, v in enumerate(node.inputs)
    ]
    storage = backend.storage(node.outputs[which].known_type.dtype)
    left = unexplained(got, node, arrays, order, storage, flat, which)
    if left.size:
        return suspect.failed(
            MIRROR,
            f"{left.size} of the {flat.size} that were mirrored are not what the declared order "
            "of summation gives: a wrong kernel",
        )
    if not flat.size:
        return check
    return suspect.cleared(
        MIRROR, f"the declared order of summation gives the same ({flat.size} mirrored)"
    )


def _drawn(flat: np.ndarray, sigmas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if flat.size <= DOUBTFUL_MAX:
        return flat
    worst = flat[np.argmax(sigmas.reshape(-1)[flat])]
    return np.union1d(rng.choice(flat, DOUBTFUL_MAX - 1, replace=False), [worst])


# ---------------------------------------------------------------------- chance and replay
def _by_replay(suspect: _Suspect) -> NodeCheck:
    first = suspect.judgement
    if is_rare(first):
        note = f"an honest kernel may have {rare_max(first)} there, so it is chance"
        return suspect.cleared(CHANCE, note)
    worst = 0.0
    for replayed in _replays(suspect):
        worst = max(worst, replayed.sigmas)
        if replayed.verdict is Verdict.FAIL:
            note = "replayed on other operands it exceeds the worst case: a wrong kernel"
            return suspect.failed(REPLAY, note)
        if is_rare(replayed):
            came = "none" if replayed.suspects == 0 else f"{replayed.suspects}"
            return suspect.cleared(
                REPLAY,
                f"replayed on other operands {came} came back (the worst at "
                f"{replayed.sigmas:.3g}), so it was these values, not the kernel",
            )
    return suspect.failed(
        REPLAY,
        f"beyond 6 sigma again in {REPLAYS} replays on other operands (the worst at "
        f"{worst:.3g}): a wrong kernel",
    )


def _replays(suspect: _Suspect) -> Iterator[Judgement]:
    check, execution = suspect.check, suspect.execution
    node = execution.graph.nodes[check.index]
    backend = execution.backend_of(node.outputs[0])
    tensors = Tensors(execution, [node])
    arrays = [None if v is None else tensors.peek(v, backend) for v in node.inputs]
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    for k in range(REPLAYS):
        operands = other_operands(node, arrays, np.random.default_rng([suspect.seed, k]))
        yield replay(node, operands, backend)[which]
