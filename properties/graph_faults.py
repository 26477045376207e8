"""Faults of operators, sought by random graphs that know of none, and shrunk.

`python -m properties.graph_faults --device pocl` plants each fault of a kernel, of host code or of
the CPU backend and judges random graphs, seed after seed, until one alarms. It prints by family
after how many graphs that was, and how many nodes and elements are left of the graph. Graphs that
run nothing of what a fault changes are counted, not run (`reach.py`). The exit code is 1 where a
fault that is found keeps more than three nodes.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from conformance.files import write
from engine.errors import ParallaxError
from properties import fault as planting
from properties.fault import Bench, Fault, FaultError, bench
from properties.faults import select
from properties.graphs import Program, decode, seeded_program
from properties.random_graphs import Campaign, kind_of
from properties.reach import Record, Token, reached
from properties.score import shown
from properties.shrinking import shrunk

LEVELS = ("kernel", "host", "cpu")
"""Of faults in one operator."""
NODES_MAX = 3
GRAPHS = 200


@dataclass(frozen=True)
class Found:
    """What became of one fault.

    Attributes:
        family: what it changes, in short. tried: graphs until the alarm; None: there was none.
        ran: of those, graphs that run what it changes. nodes, elements: of the shrunk graph, and
            of its largest tensor. said: the alarm, or why the fault cannot be planted.
    """

    name: str
    family: str
    tried: int | None
    ran: int
    nodes: int = 0
    elements: int = 0
    said: str = ""

    def __str__(self) -> str:
        left = "survived" if self.tried is None else f"found after {self.tried:4} graphs"
        small = f", {self.nodes} nodes, {self.elements} elements" if self.tried else ""
        return f"{self.family:22} {self.name:44} {left}{small} ({self.ran} run it)"


def recorded(selector: str, graphs: int) -> Record:
    """What each graph reaches with nothing planted."""
    rows: list[tuple[str, float, bool, set[Token]]] = []
    with bench(selector) as where:
        campaign = Campaign(where.all, where.cpu)
        for seed in shown(range(graphs), "random graphs"):
            with reached() as tokens:
                right = _alarm(campaign, seeded_program(seed), seed) is None
            rows.append((str(seed), 0.0, right, tokens))
    return Record.of(rows)


def sought(fault: Fault, selector: str, record: Record) -> Found:
    """Plant a fault, judge graphs until one alarms, and shrink that."""
    planting.TOUCHED.clear()
    try:
        with fault.plant(), bench(selector) as where:
            touched = _union(planting.TOUCHED)
            return _sought(fault, where, record, touched)
    except FaultError as error:
        return Found(fault.name, "", None, 0, said=str(error))


def _sought(fault: Fault, where: Bench, record: Record, touched: frozenset[Token] | None) -> Found:
    campaign, family = Campaign(where.all, where.cpu), family_of(touched)
    order = record.steps(touched)
    for ran, at in enumerate(order, 1):
        program = seeded_program(int(at))
        said = _alarm(campaign, program, int(at))
        if said is not None:
            small = shrunk(program, lambda p: _is_same(_alarm(campaign, p, int(at)), said))  # noqa: B023
            graph = decode(small).graph
            elements = max(v.known_type.size for v in graph.values())
            nodes = len(graph.nodes)
            return Found(fault.name, family, int(at) + 1, ran, nodes, elements, said)
    return Found(fault.name, family, None, len(order))


def _alarm(campaign: Campaign, program: Program, seed: int) -> str | None:
    """The first on any target."""
    model = decode(program)
    found = (campaign.failure(model, target, seed) for target in campaign.targets)
    return next((said for said in found if said is not None), None)


def _is_same(said: str | None, first: str) -> bool:
    return said is not None and kind_of(said) == kind_of(first)


def _union(touched: Iterable[frozenset[Token] | None]) -> frozenset[Token] | None:
    every = [*touched]
    return None if None in every or not every else frozenset[Token]().union(*filter(None, every))


def family_of(touched: frozenset[Token] | None) -> str:
    """`conv.cl`, `cpu/conv.py`: the files that a fault changes."""
    kernels = {t.removeprefix("kernel ") for t in touched or () if t.startswith("kernel ")}
    if len(kernels) > 1:
        return "common.cl"
    files = {"/".join(Path(t.partition(":")[0]).parts[-2:]) for t in (touched or ()) if ".py" in t}
    return next(iter(sorted({f"{k}.cl" for k in kernels} | files)), "any")


def told(found: Sequence[Found]) -> Iterator[str]:
    """Totals."""
    caught = [f for f in found if f.tried is not None]
    small = [f for f in caught if f.nodes <= NODES_MAX]
    of_these = f"of these {len(small)} keep {NODES_MAX} nodes or less"
    yield f"found {len(caught)} of {len(found)}; {of_these}"
    yield from (f"survived: {f.name}: {f.ran} graphs run it {f.said}" for f in found if not f.tried)


def main(argv: Sequence[str] | None = None) -> int:
    """Seek and print."""
    parser = argparse.ArgumentParser(prog="python -m properties.graph_faults", description=__doc__)
    parser.add_argument("--device", default="pocl", help="an OpenCL device, or cpu (pocl)")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="(all)")
    parser.add_argument("--graphs", type=int, default=GRAPHS, help=f"at most ({GRAPHS})")
    parser.add_argument("--output", metavar="FILE", help="write a JSON document")
    args = parser.parse_args(argv)
    if args.graphs < 1:
        parser.error("--graphs: expected 1 or more")
    logging.getLogger("parallax").setLevel(logging.ERROR)
    faults = [f for f in select(args.only, args.device) if f.level in LEVELS]
    found: list[Found] = []
    try:
        record = recorded(args.device, args.graphs)
        for fault in faults:
            found.append(sought(fault, args.device, record))
            print(found[-1], flush=True)
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted after {len(found)} of {len(faults)} faults", file=sys.stderr)
    print("\n".join(told(found)))
    if args.output is not None:
        text = json.dumps([asdict(f) for f in found], indent=1)
        write(args.output, lambda file: file.write(f"{text}\n".encode()))
    return int(any(f.nodes > NODES_MAX for f in found))


if __name__ == "__main__":
    sys.exit(main())
