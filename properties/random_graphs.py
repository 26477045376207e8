"""Many random graphs on a device: every alarm, and what they were made of.

`python -m properties.random_graphs --device pocl --count 20000` judges each graph at each precision
and on the CPU backend, every node on its own inputs; odd seeds after the passes of a session, and
every fourth graph in a plan that reuses memory, too. Alarms are shrunk. `--distribution` draws the
graphs and runs none. What no graph may reach is in `unreached.py`, with the reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conformance.files import write
from engine.config import Precision
from engine.errors import ParallaxError
from engine.runtime import Runtime
from properties.devices import Target, targets_on
from properties.distribution import Distribution
from properties.graph_runs import Run, check_nodes, check_production, optimised
from properties.graphs import Model, Program, decode, seeded_program
from properties.memory import Violation
from properties.shrinking import shrunk
from properties.unreached import stale, unexplained

PLANNED_EVERY = 4
"""One graph out of so many runs in a plan that reuses memory, too."""
FIRST_LINE = 300
"""Characters of what an alarm says."""


@dataclass(frozen=True)
class Alarm:
    """A graph that fails.

    Attributes:
        said: the first line. program: the shrunk one; it decodes to `nodes` nodes.
    """

    seed: int
    target: str
    said: str
    program: str
    nodes: int


@dataclass
class Campaign:
    """Graphs judged so far.

    Attributes:
        seconds: of this process, without what shrinking took, by target. refused: graphs that
            the engine refuses, by the sentence.
    """

    targets: tuple[Target, ...]
    cpu: Target
    distribution: Distribution = field(default_factory=Distribution)
    alarms: list[Alarm] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def graph(self, seed: int) -> None:
        """Judge the graph of a seed everywhere."""
        start = time.process_time()
        program = seeded_program(seed)
        try:
            model = decode(program)
        except Exception as error:  # the decoder is total
            self._note(program, None, seed, f"{type(error).__name__}: {error}".splitlines()[0])
            return
        self.distribution.note_graph(model)
        self._spent("decoding", start)
        for target in self.targets:
            start = time.process_time()
            said = self.failure(model, target, seed, count=True)
            self._spent(target.id, start)
            if said is not None:
                self._note(program, target, seed, said)

    def failure(
        self, model: Model, target: Target, seed: int, *, count: bool = False
    ) -> str | None:
        """What fails, or None; an error that is no Violation is told by its type."""

        def seen(run: Run) -> None:
            self.distribution.note_run(run.execution, target.id)

        cpu = self.cpu.backend
        try:
            graph = optimised(model.graph) if seed % 2 else model.graph
            check_nodes(model, graph, target, cpu, seen if count else None)
            if seed % PLANNED_EVERY == 0:
                check_production(model, graph, target, cpu)
        except Violation as error:
            return next(iter(str(error).splitlines()), "")
        except Exception as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    def _note(self, program: Program, target: Target | None, seed: int, said: str) -> None:
        """An alarm; the first of a kind is shrunk, others are counted."""
        kind = kind_of(said)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] > 1:
            return
        if target is None:
            self.alarms.append(Alarm(seed, "decoding", said[:FIRST_LINE], repr(program), 0))
            return

        def fails(candidate: Program) -> bool:
            found = self.failure(decode(candidate), target, seed)
            return found is not None and kind_of(found) == kind

        small = shrunk(program, fails)
        model = decode(small)
        said = self.failure(model, target, seed) or said
        nodes = len(model.graph.nodes)
        self.alarms.append(Alarm(seed, target.id, said[:FIRST_LINE], repr(small), nodes))

    def _spent(self, what: str, start: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - start

    # ------------------------------------------------------------------ what is told
    def table(self) -> Iterator[str]:
        """Lines to print."""
        targets = [t.id for t in self.targets]
        yield from self.distribution.table(targets)
        if (count := self.distribution.graphs) and self.seconds:
            each = ", ".join(f"{k} {1e3 * s / count:.1f}" for k, s in self.seconds.items())
            yield f"ms of this process for each graph: {each}"
        for alarm in self.alarms:
            times = self.kinds.get(kind_of(alarm.said), 1)
            yield f"seed {alarm.seed} on {alarm.target} ({times} such): {alarm.said}"
            yield f"  {alarm.nodes} nodes left: decode({alarm.program})"
        yield f"alarms: {sum(self.kinds.values())} of {len(self.alarms)} kinds"


def kind_of(said: str) -> str:
    """What an alarm says without names of tensors, indices and values."""
    return re.sub(r"[-+]?\d[\d.e+-]*|'[^']*'|\(.*|\[.*|: got.*", "#", said)


# ------------------------------------------------------------------------- the command
def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m properties.random_graphs", description=__doc__)
    made.add_argument("--device", default="pocl", help="an OpenCL device, or cpu (pocl)")
    made.add_argument("--precision", choices=[p.value for p in Precision], help="(all)")
    made.add_argument("--count", type=int, default=1000, help="graphs (1000)")
    made.add_argument("--seed", type=int, default=0, help="of the first graph (0)")
    made.add_argument("--distribution", action="store_true", help="draw the graphs, run none")
    made.add_argument(
        "--holes",
        action="store_true",
        help="fail for operators at dtypes that are not reached",
    )
    made.add_argument("--output", metavar="FILE", help="write a JSON document")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 1 where something alarms, or a hole is unexplained; 2 bad usage; else 0."""
    args = parser().parse_args(argv)
    if args.count < 1 or args.seed < 0:
        parser().error("--count: expected 1 or more; --seed: 0 or more")
    logging.getLogger("parallax").setLevel(logging.ERROR)
    try:
        with Runtime() as runtime:
            campaign = _campaign(runtime, args)
            _run(campaign, args)
            print("\n".join(campaign.table()))
            holes = _holes(campaign.distribution) if args.holes else []
            print("\n".join(holes))
            if args.output is not None:
                _save(campaign, Path(args.output))
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if campaign.alarms or holes else 0


def _campaign(runtime: Runtime, args: argparse.Namespace) -> Campaign:
    """On the CPU backend and one OpenCL device, or on nothing."""
    (cpu,), _ = targets_on(runtime, "cpu")
    if args.distribution:
        return Campaign((), cpu)
    precisions = tuple(Precision) if args.precision is None else (Precision(args.precision),)
    if args.device == "cpu":
        return Campaign((cpu,), cpu)
    found, _ = targets_on(runtime, args.device, precisions)
    return Campaign(found if args.precision else (cpu, *found), cpu)


def _run(campaign: Campaign, args: argparse.Namespace) -> None:
    """All graphs, or those until it is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    known = 0
    try:
        for seed in range(args.seed, args.seed + args.count):
            campaign.graph(seed)
            for alarm in campaign.alarms[known:]:
                print(f"seed {alarm.seed} on {alarm.target}: {alarm.said}", file=sys.stderr)
            known = len(campaign.alarms)
    except KeyboardInterrupt:
        print(f"interrupted after {campaign.distribution.graphs} graphs", file=sys.stderr)


def _holes(found: Distribution) -> list[str]:
    """Holes without a reason, and reasons without a hole."""
    lines = [f"not reached: {op} of {dtype}" for op, dtype in unexplained(found.missing())]
    return lines + [f"reached, yet explained: {op} of {d}" for op, d in stale(found.operators)]


def _save(campaign: Campaign, path: Path) -> None:
    """The JSON document."""
    data = {
        "distribution": campaign.distribution.to_json(),
        "alarms": [asdict(alarm) for alarm in campaign.alarms],
        "kinds": campaign.kinds,
        "seconds": campaign.seconds,
    }
    text = json.dumps(data, indent=1)
    write(str(path), lambda file: file.write(f"{text}\n".encode()))


if __name__ == "__main__":
    sys.exit(main())
