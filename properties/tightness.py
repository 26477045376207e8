"""How tight the derived tolerances are, on the calls that the properties draw.

`python -m properties.tightness [--device SELECTOR] [--count N] [--seed N]` runs N random calls of
every operator at each precision of a device and prints, by operator and precision, how errors lie
against sigma and bound, and what the fixed tolerances of other tools say of the same runs: how many
of the calls, all of which are honest, they refuse, and at how many elements they would let an error
pass that is above the bound, hence a proven bug. `--json` writes every figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from conformance.document import add_document, deliver
from conformance.files import check_files
from conformance.judge import SIGMAS, Compared, bias, compare, is_independent, units_for
from engine.errors import ConfigError, ParallaxError
from engine.ir.types import FLOAT16, FLOATS
from engine.ops import OPERATORS
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.devices import Target, targets_on
from properties.memory import Violation
from properties.single import draw_case, expectation, run_case

TOOLS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    # relative and absolute, of float (and wider) and of half
    "numpy.allclose": ((1e-5, 1e-8), (1e-5, 1e-8)),
    "onnx": ((1e-3, 1e-7), (1e-3, 1e-7)),
    "onnxruntime": ((1e-4, 1e-5), (1e-3, 2.5e-3)),
    "torch": ((1.3e-6, 1e-5), (1e-3, 1e-5)),
}
"""numpy.allclose's defaults; onnx.backend.test.runner; the defaults of onnxruntime's test checker
(float and half); torch.testing.assert_close. What half memory holds is given half's."""


@dataclass
class Tool:
    """A fixed tolerance on the same runs.

    Attributes:
        refused: calls with an element beyond it. blind: elements at which an error above the
            derived bound would pass.
    """

    refused: int = 0
    blind: int = 0


@dataclass
class Row:
    """One operator at one precision.

    Attributes:
        calls: that were run. elements: decided, with a bound above 0. exact: calls of which every
            element equals the reference, or must.
        sigmas, bounds: err/sigma and err/bound at half, 99 % and all of the elements.
        beyond: elements above 6 sigma, all within the bound.
        bias: the largest lean to one side, in standard errors; of sums of products.
    """

    operator: str
    precision: str
    calls: int = 0
    elements: int = 0
    exact: int = 0
    sigmas: tuple[float, ...] = ()
    bounds: tuple[float, ...] = ()
    beyond: int = 0
    bias: float = 0.0
    tools: dict[str, Tool] = field(default_factory=lambda: {name: Tool() for name in TOOLS})


QUANTILES = (0.5, 0.99, 1.0)


def measure(target: Target, op_type: str, seeds: Iterable[int]) -> Row:
    """Run random calls of an operator; raises Violation where one is wrong."""
    row = Row(op_type, target.id)
    sigmas, bounds = [], []
    for seed in seeds:
        found = list(_compared(target, op_type, seed))
        row.calls += bool(found)
        refused = dict.fromkeys(TOOLS, False)
        for compared, is_half, independent in found:
            row.bias = max(row.bias, bias(compared) if independent else 0.0)
            counted = ~(compared.undecided | compared.overflow) & (compared.bound > 0)
            counted &= np.isfinite(compared.got) & np.isfinite(compared.reference)
            sigmas.append(compared.sigmas[counted])
            bounds.append(compared.bounds[counted])
            for name, tolerances in TOOLS.items():
                relative, absolute = tolerances[is_half]
                allowed = absolute + relative * np.abs(compared.reference[counted])
                error = np.abs(compared.got[counted] - compared.reference[counted])
                refused[name] |= bool((error > allowed).any())
                row.tools[name].blind += int((allowed > compared.bound[counted]).sum())
        for name, tool in row.tools.items():
            tool.refused += refused[name]
        row.exact += bool(found) and all(c.same.all() for c, *_ in found)
    every = np.concatenate([*sigmas, np.zeros(0)]), np.concatenate([*bounds, np.zeros(0)])
    row.elements, row.beyond = every[0].size, int((every[0] > SIGMAS).sum())
    if row.elements:
        row.sigmas, row.bounds = (tuple(map(float, np.quantile(e, QUANTILES))) for e in every)
    return row


def _compared(target: Target, op_type: str, seed: int) -> Iterator[tuple[Compared, bool, bool]]:
    """Each output of floats, whether it is stored in half, whether its errors are independent."""
    outcome = run_case(target.backend, draw_case(op_type, SeededChoose(seed)))
    if outcome is None:
        return
    units = units_for(target.backend, outcome.node)
    for got, reference, error in zip(
        outcome.outputs, *expectation(target.backend, outcome), strict=True
    ):
        if got.dtype not in FLOATS:
            continue
        found = compare(got, np.asarray(reference), error, units)
        if (found.bounds > 1).any():
            raise Violation(f"{op_type}, seed {seed}, on {target.id}: beyond the bound")
        is_half = target.backend.storage(got.dtype) == FLOAT16
        yield found, is_half, is_independent(outcome.node, target.backend)


# ---------------------------------------------------------------------- the command
HEADS = ("operator", "on", "calls", "elements", "err/sigma", "err/bound", "beyond", "lean")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown: one line per operator and precision, and the sums of each precision."""
    tools = [f"{name} refuses / blind" for name in TOOLS]
    yield f"| {' | '.join((*HEADS, *tools))} |"
    yield f"|{'---|' * (len(HEADS) + len(tools))}"
    for row in rows:
        if row.elements:
            yield _line(row, row.operator)
    for precision in dict.fromkeys(row.precision for row in rows):
        yield _line(total([r for r in rows if r.precision == precision]), "all")


def _line(row: Row, name: str) -> str:
    figures = [" ".join(f"{x:.2g}" for x in numbers) for numbers in (row.sigmas, row.bounds)]
    tools = [f"{t.refused} / {t.blind / max(row.elements, 1):.0%}" for t in row.tools.values()]
    cells = (name, row.precision, str(row.calls), str(row.elements), *figures)
    cells = (*cells, str(row.beyond), f"{row.bias:.2g}", *tools)
    return f"| {' | '.join(cells)} |"


def total(rows: Sequence[Row]) -> Row:
    """Rows of one precision added up: of distributions only the worst is left."""
    said = [row for row in rows if row.elements]
    whole = Row("all", rows[0].precision)
    whole.calls, whole.exact = (sum(getattr(r, k) for r in rows) for k in ("calls", "exact"))
    whole.elements, whole.beyond = (
        sum(getattr(r, k) for r in said) for k in ("elements", "beyond")
    )
    whole.sigmas = (max((r.sigmas[-1] for r in said), default=0.0),)
    whole.bounds = (max((r.bounds[-1] for r in said), default=0.0),)
    whole.bias = max(r.bias for r in rows)
    for name, tool in whole.tools.items():
        tool.refused = sum(r.tools[name].refused for r in rows)
        tool.blind = sum(r.tools[name].blind for r in rows)
    return whole


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 measured, 1 a call was wrong, 2 there is no such device or operator."""
    parser = argparse.ArgumentParser(prog="python -m properties.tightness", description=__doc__)
    parser.add_argument("--device", default="portable", help="OpenCL selector, or cpu")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="calls of each operator")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first call")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    add_document(parser, "tightness")
    options = parser.parse_args(arguments)
    try:
        check_files(options)
        chosen = _chosen(options.only)
        arguments_are_counts(options.count, options.seed)
        with Runtime() as runtime:
            return _run(options, chosen, targets_on(runtime, options.device)[0])
    except ParallaxError as error:
        print(f"properties.tightness: {error}", file=sys.stderr)
        return 2
    except Violation as error:
        print(f"properties.tightness: {error}", file=sys.stderr)
        return 1


def arguments_are_counts(count: int, seed: int) -> None:
    """Raise ConfigError unless there is something to run."""
    if count < 1 or seed < 0:
        raise ConfigError(
            f"--count {count} --seed {seed}: expected at least 1 call and a seed of at least 0"
        )


def _chosen(patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(op, pattern) for op in OPERATORS):
            raise ConfigError(f"--only {pattern}: no operator is called so; expected such as Conv")
    return [op for op in OPERATORS if any(fnmatchcase(op, p) for p in patterns or ["*"])]


def _run(options: argparse.Namespace, chosen: Sequence[str], targets: Sequence[Target]) -> int:
    seeds = range(options.seed, options.seed + options.count)
    lines = sys.stderr if options.json else sys.stdout
    rows = []
    for op_type in chosen:
        rows += [measure(target, op_type, seeds) for target in targets]
    print("\n".join(table(rows)), file=lines)
    report = {"device": options.device, "count": options.count, "seed": options.seed}
    used = {target.backend.info for target in targets}
    deliver(options, {**report, "rows": [asdict(row) for row in rows]}, devices=used)
    return 0


if __name__ == "__main__":
    sys.exit(main())
