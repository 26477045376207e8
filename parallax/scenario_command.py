"""`parallax bench --scenario NAME MODEL...`: what sharing a device does to models of the user's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance.devices import config_of, precision_of
from conformance.document import deliver
from conformance.inputs import Feeds, Shapes, random_inputs
from conformance.report import BAD_INPUT
from engine.arguments import unknown
from engine.arrays import flattened
from engine.config import ForwardType, ScheduleConfig
from engine.errors import ConfigError, InputError, ParallaxError
from engine.interpreter import Interpreter
from engine.ir.types import TensorType, type_of
from parallax.bench_candidates import ALL, Field, candidates
from parallax.inputs import inputs_of
from parallax.options import model_files, parse_shapes, short_names
from parallax.output import complain, console
from parallax.progress import progress
from parallax.scenario_table import print_catalogue, print_outcome
from perf.candidates import PEER, Candidate
from perf.invariants import MEANING
from perf.scenarios import SCENARIOS, Model, Outcome, Scenario, open_tenancy, play

LIST = "list"


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """`--scenario NAME`."""
    parser.add_argument(
        "--scenario",
        metavar="NAME",
        help=f"models on one shared runtime instead: {', '.join(SCENARIOS)}; {LIST} says more",
    )


def run_scenario(args: argparse.Namespace, environment: Callable[[], dict[str, Any]]) -> int:
    """Play it on each device and print; 0, 1 for an invalid measurement, 2 for bad input.

    Raises:
        ParallaxError: bad input; of several devices, one that fails is said and left out.
    """
    out = console(silent=args.json)
    if args.scenario.strip().lower() == LIST:
        print_catalogue(out)
        deliver(args, _catalogue())
        return 0
    scenario = _scenario(args.scenario)
    files = model_files(args.models)
    field = _field(args, scenario, files)
    models = _models(args, scenario, files)
    found: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    stopped: BaseException | None = None
    try:
        for candidate, outcome in _outcomes(args, scenario, field, models, errors):
            found.append(_document(candidate, models, outcome))
            print_outcome(scenario, candidate, models, outcome, out, notes=not args.quiet)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        stopped = error
    data = {
        "environment": environment(),
        "interrupted": stopped is not None,
        "models": [],
        "scenario": scenario.name,
        "outcomes": found,
        "errors": errors,
    }
    deliver(args, data, models=files, devices=field.devices)
    if stopped is not None:
        raise stopped
    if errors:
        return BAD_INPUT
    return 1 if any(outcome["invalid"] for outcome in found) else 0


def _catalogue() -> dict[str, Any]:
    listed = [
        {
            "name": s.name,
            "summary": s.summary,
            "rounds": s.rounds,
            "models": s.models,
            "invariants": list(s.invariants),
        }
        for s in SCENARIOS.values()
    ]
    return {"scenarios": listed, "invariants": MEANING}


def _scenario(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise unknown("--scenario: no scenario", name, [*SCENARIOS, LIST])
    return SCENARIOS[name]


def _field(args: argparse.Namespace, scenario: Scenario, files: Sequence[Path]) -> Field:
    """The devices, once the options fit a scenario."""
    if not files:
        raise ConfigError(f"--scenario {scenario.name}: no model: give .onnx files or folders")
    if args.inputs is not None and len(files) > 1:
        raise ConfigError(f"--inputs {args.inputs}: belongs to one model, and there are several")
    if args.launches is not None:
        raise ConfigError(
            f"--launches {args.launches}: a scenario has no such choice; --runs is what it repeats"
        )
    field = candidates(args.device, args.precision)
    if args.device != ALL and any(c.is_peer for c in field.candidates):
        raise ConfigError(
            f"--device {PEER}: models of a scenario share a runtime of Parallax; leave it out"
        )
    field.candidates = [c for c in field.candidates if not c.is_peer]
    if args.threads is not None and scenario.here:
        for candidate in field.candidates:
            if candidate.device != "cpu":
                raise ConfigError(
                    f"--threads {args.threads}: {candidate.device} takes as many as its driver has "
                    "in this process; --threads is for cpu, and for the scenario cold"
                )
    return field


def _models(args: argparse.Namespace, scenario: Scenario, files: Sequence[Path]) -> list[Model]:
    """With inputs; a single one is taken as often as the scenario needs models."""
    shapes = parse_shapes(args.shape)
    names: dict[str, TensorType | object] = {}
    found = []
    for path, name in zip(files, short_names(files), strict=True):
        with Interpreter.from_file(path) as interpreter:
            names.update(interpreter.inputs)
            found.append(Model(path, name, _feeds(path, interpreter, shapes, args)))
    for name in shapes:
        if name not in names:
            raise unknown("--shape: no input", name, names)
    again = range(2, scenario.models + 1) if len(found) == 1 else ()
    return [*found, *(replace(found[0], name=f"{found[0].name} ({i})") for i in again)]


def _feeds(path: Path, interpreter: Interpreter, shapes: Shapes, args: argparse.Namespace) -> Feeds:
    for name, type_ in interpreter.inputs.items():
        if not isinstance(type_, TensorType):
            raise InputError(f"{path}: input {name!r} is {type_}: bench feeds tensors")
    if args.inputs is not None:
        return flattened(inputs_of(interpreter, args.inputs))
    own = {name: shape for name, shape in shapes.items() if name in interpreter.inputs}
    return random_inputs(interpreter, own, args.seed)


def _outcomes(
    args: argparse.Namespace,
    scenario: Scenario,
    field: Field,
    models: Sequence[Model],
    errors: dict[str, str],
) -> Iterator[tuple[Candidate, Outcome]]:
    for done, candidate in enumerate(field.candidates):
        where = f"{candidate.device} at {candidate.precision}"
        try:
            with progress(f"{scenario.name} on {where}", silent=args.quiet) as tell:
                tell("", done, len(field.candidates))
                config = _config(candidate, args.threads)
                with open_tenancy(
                    models, config, candidate, threads=args.threads, seed=args.seed
                ) as tenancy:
                    outcome = play(scenario, tenancy, args.runs)
            yield candidate, outcome
        except ParallaxError as error:
            if len(field.candidates) == 1:
                raise
            errors[where] = str(error)
            complain(f"{where}: {error}", [str(model.path) for model in models])


def _config(candidate: Candidate, threads: int | None) -> ScheduleConfig:
    is_cpu = candidate.device == "cpu"
    target = (ForwardType.CPU, None) if is_cpu else (ForwardType.OPENCL, candidate.device)
    config = config_of(target, precision_of(candidate.precision))
    return replace(config, num_threads=threads if is_cpu else None)


def _document(candidate: Candidate, models: Sequence[Model], outcome: Outcome) -> dict[str, Any]:
    return {
        "device": candidate.device,
        "precision": candidate.precision,
        "tenants": [
            {
                "model": str(model.path),
                "name": model.name,
                "inputs": {name: str(type_of(array)) for name, array in model.feeds.items()},
            }
            for model in models
        ],
        **outcome.to_json(),
    }
