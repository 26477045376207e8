"""Random graphs on a device until a budget is spent; each kind of failure becomes one bundle.

The graph of a seed is always the same (`graphs.seeded_program`). It is written down as an ONNX
model, every second one with control flow, stages and axes of no known extent (`wrapping`), and
judged as `verify` judges: every node on its own inputs, then the plan that reuses memory.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conformance.bundles.failing import AnyPlace, Case, Failing, NothingVerified, examine
from conformance.bundles.replay import NotReproduced, keep
from conformance.bundles.worker import CRASH, HANG, SECONDS
from conformance.engines.place import EnginePlace
from conformance.reduction.bundling import bundle_of, free_path
from conformance.reduction.reducer import Reducer, nodes_of
from conformance.reduction.refused import Refusals
from engine.errors import ConfigError, ParallaxError
from engine.files import write_atomically
from properties.choose import SeededChoose
from properties.graphs import decode, seeded_program
from properties.wrapping import plain_case, wrapped_case

FORM = "parallax fuzz state 1"
"""Of the file that a run is resumed from."""
REDUCTION_S = 60.0
"""The longest that one finding is made smaller."""
HANGS = 6
"""So many tries of a finding that hangs fit into the time that it is made smaller."""


@dataclass
class Finding:
    """One kind of failure.

    Attributes:
        seed: of the graph that showed it first. count: graphs that show it.
        nodes: of the reduced model. bundle: its path, or None and the `problem` that it has.
    """

    signature: dict[str, str]
    said: str
    seed: int
    count: int = 1
    nodes: int | None = None
    bundle: str | None = None
    problem: str = ""


@dataclass
class State:
    """How far a run came; plain data, which a later one goes on from.

    Attributes:
        device, precisions: where. first, following: seeds. running: the one being tried, or None.
        graphs: judged at every precision. refused: of those, with a reason, how many at how many
            precisions. slow: runs that took longer than a try may, and ended in a fresh process.
        findings: by the text of their signature.
        left_out: nodes that an engine does not run, by operator; the rest of the graph is judged.
    """

    device: str
    precisions: list[str]
    first: int
    following: int
    running: int | None = None
    graphs: int = 0
    verified: int = 0
    slow: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file; raises ConfigError."""
        text = json.dumps({"form": FORM, **asdict(self)}, indent=1)
        try:
            write_atomically(path, lambda file: file.write(f"{text}\n".encode()))
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> State:
        """Read a file; a graph during which the process ended is a finding, and left out.

        Raises:
            ConfigError: it is no such file.
        """
        try:
            data = json.loads(path.read_text())
            if data.pop("form") != FORM:
                raise ValueError("it has another form")
            findings = {k: Finding(**f) for k, f in data.pop("findings").items()}
            state = cls(**data, findings=findings)
            state.check()
            if state.running is not None:
                state.note_crash(int(state.running))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: is no state of a fuzz run: {error}") from error
        return state

    def check(self) -> None:
        """Raise ValueError where a number is none that a run writes."""
        for name in ("first", "following", "graphs", "verified", "slow", "running"):
            number = getattr(self, name)
            is_none = number is None and name == "running"
            if not is_none and (type(number) is not int or not 0 <= number < 2**63):
                raise ValueError(f"{name} is {number!r}, expected a whole number from 0 on")

    def note_crash(self, seed: int) -> None:
        """The process ended while a graph ran."""
        said = f"the process ended while the graph of seed {seed} ran"
        signature = {"kind": CRASH, "operator": "", "precision": ""}
        self.findings[f"{CRASH} of seed {seed}"] = Finding(
            signature, said, seed, problem="a process that ends writes no bundle"
        )
        self.running, self.following = None, seed + 1


def case_of(seed: int) -> Case:
    """The graph of a seed as a model, and its inputs; odd seeds in control flow and stages."""
    model = decode(seeded_program(seed))
    return wrapped_case(model, SeededChoose(seed)) if seed % 2 else plain_case(model)


@dataclass
class Fuzz:
    """A run.

    Args:
        places: the device, at each precision. bundles: the folder for findings, made when needed.
        saved: called when the state changed. found: called with each finding of a new kind.
        tell: called before each graph, and while a finding is made smaller, with what is done.
        known: signatures that are counted and not made smaller: somebody has a bundle of them.
    """

    state: State
    places: Sequence[AnyPlace]
    bundles: Path
    saved: Callable[[State], None]
    tell: Callable[[str], None]
    found: Callable[[Finding], None]
    known: frozenset[str] = frozenset()
    _refused: Refusals | None = None

    def run(self, *, seconds: float | None, count: int | None) -> None:
        """Graph after graph until the time is up, or so many; interruptible after each."""
        end = None if seconds is None else time.monotonic() + seconds
        tried = 0
        while (count is None or tried < count) and (end is None or time.monotonic() < end):
            self._graph(self.state.following)
            tried += 1

    def _graph(self, seed: int) -> None:
        state = self.state
        state.running = seed
        self.saved(state)
        self.tell(f"seed {seed}")
        try:
            case = case_of(seed)
            if nodes_of(case):
                for place in self.places:
                    self._judge(case, place, seed)
                state.graphs += 1
            state.following = seed + 1
        finally:
            state.running = None
            self.saved(state)

    def _judge(self, case: Case, place: AnyPlace, seed: int) -> None:
        try:
            case, failing = self._examined(case, place, seed)
            self.state.verified += 1
        except (NothingVerified, ParallaxError) as error:
            said = next(iter(str(error).splitlines()), type(error).__name__)
            self.state.refused[said] = self.state.refused.get(said, 0) + 1
            return
        if failing is not None:
            self._note(case, failing, place, seed)

    def _examined(self, case: Case, place: AnyPlace, seed: int) -> tuple[Case, Failing | None]:
        """The case, or what of it an engine runs, and how that fails."""
        try:
            return case, self._patiently(case, place, seed)
        except NothingVerified:
            raise
        except ParallaxError:
            if not isinstance(place, EnginePlace):
                raise
            smaller = self._refusals(place).without(case)
            if smaller is None:
                raise
        return smaller, self._patiently(smaller, place, seed)

    def _refusals(self, place: EnginePlace) -> Refusals:
        if self._refused is None:
            self._refused = Refusals(place, self.state.left_out)
        return self._refused

    def _patiently(self, case: Case, place: AnyPlace, seed: int) -> Failing | None:
        """What fails; a hang counts where a fresh process, which has more time, hangs too."""
        failing = examine(case, place, seed)
        if failing is None or failing.signature.kind != HANG or place.worker is None:
            return failing
        self.tell(f"seed {seed}: no answer; again in a fresh process")
        patience = max(SECONDS, place.worker.seconds)
        again = place.worker.examine(case, place, seed, seconds=patience)
        self.state.slow += again is None or again.signature.kind != HANG
        return again

    def _note(self, case: Case, failing: Failing, place: AnyPlace, seed: int) -> None:
        key = str(failing.signature)
        if key in self.state.findings:
            self.state.findings[key].count += 1
            return
        finding = Finding(failing.signature.to_json(), failing.said, seed)
        self.state.findings[key] = finding
        if key in self.known:
            return
        self._reduce(finding, case, failing, place, seed)
        self.found(finding)

    def _reduce(
        self, finding: Finding, case: Case, failing: Failing, place: AnyPlace, seed: int
    ) -> None:
        """Make a finding small, and a bundle of it."""

        def tell(stage: str, _: float) -> None:
            self.tell(f"seed {seed}: reducing {stage}")

        budget = REDUCTION_S
        if place.worker is not None and failing.signature.kind == HANG:
            budget = max(budget, HANGS * place.worker.seconds)
        reduced = Reducer(case, failing, place, seed, budget, tell).run()
        finding.said, finding.nodes = reduced.failing.said, reduced.nodes
        origin = f"parallax fuzz {shlex.join(place.choice)} --seed {seed} --count 1"
        path = free_path(self.bundles, failing.signature)
        self.tell(f"seed {seed}: a fresh process")
        try:
            keep(bundle_of(reduced, place, origin=origin, seed=seed), path)
            finding.bundle = str(path)
        except NotReproduced as error:
            finding.problem = str(error)


def plain(state: State) -> dict[str, Any]:
    """What `--json` prints of a run."""
    data = asdict(state)
    return {
        **{k: data[k] for k in ("first", "following", "graphs", "verified", "slow", "refused")},
        "left_out": data["left_out"],
        "findings": list(data["findings"].values()),
    }
