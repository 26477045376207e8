"""Resident memory of one model, beside onnxruntime's: `python -m perf.memory`.

Every row is a fresh process. All is over what is resident once the engine is imported; drivers and
what they compile with count, as far as their pages are touched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from conformance.document import add_document, deliver
from conformance.files import check_files
from engine.errors import ConfigError, ParallaxError
from perf.arrays import save_arrays
from perf.candidates import PEER
from perf.peers import devices_here, subject
from perf.scratch import Scratch

STAGES = {
    "driver": "a runtime of the device",
    "session": "the model read, a session made",
    "run": "two runs",
    "released": "release_model()",
    "closed": "session.close(), or the peer's session deleted",
    "ended": "runtime.close()",
    "peak": "the most at any time",
}


def measure(engine: str, model: Path, precision: str, feeds: Path) -> dict[str, int]:
    """Bytes by stage, of a process of its own; raises ConfigError where it fails."""
    command = [sys.executable, "-m", "perf.resident", engine, str(model), precision, str(feeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{engine}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: Mapping[str, Mapping[str, int]]) -> Table:
    """A row for each engine, MB; the last column is the ratio of the stage `run` to the peer's."""
    out = Table(box=None, pad_edge=False)
    out.add_column("MB over import")
    for stage in STAGES:
        out.add_column(stage, justify="right")
    out.add_column("ratio", justify="right")
    peer = found.get(PEER, {}).get("run")
    for engine, stages in found.items():
        figures = [f"{stages[s] / 1e6:.0f}" if s in stages else "-" for s in STAGES]
        out.add_row(engine, *figures, f"{stages['run'] / peer:.2f}" if peer else "-")
    return out


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="perf.memory", description=__doc__)
    parser.add_argument("--model", default="resnet50", help="an .onnx file, or a corpus name")
    parser.add_argument("--devices", help="comma-separated (default: all of this machine)")
    parser.add_argument("--precision", default="high", choices=["high", "normal", "low"])
    parser.add_argument("--seed", type=int, default=0)
    add_document(parser, "memory")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 for what cannot be measured."""
    options = parse(arguments)
    try:
        files = [options.model] if options.model.endswith(".onnx") else []
        check_files(options, files)
        model, feeds = subject(options.model, options.seed)
        devices = options.devices.split(",") if options.devices else devices_here()
        with Scratch("memory") as folder:
            arrays = Path(folder) / "feeds"
            save_arrays(str(arrays), feeds)
            found = {e: measure(e, model, options.precision, arrays) for e in (PEER, *devices)}
        deliver(options, {"engines": found}, models=files)
    except (ParallaxError, OSError) as error:
        print(f"perf.memory: {error}", file=sys.stderr)
        return 2
    if not options.json:
        console = Console(highlight=False)
        console.print(table(found))
        for stage, meaning in STAGES.items():
            console.print(f"{stage}: after {meaning}" if stage != "peak" else f"peak: {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
