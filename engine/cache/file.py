"""CacheFile: compiled kernels and tuned parameters of a model, kept from process to process.

What a file holds is executed, so it is used only when it is whole, of this schema, this user's and
writable by nobody else. Otherwise it is ignored, with a reason in the log and in `explain`, and the
kernels are compiled as if it were not there.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import ref

from engine.cache import private_file
from engine.cache.format import Contents, DamagedError, Section, decode, encode, is_ours
from engine.cache.report import MISSING, CacheReport
from engine.errors import ConfigError
from engine.forks import ProcessBound

MOST_SECTIONS = 16
MOST_ENTRIES = 256
"""Models in a file, and kernels of a model; the least recently saved or used are dropped."""

log = logging.getLogger("parallax.cache")


class CacheFile(ProcessBound):
    """One model's part of a cache file; implements `KernelCache`.

    A key reads `what @ where`: `what` stands for source, options and modes, `where` for the device
    and its driver. Several models and several processes may use one file.

    Args:
        path: read now, written by `save`.
        model: `fingerprint` of the model; entries of others are never used.
    """

    def __init__(self, path: str | Path, model: str) -> None:
        self.path = Path(os.path.abspath(path))
        self.model = model
        self._lock = threading.RLock()
        self._bind_to_process()
        self._left: dict[str, Callable[[], bytes]] = {}
        self._tuned: dict[str, dict[str, Any]] = {}
        self._hits: dict[str, None] = {}
        self._misses: dict[str, None] = {}
        self._new: set[str] = set()
        self._written: set[str] = set()
        self._saves_at_exit = False
        self._gone: set[str] = set()
        contents, self.reason, self._refusal = _load(self.path)
        self._section = contents.sections.pop(model, Section())
        self._others = sum(len(s.entries) for s in contents.sections.values())
        self._rejected = dict.fromkeys(contents.damaged.get(model, ()), "its checksum is wrong")
        self._damaged = bool(contents.damaged)
        for key, reason in self._rejected.items():
            log.warning("%s: entry %s is ignored: %s", self.path, key, reason)
        if self.reason:
            level = logging.INFO if self.reason == MISSING else logging.WARNING
            log.log(level, "%s is not used: %s", self.path, self.reason)

    # ------------------------------------------------------------------ kernels
    def find(self, key: str) -> bytes | None:
        """The binary under a key, or None."""
        with self._lock:
            binary = self._section.entries.get(key)
            (self._misses if binary is None else self._hits)[key] = None
            if binary is None:
                self._explain_foreign(key)
            return binary

    def leave(self, key: str, binary: Callable[[], bytes]) -> None:
        """Note a kernel in use; `binary` is called, once, by `save`."""
        with self._lock:
            if key not in self._section.entries:
                self._left.setdefault(key, binary)

    def reject(self, key: str, reason: str) -> None:
        """The driver refused what `find` gave: a miss, and the entry is dropped."""
        with self._lock:
            self._section.entries.pop(key, None)
            self._hits.pop(key, None)
            self._misses[key] = None
            self._gone.add(key)
            self._note(key, reason)

    def _explain_foreign(self, key: str) -> None:
        what, _, where = key.partition(" @ ")
        for other in self._section.entries:
            if other.startswith(f"{what} @ "):
                reason = f"it was compiled for another device or driver; this is {where}"
                self._note(other, reason, logging.INFO)

    def _note(self, key: str, reason: str, level: int = logging.WARNING) -> None:
        if key not in self._rejected:
            self._rejected[key] = reason
            log.log(level, "%s: entry %s is ignored: %s", self.path, key, reason)

    # ------------------------------------------------------------------ tuned parameters
    def tuned(self, key: str) -> dict[str, Any] | None:
        """A copy of the parameters that were put under the key, or None."""
        with self._lock:
            found = self._tuned.get(key, self._section.tuned.get(key))
            return None if found is None else dict(found)

    def put_tuned(self, key: str, parameters: Mapping[str, Any]) -> None:
        """Keep parameters, of JSON types, under a key that names all they depend on."""
        with self._lock:
            value = json.loads(json.dumps(dict(parameters), allow_nan=False))
            if self.tuned(key) != value:
                self._tuned[key] = value

    # ------------------------------------------------------------------ saving
    @property
    def dirty(self) -> bool:
        """Whether `save` has anything to write."""
        with self._lock:
            return bool(self._left or self._new or self._tuned or self._gone or self._damaged)

    def save(self) -> bool:
        """Write what is new, keeping what other models and processes wrote; False if nothing is.

        Raises:
            ConfigError: the file cannot be written, or is not a kernel cache of this user.
        """
        with self._lock:
            if not self.dirty:
                return False
            try:
                self._there()  # before the lock file is made and drivers are asked
                self._fetch()
                with private_file.locked(self.path):
                    sections = self._there().sections
                    private_file.replace(self.path, encode(self._merged(sections)))
            except OSError as error:
                why = error.strerror or str(error).rstrip(".")
                raise ConfigError(
                    f"cannot save the kernel cache {str(self.path)!r}: {why}; choose a path in a "
                    "folder of your own that you can write, or set no cache file"
                ) from error
            self._written |= self._new & self._section.entries.keys()
            self._new, self._tuned, self._gone, self._damaged = set(), {}, set(), False
            return True

    def save_at_exit(self) -> None:
        """Save when the process ends, if this is still there and there is anything to write."""
        with self._lock:
            if not self._saves_at_exit:
                self._saves_at_exit = True
                atexit.register(_save, ref(self), os.getpid())

    def _after_fork(self) -> None:
        """Programs of the parent are for the parent to save."""
        self._lock = threading.RLock()
        self._left, self._saves_at_exit = {}, False

    def _there(self) -> Contents:
        """What the file holds now; raises RefusedError where it must not be replaced."""
        contents, _, refusal = _load(self.path)
        if refusal:
            raise private_file.RefusedError(refusal)
        return contents

    def _fetch(self) -> None:
        for key, binary in list(self._left.items()):
            data = binary()
            if data:
                self._section.entries[key] = data
                self._new.add(key)
            else:
                self._note(key, "the driver gives no binary for it")
            del self._left[key]

    def _merged(self, sections: dict[str, Section]) -> dict[str, Section]:
        """The sections of the file with this model's last."""
        there = sections.pop(self.model, Section())
        entries = {**there.entries, **self._section.entries}
        used = [k for k in entries if k in self._hits or k in self._misses]
        order = [k for k in entries if k not in used] + used
        kept = [k for k in order if k in self._section.entries or k not in self._gone]
        mine = Section(
            {k: entries[k] for k in kept[-MOST_ENTRIES:]}, {**there.tuned, **self._tuned}
        )
        self._section = mine
        names = [*sections, self.model][-MOST_SECTIONS:]
        merged = {**sections, self.model: mine}
        self._others = sum(len(merged[n].entries) for n in names if n != self.model)
        return {name: merged[name] for name in names}

    # ------------------------------------------------------------------ explaining
    def explain(self) -> CacheReport:
        """What was found, what was not, and why."""
        with self._lock:
            return CacheReport(
                path=self.path,
                loaded=not self.reason,
                reason=self.reason,
                refusal=self._refusal,
                hits=tuple(self._hits),
                misses=tuple(self._misses),
                rejected=dict(self._rejected),
                other_models=self._others,
                unsaved=len(self._left) + len(self._new) + len(self._tuned),
                entries=len(self._section.entries.keys() - self._new),
                written=len(self._written),
            )


def _save(cache: ref[CacheFile], process: int) -> None:
    """At the end of the process that asked for it; a forked child leaves the file alone."""
    if (alive := cache()) is not None and os.getpid() == process:
        try:
            alive.save()
        except ConfigError as error:
            log.warning("%s", error)


def _load(path: Path) -> tuple[Contents, str, str]:
    """What can be used of a file, why not more ("": all), and why it is not to be replaced ("")."""
    try:
        data = private_file.read(path)
    except FileNotFoundError:
        return Contents(), MISSING, ""
    except OSError as error:
        return Contents(), error.strerror or str(error), ""
    try:
        return decode(data), "", ""
    except DamagedError as error:
        reason = str(error)
    foreign = "" if is_ours(data) else "the file there is not a kernel cache"
    return Contents(), reason, foreign
