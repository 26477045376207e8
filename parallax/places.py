"""Where a command runs its cases: a device of ours at some precisions, or another engine."""

from __future__ import annotations

import argparse

from conformance.bundles.failing import AnyPlace, Place, TriesCases
from conformance.devices import precisions_named, target_of
from conformance.engines import ENGINES
from conformance.engines.place import EnginePlace
from engine.config import Precision
from engine.errors import ConfigError
from engine.runtime import Runtime
from parallax.options import DEVICE_HELP


def add_places(parser: argparse.ArgumentParser, precisions: str) -> None:
    """`--device` and `--precision`, or `--engine` and its options."""
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: the first OpenCL device)")
    parser.add_argument("--precision", help=precisions)
    add_engine(parser)


def add_engine(parser: argparse._ActionsContainer) -> None:
    """`--engine NAME` and `--engine-option K=V`."""
    parser.add_argument(
        "--engine", metavar="NAME", help=f"judge it in place of a device: {', '.join(ENGINES)}"
    )
    parser.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="K=V",
        help="of the engine, such as optimization=off of onnxruntime (repeatable)",
    )


def engine_options(args: argparse.Namespace) -> dict[str, str]:
    """By name; raises ConfigError."""
    for text in args.engine_option:
        if "=" not in text:
            raise ConfigError(f"--engine-option {text}: expected NAME=VALUE")
    return dict(text.split("=", 1) for text in args.engine_option)


def refuse_with_engine(args: argparse.Namespace, *names: str) -> None:
    """Raise ConfigError for options that are of a device, which an engine has none of."""
    for name in names:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} {getattr(args, name)}: --engine {args.engine} has none")


def places_of(args: argparse.Namespace, runtime: Runtime, worker: TriesCases) -> list[AnyPlace]:
    """One for each precision that the device computes differently at, or the engine.

    Raises:
        ConfigError: of what does not go together. DeviceError: there is no such device.
    """
    if args.engine is not None:
        refuse_with_engine(args, "device", "precision")
        place = EnginePlace(runtime, args.engine, engine_options(args), worker)
        _ = place.engine  # it may be missing
        return [place]
    if args.engine_option:
        raise ConfigError(f"--engine-option {args.engine_option[0]}: give --engine, too")
    target = target_of(args.device, runtime)
    places: dict[Precision, AnyPlace] = {}
    for precision in precisions_named(args.precision, target):
        device = Place(runtime, target[1] or "cpu", precision, worker)
        places.setdefault(device.backend.precision, device)
    return list(places.values())
