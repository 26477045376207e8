"""Failures of drivers that are known: a data file, strict both ways.

A JSON list of objects; each says where a node fails, why, where that is told, and until when it is
believed. What an entry names does not fail a verification. An entry fails it that is over, or whose
node was verified on that driver and passed: then the driver or the kernels changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.judge import Verdict
from conformance.report import NodeCheck, VerifyReport
from engine.backends.protocol import DeviceInfo
from engine.config import Precision
from engine.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One failure that is known.

    Attributes:
        driver: the platform, `*` stands for any text. version: of the driver, likewise.
        model: the name of the file. node: its title as `verify` prints it.
        precision: the effective one. reason: in words. link: to a report of it.
        expires: the last day on which it is believed, YYYY-MM-DD.
    """

    driver: str
    version: str
    model: str
    node: str
    precision: str
    reason: str
    link: str
    expires: str

    def is_of(self, device: DeviceInfo) -> bool:
        """Whether it is about this driver."""
        is_platform = fnmatchcase(device.platform, self.driver)
        return is_platform and fnmatchcase(device.driver, self.version)

    @property
    def is_over(self) -> bool:
        """Whether it is not believed any more."""
        return date.today() > date.fromisoformat(self.expires)

    def __str__(self) -> str:
        return f"{self.node} of {self.model} at {self.precision} on {self.driver} {self.version}"


@dataclass(frozen=True)
class Known:
    """Entries of a file, all or those of one model."""

    file: str
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, file: str | Path) -> Known:
        """Read a file; raises ConfigError for anything that is not as it should be."""
        try:
            data = json.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"known failures {file}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"known failures {file}: no JSON: {error}") from error
        if not isinstance(data, list):
            raise ConfigError(f"known failures {file}: expected a list of objects")
        return cls(str(file), tuple(_entry(file, k, given) for k, given in enumerate(data)))

    def of(self, model: str) -> Known:
        """Those of a model, by the name of its file."""
        return replace(self, entries=tuple(e for e in self.entries if e.model == model))

    def mark(
        self, checks: Sequence[NodeCheck], device: DeviceInfo, precision: str
    ) -> list[NodeCheck]:
        """The checks; of those that fail as is known, why."""
        reasons = {
            entry.node: f"{entry.reason} ({entry.link})"
            for entry in self.entries
            if entry.is_of(device) and entry.precision == precision and not entry.is_over
        }
        return [
            replace(check, known=reasons.get(check.title, ""))
            if check.verdict is Verdict.FAIL
            else check
            for check in checks
        ]

    def stale(self, report: VerifyReport) -> tuple[str, ...]:
        """A sentence for each entry about this device that is over, or shows no more."""
        judged = {p.effective: p for p in report.precisions if p.same_as is None}
        said = []
        for entry in self.entries:
            found = judged.get(entry.precision)
            if found is None or not entry.is_of(report.device):
                continue
            if entry.is_over:
                said.append(f"{self.file}: {entry}: believed until {entry.expires}: look again")
            elif not any(c.title == entry.node and c.known for c in found.checks):
                said.append(f"{self.file}: {entry}: fails no more: remove it")
        return tuple(said)


def _entry(file: str | Path, number: int, given: object) -> Entry:
    where = f"known failures {file}: entry {number}"
    names = [f.name for f in fields(Entry)]
    if not isinstance(given, dict) or set(given) != set(names):
        raise ConfigError(f"{where}: expected an object with {', '.join(names)}")
    for name, text in given.items():
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{where}: {name} is {text!r}, expected a text that is not empty")
    entry = Entry(**given)
    precisions = [p.value for p in Precision]
    if entry.precision not in precisions:
        raise ConfigError(f"{where}: precision {entry.precision!r}: expected {precisions}")
    try:
        is_date = date.fromisoformat(entry.expires).isoformat() == entry.expires
    except ValueError:
        is_date = False
    if not is_date:
        raise ConfigError(f"{where}: expires {entry.expires!r}: expected YYYY-MM-DD")
    return entry
