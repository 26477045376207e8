"""Parallax beside onnxruntime, in one run: `python -m perf.peers`.

A launch is one fresh process per engine and model; the processes take turns, forwards and then
backwards, and whoever waits sleeps. The ratio of a launch divides medians of the same minutes; the
spread over launches, not over runs, is what a ratio can be trusted to. Outputs are compared before
any time is believed. Both sides are timed from host arrays to host arrays.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from engine.errors import ConfigError, ParallaxError
from perf.arrays import load_arrays, save_arrays
from perf.launch import Worker, cold_cache
from perf.machine import FOREIGN_SHARE_MAX, Neighbours

PEER = "onnxruntime"
RELATIVE_L2_MAX = {"high": 1e-3, "normal": 3e-2, "low": 1e-1}
"""Above it two engines did not compute the same thing, and no time of theirs is shown."""


@dataclass(frozen=True)
class Launch:
    """One arm in one launch; times in ns, medians over the runs of the launch.

    Attributes:
        total_ns: host arrays to host arrays. synced_ns, enqueue_ns: inputs on the device.
        error: relative L2 of the outputs against the peer's.
        cold_create_ns: session creation with empty driver caches; first launch only, else 0.
        foreign_share: of the processors, used by other programs while this launch took turns.
    """

    model: str
    arm: str
    device: str
    launch: int
    runs: int
    total_ns: int
    synced_ns: int
    enqueue_ns: int
    create_ns: int
    first_ns: int
    error: float
    cold_create_ns: int = 0
    foreign_share: float = 0.0
    fallbacks: int = 0


@dataclass(frozen=True)
class Row:
    """One arm of one model over all launches; `ratios` are Parallax / peer, one per launch."""

    model: str
    arm: str
    launches: tuple[Launch, ...]
    ratios: tuple[float, ...]

    def median_ms(self, name: str) -> float:
        """Median over launches."""
        return float(median(getattr(x, f"{name}_ns") for x in self.launches)) / 1e6


def relative_l2(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The largest |ours - theirs| / |theirs| over the outputs; inf for other names or shapes."""
    if list(ours) != list(theirs):
        return float("inf")
    worst = 0.0
    for name, expected in theirs.items():
        if ours[name].shape != expected.shape:
            return float("inf")
        scale = float(np.linalg.norm(expected.astype(np.float64).ravel())) or 1.0
        error = ours[name].astype(np.float64).ravel() - expected.astype(np.float64).ravel()
        norm = float(np.linalg.norm(error))
        worst = max(worst, norm / scale if np.isfinite(norm) else float("inf"))
    return worst


def _corpus_model(name: str) -> Any:
    """A model of the corpus, fetched or built; raises ConfigError."""
    try:
        from fixtures.models import corpus, fetch
    except ImportError as error:
        raise ConfigError(f"perf.peers needs a checkout with fixtures/models ({error})") from error
    try:
        entry = corpus.by_name(name)
        entry.path.stat()
    except (KeyError, fetch.FetchError) as error:
        raise ConfigError(str(error.args[0])) from error
    return entry


class Arms:
    """The processes of one launch of one model: the peer first, then one for each device."""

    def __init__(self, model: str, devices: Sequence[str], options: argparse.Namespace) -> None:
        self.options = options
        self.workers: dict[str, Worker] = {}
        self.loaded: dict[str, dict[str, Any]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="parallax-peers-")
        entry = _corpus_model(model)
        self._model, self._feeds = str(entry.path), str(Path(self._folder.name) / "feeds")
        save_arrays(self._feeds, entry.feeds(options.seed))
        for name in (PEER, *devices):
            self.workers[name] = Worker(options.threads)
            self.loaded[name] = self.load(self.workers[name], name)

    def load(self, worker: Worker, name: str) -> dict[str, Any]:
        """Load the model into an arm's process."""
        shared = {"model": self._model, "feeds": self._feeds, "threads": self.options.threads}
        if name == PEER:
            return worker.ask("load", engine=PEER, spinning=not self.options.no_spinning, **shared)
        return worker.ask("load", device=name, precision=self.options.precision, **shared)

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
            tempfile.TemporaryDirectory(prefix="parallax-cold-") as cache,
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


def rows(launches: Sequence[Launch]) -> list[Row]:
    """Group by model and arm, in order of appearance; ratios against the peer's same launch."""
    peers = {(x.model, x.launch): x.total_ns for x in launches if x.arm == PEER}
    grouped: dict[tuple[str, str], list[Launch]] = {}
    for x in launches:
        grouped.setdefault((x.model, x.arm), []).append(x)
    return [
        Row(model, arm, tuple(xs), tuple(x.total_ns / peers[x.model, x.launch] for x in xs))
        for (model, arm), xs in grouped.items()
    ]


def render(table: Sequence[Row], options: argparse.Namespace) -> str:
    """The table as text; a row whose outputs differ from the peer's shows no time."""
    lines = [
        f"precision {options.precision}, {options.threads} threads, {options.launches} launches of "
        f"{options.turns} x {options.per_turn} runs, {PEER} spinning "
        f"{'off' if options.no_spinning else 'on'}; ms, medians",
        f"{'model':14}{'arm':13}{'total':>9}{'ratio (min..max)':>23}{'synced':>9}{'enqueue':>9}"
        f"{'first':>8}{'create':>9}{'cold':>9}{'rel. L2':>10}",
    ]
    for row in table:
        error = max(x.error for x in row.launches)
        head = f"{row.model:14}{row.arm:13}"
        if error > RELATIVE_L2_MAX[options.precision]:
            lines.append(f"{head}  OUTPUTS DIFFER: relative L2 {error:.1e}; no time is shown")
            continue
        ratio = f"{median(row.ratios):.2f} ({min(row.ratios):.2f}..{max(row.ratios):.2f})"
        cold = row.launches[0].cold_create_ns / 1e6
        lines.append(
            f"{head}{row.median_ms('total'):9.2f}{ratio:>23}{row.median_ms('synced'):9.2f}"
            f"{row.median_ms('enqueue'):9.3f}{row.median_ms('first'):8.0f}"
            f"{row.median_ms('create'):9.0f}{cold:9.0f}{error:10.1e}"
            + (f"  {row.launches[0].fallbacks} fallbacks" if row.launches[0].fallbacks else "")
        )
    busiest = max(x.foreign_share for row in table for x in row.launches)
    if busiest > FOREIGN_SHARE_MAX:
        lines.append(f"NOT QUIET: other programs used up to {busiest:.0%} of the processors")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="perf.peers", description=__doc__)
    parser.add_argument("--models", default="resnet50,squeezenet", help="of the corpus")
    parser.add_argument("--devices", default="intel,portable,cpu")
    parser.add_argument("--precision", default="high", choices=list(RELATIVE_L2_MAX))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--per-turn", type=int, default=3)
    parser.add_argument("--no-spinning", action="store_true", help=f"{PEER}: idle threads sleep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 when outputs differ; 2 for what cannot be measured."""
    options = parse(arguments)
    measured: list[Launch] = []
    try:
        if importlib.util.find_spec(PEER) is None:
            raise ConfigError(f'{PEER} is not installed: pip install "parallax-engine[test]"')
        for number in range(options.launches):
            for model in options.models.split(","):
                print(f"launch {number + 1}: {model}...", file=sys.stderr)
                measured += launch(model, number, options.devices.split(","), options)
        if options.json:
            text = json.dumps([asdict(x) for x in measured], indent=1)
            Path(options.json).write_text(text + "\n")
    except (ParallaxError, OSError) as error:
        print(f"perf.peers: {error}", file=sys.stderr)
        return 2
    table = rows(measured)
    print(render(table, options))
    wrong = max(x.error for x in measured) > RELATIVE_L2_MAX[options.precision]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
