"""An engine that is not ours as a place where cases run, so that they are reduced and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from conformance.bundles.failing import (
    OUT_OF_BOUNDS,
    AnyPlace,
    Case,
    Failing,
    FailingNode,
    NothingVerified,
    Signature,
    TriesCases,
    core_of,
    told,
)
from conformance.devices import config_of
from conformance.engines import engine_of, exposed
from conformance.engines.engine import Died, Engine
from conformance.engines.judged import ARITHMETIC, info_of, ran, verify_engine
from conformance.engines.nodes import Wrong
from conformance.export import alone, exported
from conformance.inputs import Feeds
from conformance.report import NOTHING_VERIFIED, VerifyReport
from engine.backends.protocol import Backend, DeviceInfo
from engine.config import ForwardType
from engine.errors import ParallaxError
from engine.ir.types import FLOAT, FLOATS
from engine.ops.numerics import Error, Units
from engine.runtime import Runtime

DEPLOYED = "deployed differs"
"""Kind of a failure that shows only where nothing is exposed."""


@dataclass(frozen=True)
class EnginePlace:
    """An engine with its options. An AnyPlace."""

    runtime: Runtime
    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    worker: TriesCases | None = None

    @property
    def engine(self) -> Engine:
        """Raises ConfigError where there is none of that name, or not here."""
        return _made(self.name, tuple(self.options.items()))

    @property
    def arithmetic(self) -> str:
        """See AnyPlace."""
        return ARITHMETIC

    @property
    def info(self) -> DeviceInfo:
        """See AnyPlace."""
        return info_of(self.engine, self._cpu.info)

    @property
    def choice(self) -> tuple[str, ...]:
        """See AnyPlace."""
        options = (f"{name}={value}" for name, value in self.options.items())
        return "--engine", self.name, *(x for o in options for x in ("--engine-option", o))

    @property
    def facts(self) -> dict[str, Any]:
        """See AnyPlace."""
        return {
            "device": {"selector": "cpu", **asdict(self.info)},
            "engine": {"name": self.name, "options": dict(self.options)},
        }

    @property
    def recipe(self) -> Callable[[Runtime], AnyPlace]:
        """See AnyPlace."""
        return partial(EnginePlace, name=self.name, options=dict(self.options))

    def tried_by(self, worker: TriesCases) -> AnyPlace:
        """See AnyPlace."""
        return replace(self, worker=worker)

    def examine(self, case: Case, seed: int, *, launches: bool) -> Failing | None:
        """See AnyPlace; an engine has no launches."""
        wrong: list[Wrong] = []
        try:
            report = verify_engine(
                case.model, self.engine, seed=seed, inputs=case.feeds, on_failure=wrong.append
            )
        except Died as death:
            return Failing(Signature(death.kind, "", self.arithmetic), str(death))
        if report.exit_code == NOTHING_VERIFIED:
            raise NothingVerified(f"nothing is verified in {self.name}: no node gave a number")
        return failure_of(report, wrong[0] if wrong else None)

    def tensors(self, case: Case) -> Feeds:
        """See AnyPlace."""
        try:
            model = exposed.read(case.model)
            return dict(ran(self.engine, exposed.exposed_all(model), case.feeds))
        except ParallaxError:
            return {}

    def output(self, case: Case, name: str) -> np.ndarray:
        """See AnyPlace."""
        return ran(self.engine, case.model, case.feeds)[name]

    def units(self, dtype: np.dtype) -> Units:
        """See AnyPlace."""
        kind = dtype if dtype in FLOATS else FLOAT
        return Units(self._cpu.compute(kind), self._cpu.storage(kind))

    @property
    def _cpu(self) -> Backend:
        target = ForwardType.CPU, None
        return self.runtime.backend(target[0], config_of(target))


@lru_cache
def _made(name: str, options: tuple[tuple[str, str], ...]) -> Engine:
    """An engine starts once, not for every case."""
    return engine_of(name, dict(options))


def failure_of(report: VerifyReport, wrong: Wrong | None) -> Failing | None:
    """The first failure of an engine: of a node, or else of the model as it is deployed."""
    (found,) = report.precisions
    if wrong is not None:
        node = failing_node(wrong)
        signature = Signature(OUT_OF_BOUNDS, core_of(node.title), found.effective)
        return Failing(signature, told(node), node)
    if found.context_bugs:
        return Failing(Signature(DEPLOYED, "", found.effective), found.context_bugs[0])
    return None


def failing_node(wrong: Wrong) -> FailingNode:
    """All about a node that is wrong; without a model of its own where an input is not known."""
    graph, given = alone(wrong.node, wrong.graph)
    feeds = {name: wrong.inputs[value.name] for name, value in given.items()}
    case = None
    if (known := _all_known(feeds)) is not None:
        try:
            case = Case(exported(graph).SerializeToString(), known)
        except ParallaxError:  # a node with bodies
            case = None
    return FailingNode(
        title=wrong.check.title,
        case=case,
        output=wrong.check.output,
        judgement=wrong.check.judgement,
        got=wrong.got,
        expected=wrong.expected.reference,
        error=Error(wrong.expected.sigma, wrong.expected.bound),
        is_first=all(v is None or v.producer is None for v in wrong.node.inputs),
        launches={},
    )


def _all_known(feeds: Mapping[str, np.ndarray | None]) -> Feeds | None:
    known = {name: array for name, array in feeds.items() if array is not None}
    return known if len(known) == len(feeds) else None
