"""Observe sessions: where the time of a run goes, and what it costs to look.

Plain and profiled runs alternate, so that what else the machine does concerns both alike. Several
sessions run one after the other without waiting in between, as on one queue they do; events say
whose time it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.execution.recorder import profiling
from engine.profile import Account, RunProfile, account
from engine.recording import record_together
from engine.session import Session
from engine.timeline import DEVICE, HOST, union_ns
from perf.latency import PROFILED_RATIO_MAX, epsilon_ns, quiet_gc
from perf.quantiles import quantile_ns
from perf.subject import drain

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Turn:
    """One model's part of a run of several; times in ns, `done_ns` since the run began.

    Attributes:
        enqueue_ns: until its last command was submitted. device_ns, host_ns: its own work.
        behind_ns: others' work on the device from its first call to its last command's end.
        naive_ns: what a clock around its call shows, the last one's waiting for all.
    """

    model: str
    enqueue_ns: int
    device_ns: int
    host_ns: int
    behind_ns: int
    done_ns: int
    naive_ns: int


@dataclass(frozen=True)
class Observation:
    """Runs of one session, or of several one after the other; times in ns.

    Attributes:
        plain_ns, profiled_ns: from drained queues to drained queues, of runs that alternated.
        profiles: of each model, in the median profiled run.
        invalid: a sentence for each broken invariant of that run.
        interrupted: the user stopped it; what is here was finished.
    """

    models: tuple[str, ...]
    plain_ns: tuple[int, ...]
    profiled_ns: tuple[int, ...]
    profiles: tuple[RunProfile, ...]
    invalid: tuple[str, ...]
    interrupted: bool = False

    @property
    def account(self) -> Account:
        """What the median profiled run was spent on."""
        return account(self.profiles)

    @property
    def overhead(self) -> float:
        """Profiled over plain latency, of the medians."""
        return quantile_ns(self.profiled_ns, 50) / max(quantile_ns(self.plain_ns, 50), 1)

    @property
    def overhead_shortest(self) -> float:
        """The same of the shortest runs, which other programs disturb least."""
        return min(self.profiled_ns) / max(min(self.plain_ns), 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        found = []
        if self.overhead_shortest > PROFILED_RATIO_MAX:
            slower = f"{self.overhead_shortest:.2f}x"
            found.append(f"profiling slowed the run by {slower}: take shares, not times")
        elif self.overhead > PROFILED_RATIO_MAX:
            found.append("other programs disturbed the profiled runs: profile again without them")
        skew = min((p.clock.uncertainty_ns for p in self.profiles), default=0)
        if skew < 0:
            found.append(
                f"the driver's clock does not fit the host's within {-skew / 1e3:.0f} us: what is "
                "device and what is unexplained is known no better"
            )
        return tuple(found)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Of each model."""
        return tuple(self._turn(i) for i in range(len(self.models)))

    def _turn(self, index: int) -> Turn:
        own = self.profiles[index]
        others = [*self.profiles[:index], *self.profiles[index + 1 :]]
        run = own.timeline
        device, host = own.intervals(DEVICE), own.intervals(HOST)
        first = min((span.called_ns for span in run.spans), default=run.started_ns)
        last = max((end for _, end in (*device, *host)), default=first)
        foreign = [(max(a, first), min(b, last)) for p in others for a, b in p.intervals(DEVICE)]
        waits = index == len(self.profiles) - 1
        before_ns = sum(p.enqueue_ns for p in self.profiles[:index])
        return Turn(
            model=self.models[index],
            enqueue_ns=own.enqueue_ns,
            device_ns=union_ns(device),
            host_ns=union_ns(host),
            behind_ns=union_ns(foreign),
            done_ns=last - run.started_ns,
            naive_ns=own.synced_ns - before_ns if waits else own.enqueue_ns,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "plain_ns": list(self.plain_ns),
            "profiled_ns": list(self.profiled_ns),
            "overhead": self.overhead,
            "overhead_shortest": self.overhead_shortest,
            "account": asdict(self.account),
            "turns": [asdict(turn) for turn in self.turns],
            "profiles": [profile_json(profile) for profile in self.profiles],
            "invalid": list(self.invalid),
            "notes": list(self.notes),
            "interrupted": self.interrupted,
        }


def profile_json(profile: RunProfile) -> dict[str, Any]:
    """Plain data of one run."""
    return {
        "enqueue_ns": profile.enqueue_ns,
        "synced_ns": profile.synced_ns,
        "account": asdict(profile.account),
        "clock": asdict(profile.clock),
        "work": [asdict(work) for work in profile.work],
        "nodes": [asdict(share) for share in profile.nodes],
        "operators": [asdict(share) for share in profile.operators],
        "kernels": [asdict(share) for share in profile.kernels],
        "timeline": asdict(profile.timeline),
    }


def observe(sessions: Mapping[str, Session], runs: int, tell: Tell | None = None) -> Observation:
    """Run sessions of one runtime one after the other, `runs` times plain and as often profiled.

    Each session holds its inputs. Before each run that counts goes one that does not. A
    KeyboardInterrupt ends it, and is raised again unless a run of each kind was finished.
    """
    plain_ns: list[int] = []
    observed: list[tuple[RunProfile, ...]] = []
    interrupted = False
    with quiet_gc():
        try:
            _alternate(sessions, runs, tell, plain_ns, observed)
        except KeyboardInterrupt:
            if not (plain_ns and observed):
                raise
            interrupted = True
    middle = sorted(observed, key=lambda run: run[0].synced_ns)[(len(observed) - 1) // 2]
    return Observation(
        models=tuple(sessions),
        plain_ns=tuple(plain_ns),
        profiled_ns=tuple(run[0].synced_ns for run in observed),
        profiles=middle,
        invalid=tuple(
            f"{name}: {sentence}"
            for name, profile in zip(sessions, middle, strict=True)
            for sentence in profile.timeline.violations(epsilon_ns(profile.synced_ns))
        ),
        interrupted=interrupted,
    )


def _alternate(
    sessions: Mapping[str, Session],
    runs: int,
    tell: Tell | None,
    plain_ns: list[int],
    observed: list[tuple[RunProfile, ...]],
) -> None:
    """Plain and profiled runs by turns, each noted when it is finished."""
    for i in range(runs):
        if tell is not None:
            tell("profiled runs", i, runs)
        for is_plain in (i % 2 == 0, i % 2 != 0):
            if is_plain:
                plain_ns.append(_plain_run(sessions))
            else:
                observed.append(_profiled_run(sessions))


def primary_of(session: Session) -> Any:
    """The backend that a session runs on where it can."""
    return next(iter(session.execution.backends.values()))


def _drain(sessions: Mapping[str, Session]) -> None:
    for runtime in {id(s.runtime): s.runtime for s in sessions.values()}.values():
        drain(runtime)


def _plain_run(sessions: Mapping[str, Session]) -> int:
    for session in sessions.values():
        session.run()
    _drain(sessions)
    started = time.perf_counter_ns()
    for session in sessions.values():
        session.run()
    _drain(sessions)
    return time.perf_counter_ns() - started


def _profiled_run(sessions: Mapping[str, Session]) -> tuple[RunProfile, ...]:
    executions = [session.execution for session in sessions.values()]
    with profiling(backend for e in executions for backend in e.backends.values()):
        record_together(executions, lambda: _drain(sessions))
        return record_together(executions, lambda: _drain(sessions))
