"""The scenarios by name, and how one is played: timed first, then once more for its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from perf.quantiles import RUNS_NEEDED, is_stateable
from perf.scenarios import arrivals, chain, cold, contention, enqueue, pipeline, sizes, soak
from perf.scenarios.memory import peak_of
from perf.scenarios.outcome import Outcome
from perf.scenarios.tenants import Tenancy


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Attributes:
        summary: what it answers. invariants: what makes its outcome INVALID, by number.
        models: the fewest; a single one is taken so often.
        rounds: what `rounds` counts. here: whether it runs in this process.
    """

    name: str
    summary: str
    rounds: str
    invariants: tuple[str, ...]
    play: Callable[[Tenancy, int], Outcome]
    models: int = 1
    here: bool = True


OF_RECORDS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I16")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "enqueue",
            "what a clock shows that does not synchronise, one that does, and end to end",
            "inferences of each model",
            (*OF_RECORDS, "I14"),
            enqueue.play,
        ),
        Scenario(
            "chain",
            "models in series without waiting: naive times and attributed ones side by side",
            "chains",
            (*OF_RECORDS, "I8"),
            chain.play,
            models=2,
        ),
        Scenario(
            "barrier",
            "the same with a barrier behind each model, and each alone: what a barrier costs",
            "chains of each kind",
            (*OF_RECORDS, "I9"),
            chain.play_barrier,
            models=2,
        ),
        Scenario(
            "contention",
            "models in threads, all at once: slowdown of each, fairness, longest gaps",
            "requests of each model in company, at least",
            (*OF_RECORDS, "I11", "I14"),
            contention.play,
            models=2,
        ),
        Scenario(
            "arrivals",
            "requests that arrive by chance at 60, 80, 95 % load: latency from when each was due",
            "requests of each model at each load",
            ("I1", "I14"),
            arrivals.play,
        ),
        Scenario(
            "pipeline",
            "the host works on the next and the last item while the device computes: overlap",
            "streams of 8 items, 16 at most",
            ("I10", "I14"),
            pipeline.play,
        ),
        Scenario(
            "cold",
            "fresh processes with empty and with filled caches: session, first, second, steady",
            "steady runs of each process",
            ("I12",),
            cold.play,
            here=False,
        ),
        Scenario(
            "sizes",
            "input sizes that alternate: first visits, revisits, staying, memory",
            "cycles of four sizes, 3 to 16",
            ("I13", "I14"),
            sizes.play,
        ),
        Scenario(
            "soak",
            "many requests: drift of the latency, growth of memory",
            "16 requests of each model",
            ("I13", "I14"),
            soak.play,
        ),
    )
}


def play(scenario: Scenario, tenancy: Tenancy, rounds: int) -> Outcome:
    """Play it, and then a round of it for the most memory that it holds, which nobody times.

    Of fewer rounds than a median needs no figure is stated.
    """
    outcome = scenario.play(tenancy, rounds)
    if not scenario.here:
        return outcome
    if not is_stateable(50, rounds):
        outcome = _without_figures(outcome)
    memory = peak_of(tenancy.runtime, lambda: scenario.play(tenancy, 1))
    return replace(outcome, memory=memory)


def _without_figures(outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        figures=tuple(replace(figure, value=None) for figure in outcome.figures),
        notes=(*outcome.notes, f"figures are of medians, which {RUNS_NEEDED[50]} rounds make"),
    )
