"""Whole models: the CPU backend against other engines, and every device node by node.

There is no derived end-to-end bound, so the CPU backend is held to a **dual-error rule**: the truth
is a float64 run of the graph, and the backend's error against it may be at most 4 times that of
onnxruntime (another honest float32 engine), or 64 units of roundoff of the output's size where
both are tiny; in the L2 norm and in the largest element. Where that is not enough, 4 times what the
derived error models predict: the largest of three float64 runs in which every node's output gets
random errors of its own sigma (Monte Carlo arithmetic). light_squeezenet needs it: a softmax of a
thousand equal logits of 8e8, where one unit in the last place decides everything. So that a wrong
truth cannot hide a wrong backend, the peer itself must lie within 1e-3 of it, or within 4 times
that prediction: engines that share no code then agree.

PARALLAX_DEVICES names the devices (default "cpu,portable"); one that is absent is an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import inliner, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

from conformance import verify
from conformance.truth import Rounding, float64_run
from engine.config import ScheduleConfig
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import CORPUS, CorpusModel, by_name

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
TWINS = frozenset({"light_vgg19", "light_resnet50", "light_densenet121", "light_inception_v2"})
"""Heavy models whose graphs are those of others, with other weights."""
BY_NIGHT = TWINS | {"vgg19", "light_zfnet512", "light_alexnet", "light_inception_v1"}
"""Of the heavy and large ones, those of whose operators, sizes and paths others have all."""
HEAVY = TWINS | {"vgg19", "resnet50", "densenet121", "inception_v2"}
LARGE = frozenset(
    {
        *("light_zfnet512", "light_alexnet", "light_inception_v1"),
        *("zfnet512", "alexnet", "inception_v1"),
    }
)
RATIO_MAX = 4.0
ROUNDOFFS_MAX = 64 * 2.0**-24
SAME_FUNCTION = 1e-3
RUNTIME = Runtime()
"""Shared by every verification, so that a kernel is compiled once."""
NOISY_RUNS = 3
OPSET_OF_THE_EVALUATOR = 21
EVALUATOR_FAILS = {
    "inception_v1": "onnx's LRN normalises only as many channels as there are batch entries",
    "light_inception_v1": "likewise",
    "magika": "onnx's GlobalMaxPool drops the axes of a 1-D map, so its Squeeze raises AxisError",
    "swift_f0": "onnx's GatherElements refuses indices smaller than the data",
}
"""Models that onnx's evaluator (1.23) gets wrong, and why; a test sees when that changes."""

Arrays = Mapping[str, np.ndarray]


def cases(models: tuple[CorpusModel, ...], *, every_shape: bool) -> list:
    """(model, shape set) as parameters.

    Heavy models carry `slow`, large ones and second sets of shapes `one_driver`, and some of them
    `nightly` where every shape is asked for.
    """
    return [
        pytest.param(
            model,
            which,
            id=f"{model.name}-{which}",
            marks=[
                *([pytest.mark.slow] if model.name in HEAVY else []),
                *([pytest.mark.nightly] if model.name in BY_NIGHT and every_shape else []),
                *([pytest.mark.one_driver] if which or model.name in LARGE else []),
            ],
        )
        for model in models
        for which in range(len(model.shapes) if every_shape else 1)
    ]


@cache
def interpreter(model: CorpusModel) -> Interpreter:
    """Only the last few are worth keeping; small ones all are."""
    return Interpreter.from_file(model.path)


@pytest.fixture(autouse=True)
def _forget_models() -> None:
    interpreter.cache_clear()


def onnxruntime_outputs(model: CorpusModel, feeds: Arrays) -> dict[str, np.ndarray]:
    """What onnxruntime computes with its default optimisations on two threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    session = onnxruntime.InferenceSession(
        str(model.path), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


class Truth:
    """The float64 outputs, and those of runs with honest rounding errors (made when needed)."""

    def __init__(self, execution: Execution, feeds: Arrays) -> None:
        self._graph, self._feeds = execution.graph.copy(), feeds  # outlives the session
        (self._cpu,) = execution.backends.values()
        self.outputs = float64_run(self._graph, feeds)
        self._noisy: list[Arrays] | None = None

    def honest_errors(self, name: str) -> tuple[float, float]:
        """The largest (L2, largest) error of an output over the noisy runs."""
        if self._noisy is None:
            roundings = (Rounding(self._cpu, seed) for seed in range(NOISY_RUNS))
            self._noisy = [float64_run(self._graph, self._feeds, r) for r in roundings]
        truth = self.outputs[name]
        finite = np.isfinite(truth)
        found = [np.abs(np.nan_to_num(run[name])[finite] - truth[finite]) for run in self._noisy]
        return max(float(np.linalg.norm(e)) for e in found), max(float(e.max()) for e in found)


def cpu_and_truth(model: CorpusModel, feeds: Arrays) -> tuple[Arrays, Truth]:
    """The CPU backend's outputs and the float64 ones."""
    with Runtime() as runtime, interpreter(model).create_session(ScheduleConfig(), runtime) as s:
        outputs = s(feeds)
        return outputs, Truth(s.execution, feeds)


def errors(got: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(L2, largest) error over the finite elements; the others must be the same on both sides."""
    g, t = got.astype(np.float64), truth.astype(np.float64)
    assert g.shape == t.shape
    finite = np.isfinite(t)
    np.testing.assert_array_equal(g[~finite], t[~finite])
    error = np.abs(g[finite] - t[finite])
    return float(np.linalg.norm(error)), float(error.max(initial=0.0))


def assert_as_good(name: str, got: np.ndarray, other: np.ndarray, truths: Truth) -> None:
    """The dual-error rule."""
    truth = truths.outputs[name]
    finite = truth[np.isfinite(truth)].astype(np.float64)
    sizes = float(np.linalg.norm(finite)), float(np.abs(finite).max(initial=0.0))
    pairs = zip(errors(got, truth), errors(other, truth), strict=True)
    for k, ((ours, theirs), size) in enumerate(zip(pairs, sizes, strict=True)):
        kind = ("L2", "largest")[k]
        same = SAME_FUNCTION * size
        if theirs > same:
            same = max(same, RATIO_MAX * truths.honest_errors(name)[k])
        assert theirs <= same, (
            f"{name}: the peer's {kind} error is {theirs:.3g} of {size:.3g}: not the same function"
        )
        allowed = max(RATIO_MAX * theirs, ROUNDOFFS_MAX * size)
        if ours > allowed:
            allowed = RATIO_MAX * truths.honest_errors(name)[k]
        assert ours <= allowed, f"{name}: {kind} error {ours:.3g} > {allowed:.3g} ({theirs=:.3g})"


def modern(model: CorpusModel) -> onnx.ModelProto:
    """The model in an opset of today and without local functions.

    onnx's evaluator (1.23) runs BatchNormalization 9 as if in training, applies Softmax 1 to one
    axis only, and cannot pass attributes to functions.
    """
    inlined = onnx.load(model.path)
    if inlined.functions:
        inlined = inliner.inline_local_functions(inlined)
    if inlined.opset_import[0].version >= OPSET_OF_THE_EVALUATOR:
        return inlined
    return version_converter.convert_version(inlined, OPSET_OF_THE_EVALUATOR)


def evaluator_outputs(model: CorpusModel, feeds: Arrays) -> dict[str, np.ndarray]:
    """What onnx's reference evaluator computes."""
    evaluator = ReferenceEvaluator(modern(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # exp overflows in its Sigmoid
        outputs = evaluator.run(None, dict(feeds))
    return {n: np.asarray(a) for n, a in zip(evaluator.output_names, outputs, strict=True)}


@pytest.mark.device_free
@pytest.mark.parametrize(("model", "which"), cases(CORPUS, every_shape=True))
def test_the_cpu_backend_is_as_accurate_as_its_peers(model: CorpusModel, which: int) -> None:
    """Peers: onnxruntime, and onnx's reference evaluator on the first set of shapes."""
    feeds = model.feeds(0, which)
    outputs, truth = cpu_and_truth(model, feeds)
    peers = [onnxruntime_outputs(model, feeds)]
    if which == 0 and model.name not in EVALUATOR_FAILS:
        peers.append(evaluator_outputs(model, feeds))
    for peer in peers:
        assert outputs.keys() == peer.keys()
        for name, got in outputs.items():
            assert (got.dtype, got.shape) == (peer[name].dtype, peer[name].shape)
            assert_as_good(name, got, peer[name], truth)


@pytest.mark.device_free
@pytest.mark.parametrize("name", [n for n in EVALUATOR_FAILS if not n.startswith("light_")])
def test_the_evaluator_is_still_wrong_where_it_is_not_asked(name: str) -> None:
    model = by_name(name)
    feeds = model.feeds(0)
    outputs, truth = cpu_and_truth(model, feeds)

    def compare() -> None:
        for output, peer in evaluator_outputs(model, feeds).items():
            assert_as_good(output, outputs[output], peer, truth)

    with pytest.raises((ValueError, IndexError, AssertionError)):
        compare()


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("model", "which"), cases(tuple(m for m in CORPUS if m.kind == "light"), every_shape=False)
)
def test_the_light_models_give_the_outputs_that_onnx_ships(model: CorpusModel, which: int) -> None:
    expected = onnx.TensorProto()
    assert model.expected_output is not None
    expected.ParseFromString(model.expected_output.read_bytes())
    outputs, truth = cpu_and_truth(model, model.feeds(0, which))
    ((name, got),) = outputs.items()
    stored = numpy_helper.to_array(expected)
    # onnx's own criterion for these files (onnx.backend.test.runner), else the dual-error rule
    if not np.allclose(got, stored, rtol=1e-3, atol=1e-7):
        assert_as_good(name, got, stored, truth)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "which"), cases(CORPUS, every_shape=True))
def test_every_node_verifies_at_three_precisions(
    model: CorpusModel, which: int, device: str
) -> None:
    report = verify(
        interpreter(model),
        device=device,
        inputs=lambda seed: model.feeds(seed, which),
        runtime=RUNTIME,
    )
    for precision in report.precisions:
        failed = [f"{c.title}: {c.judgement}" for c in precision.failures[:3]]
        count = len(precision.failures)
        assert not failed, f"{precision.requested}: {count} out of bounds: {failed}"
        assert not precision.context_bugs, precision.context_bugs[:3]
        assert precision.verified > 0
