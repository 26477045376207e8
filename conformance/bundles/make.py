"""A bundle made of a case and how it failed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from conformance.bundles.arrays import npz
from conformance.bundles.bundle import FACTS, FORM, VERSION, Bundle
from conformance.bundles.failing import AnyPlace, Case, Failing, FailingNode
from conformance.report import jsonable
from engine.interpreter import Interpreter
from engine.version import VERSION as ENGINE_VERSION

PACKAGES = ("numpy", "onnx", "ml_dtypes", "pyopencl", "onnxruntime", "openvino", "MNN")
"""Whose versions may matter."""


@dataclass(frozen=True)
class Passing:
    """A neighbour of a failing case that passes, and in what it differs."""

    case: Case
    said: str


def make(
    case: Case,
    failing: Failing,
    place: AnyPlace,
    *,
    origin: str,
    seed: int = 0,
    passing: Passing | None = None,
) -> Bundle:
    """All files of a bundle.

    Args:
        case: fails as `failing` says at `place`. origin: where it comes from, for a reader.
        seed: of the replays of suspicious elements.
    """
    node = failing.node
    files = {"model.onnx": case.model, "inputs.npz": npz(case.feeds)}
    if node is not None:
        files["expected.npz"] = npz(
            {
                "expected": node.expected,
                "sigma": np.broadcast_to(node.error.sigma, node.expected.shape),
                "bound": np.broadcast_to(node.error.bound, node.expected.shape),
                "got": node.got,
            }
        )
        files |= node.launches
    if passing is not None:
        files["passing/model.onnx"] = passing.case.model
        files["passing/inputs.npz"] = npz(passing.case.feeds)
    facts = {
        "form": FORM,
        "version": VERSION,
        "signature": failing.signature.to_json(),
        "said": failing.said,
        "failing": None if node is None else _failing(node, case),
        "passing": None if passing is None else passing.said,
        "origin": origin,
        "seed": seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **place.facts,
        "versions": versions(),
        "system": platform.platform(),
    }
    text = json.dumps(jsonable(facts), indent=1, allow_nan=False)
    head = {FACTS: f"{text}\n".encode(), "README.txt": readme(facts, files).encode()}
    return Bundle({**head, **files})


def _failing(node: FailingNode, case: Case) -> dict[str, Any]:
    """`alone`: the tensor is an output, and depends on nothing but the inputs and its own node."""
    judgement = asdict(node.judgement)
    judgement["verdict"] = node.judgement.verdict.name
    return {
        "node": node.title,
        "output": node.output,
        "alone": node.is_first and node.output in Interpreter.from_buffer(case.model).outputs,
        "judgement": judgement,
    }


def versions() -> dict[str, str]:
    """Of this package, of Python and of what it computes with."""
    found = {"parallax": ENGINE_VERSION, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


DESCRIBED = {
    "bundle.json": "how it failed, where, with which versions",
    "model.onnx": "the model, minimised where it could be",
    "inputs.npz": "what it is fed",
    "expected.npz": "of the tensor that is wrong: expected, sigma, bound, and what was got",
    "run_cl.py": "the launches of the failing node; needs numpy and pyopencl, nothing else",
    "cl/": "kernel sources as built, their options and arguments, the buffers before the launches",
    "passing/": "the nearest neighbour that passes",
}
"""In the order of the README of a bundle."""


def readme(facts: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """README.txt."""
    device, signature = facts["device"], facts["signature"]
    where = f"{device['platform']} / {device['name']}, driver {device['driver']}"
    what = f"{signature['operator'] or 'A model'}: {signature['kind']}"
    how = "" if facts.get("engine") else " precision"
    lines = [f"{what} at {signature['precision']}{how} on {where}", "", facts["said"]]
    lines += [f"From: {facts['origin']}"]
    if facts["passing"]:
        lines += [f"The neighbour that passes: {facts['passing']}"]
    lines += ["", *_commands(choice_of(facts), files), ""]
    lines += [f"  {name:14}{text}" for name, text in DESCRIBED.items() if _holds(files, name)]
    return "\n".join(lines) + "\n"


def choice_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of a command line that choose the device or the engine of a bundle."""
    if (engine := facts.get("engine")) is None:
        return "--device", facts["device"]["selector"]
    options = (f"{name}={value}" for name, value in engine["options"].items())
    return "--engine", engine["name"], *(x for o in options for x in ("--engine-option", o))


def _commands(choice: Sequence[str], files: Mapping[str, bytes]) -> list[str]:
    lines = [
        "  parallax replay THIS_FOLDER              does it still fail? 1 yes, 0 no",
        f"  parallax verify model.onnx --inputs inputs.npz {shlex.join(choice)}",
    ]
    if "run_cl.py" in files:
        lines += ["  python run_cl.py                         without parallax"]
    return lines


def _holds(files: Mapping[str, bytes], name: str) -> bool:
    """Whether a file, or a folder, which ends in "/", is there; bundle.json always is."""
    is_folder = name.endswith("/")
    return name == FACTS or any(n.startswith(name) if is_folder else n == name for n in files)
