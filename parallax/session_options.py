"""The options of a session on the command line, and the configuration they stand for."""

from __future__ import annotations

import argparse
import enum
from typing import TypeVar

from conformance.devices import precision_of
from conformance.files import add_file
from engine.arguments import flags, member
from engine.config import (
    BackendConfig,
    ForwardType,
    GpuMode,
    GraphPath,
    MemoryMode,
    PathMode,
    PowerMode,
    ScheduleConfig,
)
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from parallax.options import DEVICE_HELP, default_precision

Member = TypeVar("Member", bound=enum.Enum)

OPTIONS = (
    *("device", "precision", "backup", "strict", "threads", "mode", "memory", "power"),
    *("save", "cache", "sources", "sinks", "path_mode", "include_sink"),
)
"""Where the parsed options of a session are found."""


def add_session(parser: argparse.ArgumentParser) -> None:
    """Everything that a session can be asked for."""
    group = parser.add_argument_group("the session")
    group.add_argument("--device", help=f"{DEVICE_HELP}; auto (default): whichever works, else cpu")
    group.add_argument("--precision", help="high, normal or low (default: normal; high on cpu)")
    group.add_argument(
        "--backup", metavar="BACKEND", help="runs what the device lacks: cpu, opencl"
    )
    group.add_argument("--strict", action="store_true", help="refuse a model that needs the backup")
    group.add_argument("--threads", type=int, metavar="N", help="of the CPU backend (all cores)")
    group.add_argument(
        "--mode", metavar="NAMES", help="OpenCL only, joined by +: tuning_none+memory_buffer"
    )
    group.add_argument("--memory", metavar="MODE", help="normal (default) or high: keep more plans")
    group.add_argument("--power", metavar="MODE", help="low, normal (default) or high")
    group.add_argument(
        "--save",
        action="append",
        default=[],
        metavar="NAME",
        help="keep this tensor beside the outputs (repeatable; '*' for all)",
    )
    add_file(group, "--cache", "FILE", "keep compiled OpenCL kernels in this file")
    _add_path(parser)


def _add_path(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a part of the model instead of all of it")
    for option, dest, what in (
        ("--from", "sources", "where it starts: a tensor, or an operator"),
        ("--to", "sinks", "where it ends: a tensor, or an operator"),
    ):
        group.add_argument(
            option,
            dest=dest,
            action="append",
            default=[],
            metavar="NAME",
            help=f"{what} (repeatable)",
        )
    group.add_argument("--path-mode", metavar="MODE", help="the names are of: tensor (default), op")
    group.add_argument(
        "--include-sink", action="store_true", help="with op: compute the operators of --to too"
    )


def session_is_asked_for(args: argparse.Namespace) -> bool:
    """Whether any option of a session was given; strict alone may concern the model as well."""
    asking = (option for option in OPTIONS if option != "strict")
    return any(getattr(args, option) not in (None, False, []) for option in asking)


def schedule(args: argparse.Namespace) -> ScheduleConfig:
    """The configuration that the options stand for.

    Raises:
        ConfigError: an unknown name, options that contradict one another or do not apply.
    """
    forward, selector = _target(args.device)
    if args.strict and args.backup is not None:
        raise ConfigError(
            f"--backup {args.backup} and --strict exclude each other: strict refuses any backup"
        )
    config = ScheduleConfig(
        type=forward,
        device=selector,
        backup_type=_member("--backup", args.backup, ForwardType.CPU),
        strict=args.strict,
        num_threads=args.threads,
        mode=None if args.mode is None else flags("--mode", GpuMode, args.mode),
        save_tensors=tuple(args.save),
        path=_path(args),
        backend_config=BackendConfig(
            precision=precision_of(args.precision or default_precision(args.device)),
            memory=_member("--memory", args.memory, MemoryMode.NORMAL),
            power=_member("--power", args.power, PowerMode.NORMAL),
        ),
    )
    if args.cache is not None and not config.may_use(ForwardType.OPENCL):
        raise ConfigError(
            f"--cache {args.cache}: only OpenCL kernels are compiled and kept, and this "
            "configuration uses cpu"
        )
    return config


def use_cache(interpreter: Interpreter, file: str | None) -> None:
    """Keep compiled kernels in a file; raises ConfigError where something else lies there."""
    if file is not None and (refusal := interpreter.set_cache_file(file).refusal):
        raise ConfigError(f"--cache {file}: {refusal}; choose another path")


def _target(device: str | None) -> tuple[ForwardType, str | None]:
    name = "auto" if device is None else device.strip().lower()
    if name in ("auto", "cpu"):
        return ForwardType(name), None
    return ForwardType.OPENCL, device


def _path(args: argparse.Namespace) -> GraphPath | None:
    if args.sources or args.sinks:
        mode = _member("--path-mode", args.path_mode, PathMode.TENSOR)
        return GraphPath(tuple(args.sources), tuple(args.sinks), mode, args.include_sink)
    for option in ("path_mode", "include_sink"):
        if getattr(args, option):
            raise ConfigError(
                f"--{option.replace('_', '-')} belongs to a part of the model: say --from and --to"
            )
    return None


def _member(option: str, name: str | None, default: Member) -> Member:
    return default if name is None else member(option, type(default), name)
