"""Parallax beside onnxruntime, in one run: `python -m perf.peers`.

A launch is one fresh process per engine and model; the processes take turns, forwards and then
backwards, and whoever waits sleeps. The ratio of a launch divides medians of the same minutes; the
spread over launches, not over runs, is what a ratio can be trusted to. Outputs are compared before
any time is believed. Both sides are timed from host arrays to host arrays.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from conformance.document import add_document, deliver
from conformance.files import check_files
from conformance.inputs import random_inputs
from engine.backends import registry
from engine.errors import ConfigError, DeviceError, ParallaxError
from engine.interpreter import Interpreter
from perf.agreement import RELATIVE_L2_MAX, relative_l2
from perf.arrays import load_arrays, save_arrays
from perf.candidates import PEER, Candidate
from perf.launch import Worker, cold_cache
from perf.machine import Neighbours
from perf.peers_table import Launch, render, rows
from perf.scratch import Scratch


def subject(model: str, seed: int) -> tuple[Path, Mapping[str, np.ndarray]]:
    """The file and the inputs of a model: of the user's file, or of the corpus by its name.

    Raises:
        ParallaxError: it cannot be read, fetched or built, or there is none of that name.
    """
    if model.endswith(".onnx"):
        return Path(model), random_inputs(Interpreter.from_file(model), seed=seed)
    try:
        from fixtures.models import corpus, fetch
    except ImportError as error:
        raise ConfigError(
            f"{model!r} is a name in fixtures/models, which only a checkout has; to measure a file "
            "give --models FILE.onnx"
        ) from error
    try:
        entry = corpus.by_name(model)
        return entry.path, entry.feeds(seed)
    except (KeyError, fetch.FetchError) as error:
        raise ConfigError(str(error.args[0])) from error


class Arms:
    """The processes of one launch of one model: the peer first, then one for each device."""

    def __init__(self, model: str, devices: Sequence[str], options: argparse.Namespace) -> None:
        self.options = options
        self.workers: dict[str, Worker] = {}
        self.loaded: dict[str, dict[str, Any]] = {}
        path, feeds = subject(model, options.seed)
        self._folder = Scratch("peers")
        self._model, self._feeds = str(path), str(Path(self._folder.name) / "feeds")
        save_arrays(self._feeds, feeds)
        try:
            for name in (PEER, *devices):
                self.workers[name] = Worker(options.threads)
                self.loaded[name] = self.load(self.workers[name], name)
        except BaseException:
            self.close()
            raise

    def load(self, worker: Worker, name: str) -> dict[str, Any]:
        """Load the model into an arm's process."""
        candidate = Candidate(name, self.options.precision)
        options = {"spinning": not self.options.no_spinning} if candidate.is_peer else {}
        return candidate.load(worker, self._model, self._feeds, self.options.threads, **options)

    def outputs(self, name: str) -> dict[str, np.ndarray]:
        """What an arm computed first."""
        path = str(Path(self._folder.name) / "outputs")
        self.workers[name].ask("save", path=path)
        return load_arrays(path)

    def cold_create_ns(self, name: str) -> int:
        """Session creation in another process with empty driver caches."""
        if name == PEER:
            return int(self.loaded[name]["create_ns"])
        with (
            Scratch("cold") as cache,
            Worker(self.options.threads, cold_cache(cache)) as worker,
        ):
            return int(self.load(worker, name)["create_ns"])

    def take_turns(self) -> dict[str, dict[str, list[int]]]:
        """A B C, C B A, ...: `per_turn` timed runs each, after one that is not timed."""
        times: dict[str, dict[str, list[int]]] = {name: {} for name in self.workers}
        for turn in range(self.options.turns):
            order = list(self.workers)
            for name in order if turn % 2 == 0 else reversed(order):
                for do in ("infer", "synced"):
                    reply = self.workers[name].ask(do, runs=self.options.per_turn, discard=1)
                    for key, values in reply.items():
                        merged = f"{do}.{key}"
                        times[name].setdefault(merged, []).extend(values)
        return times

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers.values():
            worker.close()
        self._folder.cleanup()


def launch(
    model: str, number: int, devices: Sequence[str], options: argparse.Namespace
) -> list[Launch]:
    """One launch of all arms on one model."""
    arms = Arms(model, devices, options)
    try:
        reference = arms.outputs(PEER)
        errors = {name: relative_l2(arms.outputs(name), reference) for name in arms.workers}
        cold = {name: arms.cold_create_ns(name) if number == 0 else 0 for name in arms.workers}
        neighbours = Neighbours()
        times = arms.take_turns()
        foreign_share = neighbours.foreign_share()
    finally:
        arms.close()
    return [
        Launch(
            model=model,
            arm=name,
            device=loaded["device"],
            launch=number,
            runs=len(times[name]["infer.total_ns"]),
            total_ns=int(median(times[name]["infer.total_ns"])),
            synced_ns=int(median(times[name]["synced.synced_ns"])),
            enqueue_ns=int(median(times[name]["synced.enqueue_ns"])),
            create_ns=loaded["create_ns"],
            first_ns=loaded["first_ns"],
            error=errors[name],
            cold_create_ns=cold[name],
            foreign_share=foreign_share,
            fallbacks=len(loaded.get("fallbacks", ())),
        )
        for name, loaded in arms.loaded.items()
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="perf.peers", description=__doc__)
    parser.add_argument(
        "--models",
        default="resnet50,squeezenet",
        help=".onnx files, or names in fixtures/models (%(default)s)",
    )
    parser.add_argument("--devices", help="comma-separated (default: all of this machine)")
    parser.add_argument("--precision", default="high", choices=list(RELATIVE_L2_MAX))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--per-turn", type=int, default=3)
    parser.add_argument("--no-spinning", action="store_true", help=f"{PEER}: idle threads sleep")
    parser.add_argument("--seed", type=int, default=0)
    add_document(parser, "peers")
    return parser.parse_args(arguments)


def devices_here() -> list[str]:
    """A selector of every OpenCL device that there is, and the CPU backend."""
    try:
        return [*registry.opencl_selectors().values(), "cpu"]
    except DeviceError:
        return ["cpu"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 when outputs differ; 2 for what cannot be measured."""
    options = parse(arguments)
    measured: list[Launch] = []
    try:
        files = [name for name in options.models.split(",") if name.endswith(".onnx")]
        check_files(options, files)
        if importlib.util.find_spec(PEER) is None:
            raise ConfigError(f'{PEER} is not installed: pip install "parallax-engine[test]"')
        devices = options.devices.split(",") if options.devices else devices_here()
        for number in range(options.launches):
            for model in options.models.split(","):
                print(f"launch {number + 1}: {model}...", file=sys.stderr)
                measured += launch(model, number, devices, options)
        deliver(options, {"launches": [asdict(x) for x in measured]}, models=files)
    except (ParallaxError, OSError) as error:
        print(f"perf.peers: {error}", file=sys.stderr)
        return 2
    table = rows(measured)
    if not options.json:
        print(render(table, options))
    wrong = max(x.error for x in measured) > RELATIVE_L2_MAX[options.precision]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
