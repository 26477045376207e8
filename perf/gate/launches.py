"""Launches: a fresh process for each arm, in turns, and what they answered, checked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from perf.agreement import RELATIVE_L2_MAX, relative_l2
from perf.arrays import load_arrays
from perf.gate import checks
from perf.gate.process import Arm, Overheard, Process
from perf.gate.records import ARMS, BASE, CAND, CONTROL, ORDERS, Launch, Quad, Series, Slot
from perf.launch import WorkerError
from perf.machine import Neighbours

PROFILED = 3
"""Profiled runs of each arm, scenario and launch, in turns."""

Tell = Callable[[str, int, int], None]
Start = Callable[[str, int], Process]
"""From an arm's name and a seed to its fresh process."""


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        scenarios: by name, the models that run one after the other.
        models: by name, the file. feeds: by name, files of `perf.arrays`, one for each set.
        quads: of each scenario and launch. folder: for the outputs of the arms.
    """

    scenarios: Mapping[str, tuple[str, ...]]
    models: Mapping[str, Path]
    feeds: Mapping[str, Sequence[Path]]
    quads: int
    folder: Path

    def only(self, scenarios: Sequence[str]) -> Work:
        """The same with fewer scenarios, and the models that they need."""
        kept = {name: self.scenarios[name] for name in scenarios}
        used = {model for models in kept.values() for model in models}
        models = {name: path for name, path in self.models.items() if name in used}
        return Work(kept, models, self.feeds, self.quads, self.folder)


@dataclass
class Bench:
    """Where launches are made.

    Attributes:
        hello: by arm, the arguments of the first request.
        clock: of this process and of those it starts.
        seen: the processes that were measured before.
    """

    arms: Mapping[str, Arm]
    start: Start
    hello: Mapping[str, Mapping[str, Any]]
    clock: Callable[[], int] = time.perf_counter_ns
    seen: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Rehearsal:
    """What the arms are and can, found out before anything is timed.

    Attributes:
        facts: by arm, who it is, and under "models" where each of them ran.
        lacking: by model, why the baseline cannot run it. errors: by model, the relative L2 of the
            candidate's outputs against the baseline's. invalid: why times would not be believed.
    """

    facts: Mapping[str, Mapping[str, Any]]
    lacking: Mapping[str, str]
    errors: Mapping[str, float]
    invalid: tuple[str, ...]


def rehearse(bench: Bench, work: Work) -> Rehearsal:
    """Start both arms, let them run every model once, and compare what they computed.

    It also fills the driver caches, so that all launches find them alike.

    Raises:
        WorkerError: an arm does not start, or the candidate cannot run a model.
    """
    lacking: dict[str, str] = {}
    with ExitStack() as stack:
        processes, hello, invalid = _meet(bench, stack, seed=0)
        loaded: dict[str, dict[str, Any]] = {}
        errors: dict[str, float] = {}
        for model in work.models:
            ours = _load(processes[CAND], work, model, _outputs(work, CAND))
            try:
                theirs = _load(processes[BASE], work, model, _outputs(work, BASE))
            except WorkerError as error:
                if not error.kind:  # it died
                    raise
                lacking[model] = str(error)
                continue
            loaded[model] = {BASE: theirs, CAND: ours}
            invalid += checks.placement(bench.arms, model, loaded[model])
            errors[model] = _distance(work, model)
            if errors[model] > RELATIVE_L2_MAX[ours["precision"]]:
                invalid.append(f"{model}: the outputs of the arms differ by {errors[model]:.2g}")
    facts = {
        arm: {**hello[arm], "models": {model: both[arm] for model, both in loaded.items()}}
        for arm in ARMS
    }
    return Rehearsal(facts, lacking, errors, tuple(invalid))


def launch(bench: Bench, work: Work, stage: int, number: int, seed: int) -> Launch:
    """One launch of all scenarios; raises WorkerError where an arm dies or refuses."""
    draw = random.Random(seed)
    with ExitStack() as stack:
        processes, _, invalid = _meet(bench, stack, seed)
        for model in work.models:
            both = {arm: _load(processes[arm], work, model) for arm in ARMS}
            invalid += checks.placement(bench.arms, model, both)
        scenarios = {**work.scenarios, CONTROL: ()}
        runs = {name: _warm(processes, models) for name, models in scenarios.items()}
        neighbours = Neighbours()
        quads: dict[str, list[Quad]] = {name: [] for name in scenarios}
        replies: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for orders in _orders(work.quads, draw):
            for name in draw.sample(list(scenarios), len(scenarios)):
                slots = []
                for arm in ORDERS[orders]:
                    request = {"names": scenarios[name], "runs": runs[name]}
                    reply = processes[arm].ask("slot", **request)
                    invalid += checks.slot(arm, name, reply, runs[name])
                    replies.setdefault((name, arm), []).append(reply)
                    slots.append(_slot(arm, reply))
                quads[name].append(Quad(tuple(slots)))
        share = neighbours.foreign_share()
        profiles = {name: _profiles(processes, models) for name, models in scenarios.items()}
        peaks = {arm: processes[arm].ask("bye")["peak_nbytes"] for arm in ARMS}
    series = {name: Series(tuple(quads[name]), profiles[name]) for name in scenarios}
    for (name, arm), heard in replies.items():
        invalid += checks.leftovers(arm, name, heard)
        found = series[name].profiles[arm]
        invalid += checks.profiles(arm, name, found, series[name].median_ns(arm))
    return Launch(stage, number, seed, series, peaks, share, tuple(dict.fromkeys(invalid)))


def _meet(
    bench: Bench, stack: ExitStack, seed: int
) -> tuple[dict[str, Overheard], dict[str, dict[str, Any]], list[str]]:
    """Fresh processes, who they say they are, and what is wrong with that.

    Which arm starts first alternates with the seed: the system may favour the younger process.
    """
    processes, hello = {}, {}
    for arm in ARMS if seed % 2 == 0 else reversed(ARMS):
        processes[arm] = Overheard(bench.start(arm, seed), bench.clock)
        stack.callback(processes[arm].close)
        hello[arm] = processes[arm].ask("hello", **bench.hello[arm])
    invalid = [*checks.identity(bench.arms, hello), *checks.freshness(hello, bench.seen)]
    return processes, hello, invalid


def _load(process: Overheard, work: Work, model: str, save: Path | str = "") -> dict[str, Any]:
    feeds, save = [str(path) for path in work.feeds[model]], str(save)
    return process.ask("load", name=model, path=str(work.models[model]), feeds=feeds, save=save)


def _outputs(work: Work, arm: str) -> Path:
    return work.folder / f"outputs-{arm}"


def _distance(work: Work, model: str) -> float:
    ours, theirs = (load_arrays(_outputs(work, arm)) for arm in (CAND, BASE))
    return relative_l2(ours, theirs)


def _warm(processes: Mapping[str, Overheard], models: Sequence[str]) -> int:
    """How many inferences a slot has, the same in both arms."""
    return max(int(processes[arm].ask("warm", names=models)["runs"]) for arm in ARMS)


def _orders(quads: int, draw: random.Random) -> list[int]:
    """An index of `ORDERS` for each quad: both as often, by chance which when."""
    orders = [i % len(ORDERS) for i in range(quads)]
    draw.shuffle(orders)
    return orders


def _slot(arm: str, reply: Mapping[str, Any]) -> Slot:
    return Slot(
        arm=arm,
        started_ns=reply["started_ns"],
        synced_ns=int(median(reply["synced_ns"])),
        enqueue_ns=int(median(reply["enqueue_ns"])),
        cpu_ns=reply["cpu_ns"],
    )


def _profiles(
    processes: Mapping[str, Overheard], models: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Of each arm `PROFILED` profiles, in turns; none where one of the engines cannot say."""
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for i in range(PROFILED if models else 0):
        for arm in ARMS if i % 2 == 0 else reversed(ARMS):
            found[arm].append(processes[arm].ask("profile", names=models)["models"])
    silent = any(p is None for ones in found.values() for one in ones for p in one.values())
    return {arm: [] for arm in ARMS} if silent else found
