"""A bundle once more: on the engine of this process, or of a fresh one."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conformance.bundles.bundle import Bundle, save
from conformance.bundles.failing import OUT_OF_BOUNDS, AnyPlace, Failing, Signature, examine
from conformance.judge import Verdict
from conformance.nodes import judge_value
from engine.errors import InputError, ParallaxError

FRESH = ("-m", "parallax")
"""What a fresh Python is started with, in front of `replay BUNDLE`."""
FRESH_TIMEOUT_S = 600


class Outcome(str, enum.Enum):
    """What became of a bundle."""

    SAME = "fails as before"
    OTHER = "fails in another way"
    PASSES = "does not fail"


@dataclass(frozen=True)
class Replayed:
    """An outcome, and what was seen."""

    outcome: Outcome
    said: str
    found: Signature | None = None


class NotReproduced(ParallaxError):
    """What failed did not fail again where it was tried alone."""


def replay(bundle: Bundle, place: AnyPlace) -> Replayed:
    """Examine the case of a bundle, and hold its output against what was written down.

    Raises:
        ParallaxError: this version refuses the model. NothingVerified: nothing ran there.
    """
    failing = examine(bundle.case, place, bundle.facts["seed"])
    if failing is None:
        failing = _against_what_was_written(bundle, place)
    if failing is None:
        return Replayed(Outcome.PASSES, "every node and the production plan are within bounds")
    is_same = failing.signature == bundle.signature
    outcome = Outcome.SAME if is_same else Outcome.OTHER
    return Replayed(outcome, failing.said, failing.signature)


def _against_what_was_written(bundle: Bundle, place: AnyPlace) -> Failing | None:
    """The engine of today may share a mistake with its reference; the file does not."""
    expected, precision = bundle.expected, place.arithmetic
    if expected is None or precision != bundle.signature.precision:
        return None
    got = place.output(bundle.case, expected.name)
    if got.shape != expected.array.shape:
        raise InputError(
            f"the bundle is damaged: {expected.name!r} has shape {list(got.shape)}, expected.npz "
            f"{list(expected.array.shape)}"
        )
    judgement = judge_value(got, expected.array, expected.error, place.units(got.dtype))
    if judgement.verdict is not Verdict.FAIL:
        return None
    said = (
        f"{expected.name!r} at {list(judgement.index)} is {judgement.got!r}, expected.npz has "
        f"{judgement.expected!r}"
    )
    return Failing(Signature(OUT_OF_BOUNDS, bundle.signature.operator, precision), said)


def keep(bundle: Bundle, path: Path) -> None:
    """Write a bundle that fails as it says in a fresh process too.

    Raises:
        NotReproduced: it does not. ConfigError: it cannot be written.
    """
    check_fresh(bundle)
    save(bundle, path)


def check_fresh(bundle: Bundle) -> None:
    """Raise NotReproduced unless the bundle fails as it says in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="parallax-bundle-") as folder:
        path = Path(folder) / "bundle"
        save(bundle, path)
        try:
            done = _fresh(path)
        except subprocess.TimeoutExpired as error:
            raise NotReproduced(
                f"no bundle: a fresh process took over {FRESH_TIMEOUT_S} s"
            ) from error
    if done.returncode != 1 or Outcome.SAME.value not in done.stdout:
        lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
        said = lines[-1] if lines else f"it ended with {done.returncode}"
        raise NotReproduced(
            f"no bundle: {bundle.signature} in this process; in a fresh one: {said}"
        )


def _fresh(path: Path) -> subprocess.CompletedProcess[str]:
    paths = [os.path.abspath(p) for p in sys.path]
    return subprocess.run(
        [sys.executable, *FRESH, "replay", str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=FRESH_TIMEOUT_S,
    )
