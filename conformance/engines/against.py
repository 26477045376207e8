"""A device beside an engine that is not ours: where their tensors part, and which of them is right.

The engine runs with every value exposed, and as deployed. Of each tensor that both report, both
are held against a float64 run of the whole model, in units of what rounding explains there
(conformance/stored.py, each by the spread of its own arithmetic). Each node of the engine is also
judged on the engine's own inputs, as `verify --engine` does, within the bounds of a single node:
these are closer than what is left at the end of a chain, and see a node that is read otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conformance.engines import engine_of, exposed
from conformance.engines.engine import Arrays, Engine
from conformance.engines.judged import Trial
from conformance.inputs import AnyFeeds
from conformance.judge import Verdict, number
from conformance.nodes import Progress
from conformance.report import Against, Distance, NodeCheck, Parting
from conformance.stored import Stored
from conformance.truth import evaluation
from engine.arrays import flattened
from engine.backends.protocol import Backend
from engine.errors import InputError
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.passes import infer_unfolded
from engine.runtime import Runtime

HERE, NEITHER = "this device", "neither"
"""Who is right, beside the name of the engine."""


class Opponent:
    """An engine and the model that it is asked about.

    Args:
        model: a path, or the bytes of a file.
    """

    def __init__(self, engine: Engine, model: str | Path | bytes) -> None:
        self._engine, self._model = engine, model

    def meet(self, feeds: AnyFeeds, seed: int, runtime: Runtime, tell: Progress) -> Meeting:
        """Run the engine on these inputs; raises InputError where it does not run the model."""
        return Meeting(self._engine, self._model, flattened(feeds), seed, runtime, tell)


def opponent_of(name: str, model: object) -> Opponent:
    """The engine of a name, with its default options; raises ConfigError, InputError."""
    if not isinstance(model, (str, Path, bytes)):
        raise InputError("against another engine: give the path of the model, or its bytes")
    return Opponent(engine_of(name, {}, option="against another engine:"), model)


class Meeting:
    """What an engine computed from one set of inputs, and what is right."""

    def __init__(
        self,
        engine: Engine,
        model: str | Path | bytes,
        feeds: Arrays,
        seed: int,
        runtime: Runtime,
        tell: Progress,
    ) -> None:
        proto = exposed.read(model)
        interpreter = Interpreter.from_buffer(proto.SerializeToString())
        trial = Trial(engine, proto, interpreter, dict(feeds), seed, runtime, tell)
        self._engine = engine
        self.report = trial.report()
        self._theirs = {**trial.reported, **trial.deployed}
        made = {v.name: node.title for node in interpreter.imported.nodes for v in node.outputs}
        self._titles = {name: title for name, title in made.items() if name in self._theirs}
        names = [n for n in exposed.shown_values(proto) if n in self._theirs]
        shown = Interpreter.from_buffer(exposed.exposed(proto, names))
        self._stored = Stored(
            {name: self._theirs[name] for name in self._titles},
            evaluation(shown.imported, feeds, infer_unfolded),
            trial.cpu,
            seed,
            lambda done, total: tell("what rounding does to every tensor", done, total),
        )

    def read(self, run: Execution) -> dict[str, np.ndarray]:
        """The tensors of a run that the engine reported, too, by name."""
        made = (value for node in run.graph.nodes for value in node.outputs)
        return {v.name: run.read(v) for v in made if v.name in self._titles}

    def compare(
        self, ours: Mapping[str, np.ndarray], backend: Backend, checks: Sequence[NodeCheck]
    ) -> Against:
        """Where the tensors of a device part from the engine's, in the order of the graph."""
        wrong_here = _failing(checks)
        wrong_there = _failing(self.report.checks)
        partings = []
        for name, title in self._titles.items():
            here = self._stored.distance(name, ours[name], backend) if name in ours else None
            there = self._stored.theirs[name]
            is_wrong = (
                name in wrong_here or (here is not None and here.beyond > 0),
                name in wrong_there or there.beyond > 0,
            )
            if any(is_wrong):
                partings.append(self._parting(name, title, ours.get(name), here, there, is_wrong))
        return Against(
            engine=f"{self._engine.name} {self._engine.version}, {self._engine.setting}",
            name=self._engine.name,
            compared=sum(name in ours for name in self._titles),
            hidden=sum(name not in ours for name in self._titles),
            failure=self.report.failure,
            partings=tuple(partings),
        )

    def _parting(
        self,
        name: str,
        title: str,
        ours: np.ndarray | None,
        here: Distance | None,
        there: Distance,
        is_wrong: tuple[bool, bool],
    ) -> Parting:
        theirs = self._theirs[name]
        worst = here if here is not None and is_wrong == (True, False) else there
        has_element = len(worst.index) == theirs.ndim
        is_there = has_element and ours is not None and ours.shape == theirs.shape
        right = {(True, False): self._engine.name, (False, True): HERE}.get(is_wrong, NEITHER)
        return Parting(
            title=title,
            output=name,
            index=worst.index,
            here=_number(ours[worst.index]) if is_there and ours is not None else None,
            there=_number(theirs[worst.index]) if has_element else None,
            truth=worst.truth,
            ours=here,
            theirs=there,
            right=right,
        )


def _failing(checks: Sequence[NodeCheck]) -> Collection[str]:
    return {check.output for check in checks if check.verdict is Verdict.FAIL and not check.known}


def _number(element: Any) -> float | None:
    return None if isinstance(element, str) else number(element)
