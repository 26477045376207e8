"""What each step of the general campaign runs: functions, kernel sources, operators that come in.

A step that runs nothing of what a fault changes gives what it gave without the fault, so that the
score needs to try the others alone. What a step reaches is a set of tokens:
`file.py:function:line` of each Python function that it calls, `file.py`, `kernel FAMILY`,
`import OPERATOR` and `body OPERATOR`.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
Token = str
Teller = Callable[[Mapping[str, Any]], Token]


@functools.cache
def token_of(code: CodeType) -> Token | None:
    """Of a function of this checkout; None of any other."""
    try:
        file = Path(code.co_filename).relative_to(ROOT)
    except ValueError:
        return None
    return f"{file}:{getattr(code, 'co_qualname', code.co_name)}:{code.co_firstlineno}"


def _tellers() -> dict[CodeType, Teller]:
    """Functions whose arguments tell more than that they were called."""
    from engine.backends.opencl.context import OpenCLContext
    from engine.onnx_import import opsets
    from engine.onnx_import.microsoft import bodies

    return {
        OpenCLContext.program.__code__: lambda known: f"kernel {known['family']}",
        opsets.to_newest.__code__: lambda known: f"import {known['form'].op_type}",
        bodies.body_of.__code__: lambda known: f"body {known['call'].op_type}",
    }


@contextmanager
def reached() -> Iterator[set[Token]]:
    """Tokens of what is called inside, in any thread that begins there; complete at its end."""
    codes: set[CodeType] = set()
    tokens: set[Token] = set()
    tellers = _tellers()

    def note(frame: FrameType, event: str, argument: object) -> None:
        codes.add(frame.f_code)
        if (tell := tellers.get(frame.f_code)) is not None:
            tokens.add(tell(frame.f_locals))

    before = sys.gettrace()
    sys.settrace(note)
    threading.settrace(note)
    try:
        yield tokens
    finally:
        sys.settrace(before)
        threading.settrace(None)
        found = {token for code in codes if (token := token_of(code)) is not None}
        tokens |= found | {token.partition(":")[0] for token in found}


@dataclass
class Record:
    """A campaign that nothing was planted in.

    Attributes:
        names: of its steps, in order. seconds: that each took. wrong: indices of those that fail
            without a fault, which prove nothing. reach: bool[steps, tokens].
    """

    names: list[str]
    seconds: np.ndarray
    wrong: list[int]
    tokens: list[Token]
    reach: np.ndarray
    _index: dict[Token, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._index = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def of(cls, rows: list[tuple[str, float, bool, set[Token]]]) -> Record:
        """From (name, seconds, right, reached) of each step."""
        tokens = sorted(set().union(*(row[3] for row in rows)))
        index = {token: i for i, token in enumerate(tokens)}
        reach = np.zeros((len(rows), len(tokens)), bool)
        for i, row in enumerate(rows):
            reach[i, [index[token] for token in row[3]]] = True
        wrong = [i for i, row in enumerate(rows) if not row[2]]
        return cls([r[0] for r in rows], np.array([r[1] for r in rows]), wrong, tokens, reach)

    def steps(self, touched: Collection[Token] | None) -> np.ndarray:
        """Indices of right steps that reach any of these tokens; None: of all."""
        columns = [self._index[token] for token in touched or () if token in self._index]
        hit = np.asarray(self.reach[:, columns].any(1))
        if touched is None:
            hit = np.ones(len(self.names), bool)
        hit[self.wrong] = False
        return np.flatnonzero(hit)

    def save(self, path: Path) -> None:
        """As a file of NumPy's."""
        np.savez_compressed(
            path,
            names=np.array(self.names),
            seconds=self.seconds,
            wrong=np.array(self.wrong, np.int64),
            tokens=np.array(self.tokens),
            reach=np.packbits(self.reach, axis=1),
        )

    @classmethod
    def load(cls, path: Path) -> Record:
        """What `save` wrote."""
        with np.load(path) as file:
            tokens = [str(t) for t in file["tokens"]]
            reach = np.unpackbits(file["reach"], axis=1, count=len(tokens)).astype(bool)
            wrong = [int(i) for i in file["wrong"]]
            return cls([str(n) for n in file["names"]], file["seconds"], wrong, tokens, reach)


# ------------------------------------------------------------------------- what a fault touches
def touched_by(owner: Any, old: Any) -> frozenset[Token] | None:
    """What must be reached for `old`, an attribute or entry of `owner`, to matter; None: unknown.

    What is remembered of a call (`functools.cache`) matters wherever its module is reached.
    """
    function = _plain(old)
    if function is not None and (token := token_of(function.__code__)) is not None:
        return frozenset([token])
    files = {_file_of(owner)} if isinstance(owner, ModuleType) else _files_with(owner)
    return frozenset(f for f in files if f is not None) or None


def kernels_with(family: str) -> frozenset[Token]:
    """What must be reached for the text of a family to matter; all include `common`."""
    folder = ROOT / "engine" / "backends" / "opencl" / "kernels"
    names = [path.stem for path in folder.glob("*.cl")] if family == "common" else [family]
    return frozenset(f"kernel {name}" for name in names)


def _plain(old: Any) -> Any:
    """The Python function behind a method, property or partial; None where there is none."""
    if isinstance(old, property):
        old = old.fget
    if isinstance(old, functools.partial):
        old = old.func
    if hasattr(old, "cache_info"):
        return None
    old = getattr(old, "__func__", old)
    return old if hasattr(old, "__code__") else None


def _file_of(module: ModuleType) -> Token | None:
    file = getattr(module, "__file__", None)
    return str(Path(file).relative_to(ROOT)) if file and Path(file).is_relative_to(ROOT) else None


def _files_with(owner: Any) -> set[Token | None]:
    """Files of modules that hold an object (a table of functions, say) under some name."""
    modules = [m for m in sys.modules.values() if getattr(m, "__file__", None)]
    return {_file_of(m) for m in modules if any(v is owner for v in vars(m).values())}
