"""`parallax info`: a model, which backends support it, and what a session of it would be."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from conformance.document import deliver
from conformance.report import jsonable
from conformance.shapes import Shapes, choose_shapes, open_lists
from engine.config import ScheduleConfig
from engine.errors import InputError, ModelError, ParallaxError, UnsupportedError
from engine.info import ModelSurvey, OperatorInfo, SessionInfo, Support
from engine.interpreter import Interpreter
from engine.model_file import ModelFile
from engine.runtime import Runtime
from engine.session import Session
from parallax.info_table import print_info
from parallax.options import (
    add_command,
    add_models,
    add_shape,
    check_names,
    model_file,
    parse_shapes,
)
from parallax.output import console
from parallax.run_report import cache_facts
from parallax.session_options import (
    add_session,
    schedule,
    session_is_asked_for,
    use_cache,
)

UNSUPPORTED = 1
"""Exit code of strict where something cannot run."""

EPILOG = """\
Without options of a session: the model, what of it cannot run and why, and how many of its
operators each backend supports, found without making a session. With any of them, such as --device
auto: also what such a session would be. The kernels of a session are compiled for that, but nothing
runs.

--strict with a session refuses fallbacks, as in run; alone, it makes the exit code 1 where any
backend lacks anything.

examples:
  parallax info model.onnx
  parallax info model.onnx --strict
  parallax info model.onnx --device portable --precision low
  parallax info model.onnx --device cpu --threads 2 --shape image=1,3,224,224 --all
  parallax info model.onnx --device auto --save '*' --json

exit codes: 0 for every ONNX model; 1 with --strict where something is not supported; 2 bad input,
or a session that cannot be made
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "info",
        run,
        help="a model's operators, their support, and the plan of a session of it",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=False)
    add_shape(parser)
    parser.add_argument("--all", action="store_true", help="a line for every operator (10)")
    add_session(parser)


def run(args: argparse.Namespace) -> int:
    """Describe; 0, or 1 where strict finds a lack. Raises ParallaxError for bad input."""
    given, config = parse_shapes(args.shape), schedule(args)
    path = model_file(args.model, "info")
    file = ModelFile(path)
    if config.path is None and file.interpreter is not None:
        check_names(file.interpreter, given)
    choice = choose_shapes(file.graph, given)
    data: dict[str, Any] = {
        "file": str(path),
        "shapes": choice.shapes,
        "chosen_shapes": list(choice.chosen),
        "chosen_because": choice.why,
        "session": None,
        "session_problem": "",
        "cache": None,
    }
    problem: ParallaxError | None = None
    with Runtime() as runtime:
        inputs = [v.name for v in file.graph.inputs]
        known = not open_lists(file.graph, choice.shapes)
        of_model = {name: choice.shapes[name] for name in inputs} if known else None
        survey = file.survey(config, runtime, of_model)
        data |= survey_facts(survey)
        data["explanations"] = list(runtime.explanations) if file.interpreter is not None else []
        if session_is_asked_for(args):
            try:
                _add_session(data, file.opened(), choice.accepted(), config, runtime, args)
            except (ModelError, UnsupportedError) as error:
                problem, data["session_problem"] = error, str(error)
    deliver(args, data, models=[path], devices=[s["device"] for s in data["support"]])
    print_info(data, console(silent=args.json), show_all=args.all, notes=not args.quiet)
    if problem is not None:
        raise problem
    lacks = args.strict and data["session"] is None and survey.unsupported
    return UNSUPPORTED if lacks else 0


def _add_session(
    data: dict[str, Any],
    interpreter: Interpreter,
    shapes: Shapes,
    config: ScheduleConfig,
    runtime: Runtime,
    args: argparse.Namespace,
) -> None:
    use_cache(interpreter, args.cache)
    if lists := open_lists(interpreter.graph, shapes):
        names = ", ".join(map(repr, lists))
        raise InputError(
            f"what a session would be depends on the tensors of input {names}: `parallax run "
            "--inputs` shows one; info without --device needs none"
        )
    with interpreter.create_session(config, runtime, shapes) as session:
        if session.deciding:
            names = ", ".join(map(repr, session.deciding))
            raise InputError(
                f"what a session would be depends on the value of input {names}, which decides "
                "shapes: `parallax run --inputs` shows one; info without --device needs none"
            )
        data["session"] = session_facts(session, config, args)
        if args.cache is not None:
            data["cache"] = cache_facts(interpreter.update_cache_file(session))


# ---------------------------------------------------------------------- facts
def survey_facts(survey: ModelSurvey) -> dict[str, Any]:
    """A ModelSurvey in JSON types: the model, what of it cannot run, and each backend's support."""
    model = jsonable(survey)
    lists = {key: model.pop(key) for key in ("unsupported", "problem", "support")}
    return {
        "model": model,
        "unsupported": lists["unsupported"],
        "support_problem": lists["problem"],
        "support": support_facts(survey.support),
    }


def support_facts(found: Iterable[Support]) -> list[dict[str, Any]]:
    """Per backend, how many of the optimised operators it would run, and why not the others."""
    return [
        {
            "backend": s.backend,
            "device": s.device,
            "operators": s.supported + len(s.missing) + s.undecided,
            "undecided": s.undecided,
            "supported": s.supported,
            "missing": dict(s.missing),
        }
        for s in found
    ]


def session_facts(
    session: Session, config: ScheduleConfig, args: argparse.Namespace
) -> dict[str, Any]:
    """A SessionInfo in JSON types, with what follows from it."""
    info = session.info()
    return {
        "options": list(_options(info, config, args)),
        "placement": _placement(info),
        "fallbacks": [_operator(op) for op in info.fallbacks],
        "copies": list(info.copies),
        "operators": [_operator(op) for op in info.operators],
        "flops": info.flops,
        "memory": {
            name: {**jsonable(memory), "peak_nbytes": memory.peak_nbytes}
            for name, memory in info.memory.items()
        },
        "model_nbytes": info.model_nbytes,
        "device_nbytes": info.device_nbytes,
        "host_nbytes": info.host_nbytes,
        "inputs": list(info.pipelines[0].inputs),
        "outputs": list(info.pipelines[0].outputs),
        "saved": list(info.saved),
        "resize_status": info.resize_status,
        "choices": list(info.choices),
        "borders": list(info.borders),
    }


def _options(
    info: SessionInfo, config: ScheduleConfig, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Asked, effective, and why they differ; an option that cannot be had was refused before."""
    pipeline, preferences = info.pipelines[0], config.backend_config
    device = f"{info.device.platform} / {info.device.name}"
    backup = ", ".join(pipeline.backups) or None
    for option, asked, got, reason in (
        ("device", args.device, device, "" if args.device else "whichever works"),
        (
            "precision",
            args.precision,
            pipeline.precision.effective.value,
            pipeline.precision.reason,
        ),
        ("mode", args.mode, str(pipeline.mode.effective or "-"), pipeline.mode.reason),
        ("threads", args.threads, pipeline.num_threads.effective, pipeline.num_threads.reason),
        ("memory", args.memory, preferences.memory.value, ""),
        ("power", args.power, preferences.power.value, ""),
        ("backup", args.backup, backup, "strict refuses any" if args.strict else ""),
    ):
        yield {"option": option, "requested": asked, "effective": got, "reason": reason}


def _placement(info: SessionInfo) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for op in info.operators:
        mine = found.setdefault(op.backend, {"operators": 0, "views": 0, "flops": 0, "nbytes": 0})
        mine["operators"] += 1
        mine["views"] += op.is_view
        mine["flops"] += op.flops
        mine["nbytes"] += 0 if op.is_view else op.nbytes
    return found


def _operator(operator: OperatorInfo) -> dict[str, Any]:
    facts: dict[str, Any] = jsonable(operator)
    return facts
