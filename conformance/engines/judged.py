"""An engine that is not ours under judgement: every node on the inputs that it had itself.

Twice: with everything exposed, which turns most fusions off and shows the arithmetic of each node;
and as the engine is deployed, with the model's outputs alone, which must lie as near to a float64
run of the model as rounding explains (conformance/stored.py). Where only the second differs, values
are exposed by halves until it is known which one's exposure cures it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from conformance.devices import config_of
from conformance.engines import exposed
from conformance.engines.engine import Arrays, Died, Engine
from conformance.engines.nodes import RANDOM, Nodes, Wrong
from conformance.expectation import bound
from conformance.feeding import Draw, concrete_shapes, drawer, given_arrays
from conformance.inputs import Feeds
from conformance.judge import Verdict, equal, numbered
from conformance.nodes import Progress
from conformance.outputs import output_error
from conformance.report import (
    OVERFLOW,
    Distance,
    PrecisionReport,
    VerifyReport,
)
from conformance.stored import LIMIT, Stored
from conformance.truth import evaluation
from engine import arguments
from engine.arrays import AnyArrayLike, flattened
from engine.backends.protocol import DeviceInfo
from engine.config import ForwardType
from engine.errors import InputError
from engine.interpreter import Interpreter
from engine.passes import infer_unfolded
from engine.runtime import Runtime

ARITHMETIC = "float32"
"""What engines are asked to compute in; tensors of half and double have their own."""


def verify_engine(
    model: str | Path | bytes,
    engine: Engine,
    *,
    seed: int = 0,
    shapes: Mapping[str, arguments.AnyShape] | None = None,
    inputs: Mapping[str, AnyArrayLike] | Draw | None = None,
    progress: Progress | None = None,
    on_failure: Callable[[Wrong], object] | None = None,
) -> VerifyReport:
    """Compare what another engine computes in every node of a model with its float64 reference.

    Args:
        model: a path, or the bytes of a file.
        shapes, inputs, seed, progress: as for `verify`.
        on_failure: called with the first node that is wrong.

    Raises:
        ParallaxError: the model or the inputs cannot be used, or the engine does not run it.
    """
    proto = exposed.read(model)
    interpreter = Interpreter.from_buffer(proto.SerializeToString())
    given = given_arrays(interpreter, inputs, seed)
    concrete, chosen = concrete_shapes(interpreter, shapes, given)
    feeds = flattened(drawer(interpreter, concrete, inputs, given, seed)(seed))
    name = str(model) if not isinstance(model, bytes) else interpreter.graph.name
    with Runtime() as runtime:
        tell = progress or (lambda stage, done, total: None)
        trial = Trial(engine, proto, interpreter, feeds, seed, runtime, tell)
        device = info_of(engine, trial.cpu.info)
        report = trial.report()
    if trial.wrong is not None and on_failure is not None:
        on_failure(trial.wrong)
    return VerifyReport(name, device, seed, concrete, chosen, (report,), given=bool(given))


def info_of(engine: Engine, processor: DeviceInfo) -> DeviceInfo:
    """An engine on the processor, as devices are described."""
    return replace(
        processor,
        platform=f"{engine.name} {engine.version}",
        name=engine.setting,
        driver=engine.version,
        version=engine.version,
        notes=(),
    )


@dataclass
class Trial:
    """One engine on one model and one set of inputs.

    Attributes:
        deployed: the model's outputs, with nothing exposed. reported: what it exposes, and those.
        wrong: the first node that is.
    """

    engine: Engine
    proto: onnx.ModelProto
    interpreter: Interpreter
    feeds: Feeds
    seed: int
    runtime: Runtime
    tell: Progress

    def __post_init__(self) -> None:
        target = ForwardType.CPU, None
        self.cpu = self.runtime.backend(ForwardType.CPU, config_of(target))
        with self.interpreter.create_session(
            config_of(target), self.runtime, {n: x.shape for n, x in self.feeds.items()}
        ) as session:
            self.truth = flattened(session(self.feeds))
        self.deployed: Arrays = {}
        self.reported: Arrays = {}
        self.wrong: Wrong | None = None

    def report(self) -> PrecisionReport:
        """The verdict."""
        start = time.perf_counter()
        self.tell(f"{self.engine.name} runs", 0, 1)
        self.deployed = deployed = self.run(())
        for name in self.truth:
            if name not in deployed:
                raise InputError(f"{self.engine.name} {self.engine.version} gives no {name!r}")
        names = exposed.shown_values(self.proto)
        self.reported = self.run(names)
        graph = bound(self.interpreter, self.feeds)
        judged = Nodes(self.engine.name, graph, self.feeds, self.reported, self.cpu)
        checks = tuple(judged.checks(self.tell))
        self.wrong = judged.wrong
        found = [check.judgement for check in checks]
        is_explained = any(check.reading or check.verdict is Verdict.FAIL for check in checks)
        differences = tuple(self.differences(deployed, names))
        beyond = [d for d in differences if d.until or not is_explained]
        overflowing = {d.output for d in beyond if judged.overflows_before(d.output)}
        blamed = [
            d
            for d in beyond
            if d.until or not (d.output in overflowing or self._is_right_by_steps(d, judged))
        ]
        return PrecisionReport(
            requested=ARITHMETIC,
            effective=ARITHMETIC,
            same_as=None,
            checks=checks,
            failure=judged.failure,
            fallbacks=tuple(judged.skipped),
            context_bugs=tuple(map(str, blamed)),
            outputs=tuple(output_error(n, deployed[n], y) for n, y in self.truth.items()),
            stored=(),
            saturated=(),
            overflows=sum(j.overflows for j in found),
            nans=sum(j.nans for j in found),
            undecided=sum(j.undecided for j in found),
            seconds=time.perf_counter() - start,
            unjudged=tuple(
                f"{d}; {OVERFLOW} before it"
                for d in beyond
                if not d.until and d.output in overflowing
            ),
        )

    def _is_right_by_steps(self, difference: _Difference, judged: Nodes) -> bool:
        """Whether it is the same with everything exposed, and every node was judged.

        Then each step was found right: an output that jumps, such as an index, may lie far from
        that of a float64 run.
        """
        name = difference.output
        return not judged.skipped and _are_same(self.deployed[name], self.reported[name])

    def run(self, names: Sequence[str]) -> Arrays:
        """The engine's outputs, with some values exposed; raises InputError where it fails."""
        return ran(self.engine, exposed.exposed(self.proto, names), self.feeds)

    def differences(self, deployed: Arrays, names: Sequence[str]) -> Iterator[_Difference]:
        """Outputs beyond what rounding explains, and the value whose exposure cures them."""
        if any(node.op_type in RANDOM for node in self.interpreter.imported.nodes):
            return
        expected = {n: deployed[n] for n in self.truth if n in deployed}
        evaluate = evaluation(self.interpreter.imported, self.feeds, infer_unfolded)
        stored = Stored(
            expected,
            evaluate,
            self.cpu,
            self.seed,
            lambda done, total: self.tell("what rounding does to the outputs", done, total),
        )
        for name, distance in stored.theirs.items():
            if not distance.beyond:
                continue

            def is_cured(count: int, name: str = name) -> bool:
                return not stored.distance(name, self.run(names[:count])[name], self.cpu).beyond

            cure = _first(is_cured, len(names))
            yield _Difference(name, distance, None if cure is None else names[cure - 1])


@dataclass(frozen=True)
class _Difference:
    """An output that, as deployed, is not what a float64 run gives.

    Attributes:
        until: the value whose exposure cures it; None where none does.
    """

    output: str
    distance: Distance
    until: str | None

    def __str__(self) -> str:
        found = self.distance
        until = "whatever" if self.until is None else f"until {self.until!r}"
        return (
            f"as deployed, output {self.output!r} lies up to {found.spreads:.3g} spreads from a "
            f"float64 run ({LIMIT:.0f} is the limit) in {found.beyond} of {found.count} "
            f"elements, {until} is exposed"
        )


def ran(engine: Engine, data: bytes, feeds: Arrays) -> Arrays:
    """All tensors that an engine gives; raises InputError where it does not run the model, Died."""
    try:
        found = engine.run(data, feeds)
    except Died:
        raise
    except Exception as error:
        raise InputError(
            f"{engine.name} {engine.version} does not run the model: "
            f"{type(error).__name__}: {_reason(error)}"
        ) from error
    return {n: y for n, y in found.items() if isinstance(y, np.ndarray)}


def _are_same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit by bit, but for NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(equal(*numbered(a, b)).all())


def _reason(error: Exception) -> str:
    """What an engine says first; OpenVINO begins with where in its sources it fails."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (line for line in lines if not line.startswith("Exception from"))
    return next(told, lines[0] if lines else "no reason given")


def _first(is_cured: Callable[[int], bool], count: int) -> int | None:
    """The smallest number that cures, where all larger ones do; None where not even `count`."""
    if not is_cured(count):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_cured(middle) else (middle, high)
    return high
