"""A case of the attack, what became of it, and the file in which a finding is kept."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

FINDINGS = (
    *("crash", "hang", "memory", "raw exception", "wrong answer", "unexplained witness"),
    "harness error",
)
"""Outcomes that must not be; all others are expected.

A witness is unexplained where it disagrees, another agrees, and no entry of `known` says why.
"""

TOO_LARGE = "too large"
"""Outcome of a valid model that asks for much memory; what it takes is its own."""

FORM = "parallax hostile case 1"
"""Of the files in which cases are kept."""


@dataclass(frozen=True)
class Case:
    """One attempt on the engine, complete in itself.

    Attributes:
        attack: the name of the Attack that tries it.
        origin: how it was made, for a reader.
        files: contents by name, such as model.onnx and inputs.npz.
        options: what else the attack needs; strings, numbers and lists of them.
    """

    attack: str
    origin: str
    files: Mapping[str, bytes]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of all files."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to, as the attack itself sees it.

    Attributes:
        name: one word or two for the table, "agreed" for instance, or one of FINDINGS.
        place: where, for telling findings apart: a function of ours, or an operator.
        detail: a sentence.
    """

    name: str
    place: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Result:
    """An outcome with what it cost.

    Attributes:
        error: type of the exception, "" where there was none.
        seconds: wall time, without that of witnesses.
        excess_nbytes: resident memory at the peak, above that before the case.
        number: of the case; -1 for a replay.
    """

    attack: str
    number: int
    outcome: str
    error: str = ""
    place: str = ""
    detail: str = ""
    seconds: float = 0.0
    excess_nbytes: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """Findings with one key are one finding."""
        return self.outcome, self.error, self.place

    @property
    def is_finding(self) -> bool:
        """Whether this must not be."""
        return self.outcome in FINDINGS


@dataclass(frozen=True)
class Limits:
    """What one case may take.

    Attributes:
        seconds: a case that takes longer hangs.
        excess_nbytes: of resident memory at the peak, above that before the case.
    """

    seconds: float = 10.0
    excess_nbytes: int = 1 << 30


USUAL = Limits()
"""Of a campaign."""


class Attack(Protocol):
    """A kind of attempts."""

    name: str

    def draw(self, seed: int, number: int) -> Case:
        """The case of a number; the same for the same seed."""
        ...

    def warm(self) -> None:
        """Do once what every case needs: drivers, contexts, compilers."""
        ...

    def attempt(self, case: Case) -> Outcome:
        """Try it; raises whatever the engine raises."""
        ...


def random_of(attack: str, seed: int, number: int) -> np.random.Generator:
    """The random numbers of one case."""
    return np.random.default_rng([*attack.encode(), seed, number])


# ---------------------------------------------------------------------- files
def keep(folder: Path, case: Case, result: Result) -> Path:
    """Write a finding into a folder; of two with one key the smaller case stays."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(filter(None, result.key))).strip("-")[:150]
    path = folder / f"{name}.zip"
    if path.exists() and load(path).nbytes <= case.nbytes:
        return path
    head = {
        "form": FORM,
        "replay": f"python -m properties.hostile --replay {path.name}",
        "attack": case.attack,
        "origin": case.origin,
        "options": dict(case.options),
        "result": asdict(result),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("case.json", json.dumps(head, indent=1))
        for member, data in case.files.items():
            archive.writestr(f"files/{member}", data)
    return path


def load(path: Path) -> Case:
    """The case of a file; raises ValueError for a file that holds none."""
    try:
        with zipfile.ZipFile(path) as archive:
            head = json.loads(archive.read("case.json"))
            members = [n for n in archive.namelist() if n.startswith("files/")]
            files = {name.removeprefix("files/"): archive.read(name) for name in members}
    except (OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: holds no case: {error}") from error
    if head.get("form") != FORM:
        raise ValueError(f"{path}: holds no case")
    return Case(head["attack"], head["origin"], files, head["options"])
