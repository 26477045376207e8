"""`parallax run`: one inference, on given or seeded random inputs."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from conformance.devices import Target, config_of, precision_of, target_of
from conformance.inputs import Feeds, random_inputs
from conformance.report import jsonable
from engine.config import ForwardType, Precision
from engine.errors import ConfigError, InputError, ModelError
from engine.interpreter import Interpreter
from engine.ir.types import FLOATS
from engine.runtime import Runtime
from engine.session import Session
from parallax.options import (
    DEVICE_HELP,
    add_shape,
    check_seed,
    check_writable,
    console,
    model_files,
    parse_shapes,
    write_atomically,
    write_json,
)


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run",
        help="run a model once and show or save its outputs",
        description=__doc__,
        epilog="Without --inputs: normal floats, indices within their table, 0/1 for the rest.",
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx file")
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: whichever works, else cpu)")
    parser.add_argument("--precision", default="normal", help="high, normal (default) or low")
    parser.add_argument("--inputs", metavar="X.npz", help="arrays by input name")
    parser.add_argument("--outputs", metavar="Y.npz", help="write the outputs here")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run; 0. Raises ParallaxError for bad input, before anything is written."""
    check_seed(args.seed)
    check_writable(args.outputs)
    precision, shapes = precision_of(args.precision), parse_shapes(args.shape)
    if args.inputs is not None and args.shape:
        raise ConfigError("--shape and --inputs exclude each other: the arrays have their shapes")
    path = model_files([args.model])
    if len(path) != 1:
        raise ModelError(f"{args.model}: run takes one model; the folder holds {len(path)}")
    interpreter = Interpreter.from_file(path[0])
    with Runtime() as runtime:
        target = _target(args.device, runtime)
        if args.inputs is not None:
            feeds = read_inputs(args.inputs)
        else:
            feeds = random_inputs(interpreter, shapes, args.seed)
        with interpreter.create_session(config_of(target, precision), runtime) as session:
            outputs = session(feeds)
            data = _facts(args, session, precision, feeds, outputs, runtime.explanations)
    if args.outputs is not None:
        write_atomically(args.outputs, lambda file: np.savez(file, **outputs))  # type: ignore[arg-type]
    if args.json:
        write_json("-", jsonable(data))
    else:
        _print(data)
    return 0


def _target(device: str | None, runtime: Runtime) -> Target:
    return (ForwardType.AUTO, None) if device is None else target_of(device, runtime)


def read_inputs(name: str) -> Feeds:
    """The arrays of an .npz file; raises InputError for anything else."""
    try:
        archive = np.load(name, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"--inputs {name}: expected an .npz file with arrays by name")
        with archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"--inputs {name}: {reason}") from error


# ---------------------------------------------------------------------- output
def _facts(
    args: argparse.Namespace,
    session: Session,
    requested: Precision,
    feeds: Feeds,
    outputs: Mapping[str, np.ndarray],
    explanations: list[str],
) -> dict[str, Any]:
    info = session.info
    return {
        "model": args.model,
        "device": f"{info.device.platform} / {info.device.name}",
        "precision": {"requested": requested.value, "effective": info.precision.value},
        "seed": None if args.inputs is not None else args.seed,
        "inputs": {k: f"{a.dtype.name}{list(a.shape)}" for k, a in feeds.items()},
        "outputs": [summary(name, array) for name, array in outputs.items()],
        "fallbacks": [
            {"node": p.node.title, "backend": p.backend, "reason": p.reason} for p in info.fallbacks
        ],
        "memory": {
            name: {"arena_nbytes": nbytes, "lower_bound_nbytes": info.lower_bounds_nbytes[name]}
            for name, nbytes in info.arenas_nbytes.items()
            if nbytes
        },
        "explanations": explanations,
        "written": args.outputs,
    }


def summary(name: str, array: np.ndarray) -> dict[str, Any]:
    """Name, dtype, shape and what the values are like (of those that are not NaN)."""
    values = array.astype(np.float64).reshape(-1)
    nans = int(np.isnan(values).sum())
    values = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        low, mean, high = (
            (float(values.min()), float(values.mean()), float(values.max()))
            if values.size
            else (None, None, None)
        )
    infinities = int(np.isinf(values).sum()) if array.dtype in FLOATS else 0
    return {
        "name": name,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "min": low,
        "mean": mean,
        "max": high,
        "nans": nans,
        "infinities": infinities,
    }


def _print(data: dict[str, Any]) -> None:
    out = console()
    wanted, got = data["precision"]["requested"], data["precision"]["effective"]
    precision = f"precision {got}" + ("" if got == wanted else f" (asked for {wanted})")
    out.print(f"[bold]{escape(data['model'])}[/] on {escape(data['device'])}, {precision}")
    inputs = ", ".join(f"{n} {t}" for n, t in data["inputs"].items())
    origin = "given" if data["seed"] is None else f"random, seed {data['seed']}"
    out.print(f"inputs ({origin}): {escape(inputs)}")
    for name, size in data["memory"].items():
        arena, floor = size["arena_nbytes"], size["lower_bound_nbytes"]
        out.print(
            f"memory on {name}: arena {arena / 2**20:.3g} MiB, {arena / max(floor, 1):.3f} times "
            "the largest live set"
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("output", "type", "min", "mean", "max", "NaN"):
        left = column in ("output", "type")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in data["outputs"]:
        numbers = ["-" if row[k] is None else f"{row[k]:.6g}" for k in ("min", "mean", "max")]
        type_ = f"{row['dtype']}{row['shape']}"
        table.add_row(escape(row["name"]), escape(type_), *numbers, str(row["nans"]))
    out.print(table)
    for fallback in data["fallbacks"]:
        out.print(f"ran on {fallback['backend']}: {escape(fallback['node'])}: {fallback['reason']}")
    for sentence in data["explanations"]:
        out.print(escape(sentence), style="dim")
    if data["written"]:
        out.print(f"outputs written to {escape(data['written'])}")
