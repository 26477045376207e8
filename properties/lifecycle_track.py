"""One session, and what must hold for it: every call is made here and judged here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.backends.protocol import PendingRead
from engine.errors import ClosedError, ConfigError, InputError, RunStopped
from engine.session import Session
from properties.lifecycle_subjects import Recipe, Reference, Right, Shape, Shapes
from properties.memory import Violation

Key = tuple[tuple[str, Shape], ...]


@contextmanager
def refused(*errors: type[Exception]) -> Iterator[None]:
    """The block must raise one of these."""
    try:
        yield
    except errors:
        return
    raise Violation(f"nothing was refused; expected {' or '.join(e.__name__ for e in errors)}")


def require(holds: bool, claim: str) -> None:
    """Raise Violation with the claim unless it holds."""
    if not holds:
        raise Violation(claim)


def require_bits(who: str, got: np.ndarray, expected: np.ndarray) -> None:
    """The same dtype, shape and bytes."""
    same = got.dtype == expected.dtype and got.shape == expected.shape
    if same and got.tobytes() == expected.tobytes():
        return
    if not same:
        raise Violation(f"{who}: got {got.dtype}{got.shape}, not {expected.dtype}{expected.shape}")
    at = tuple(int(i) for i in np.argwhere(~((got == expected) | (got != got)))[:1].ravel())
    raise Violation(f"{who}: differs from a fresh session, first at {at}")


@dataclass
class State:
    """What the plan of one set of shapes must hold.

    Attributes:
        written: the contents of inputs; an attached array is the user's own.
        right: of the last run; None where there was none, or where it was stopped.
        is_blurred: a run was completed, whose results nobody promises.
        is_dirty: an input was written since the run.
    """

    written: dict[str, np.ndarray] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)
    right: Right | None = None
    is_blurred: bool = False
    is_dirty: bool = False


class Track:
    """A session of a recipe with a model of it."""

    def __init__(
        self,
        name: str,
        session: Session,
        recipe: Recipe,
        reference: Reference,
        types: Mapping[str, tuple[int | str, ...]],
    ) -> None:
        self.name, self.session, self.recipe = name, session, recipe
        self.reference = reference
        self.closed = False
        self.types = dict(types)
        self.known: Shapes = {}
        self.pending: Shapes = {}
        self.plans: OrderedDict[Key, State] = OrderedDict()
        self.state: State | None = None
        self.later: list[tuple[PendingRead, np.ndarray, str]] = []
        self.returned: list[tuple[np.ndarray, np.ndarray]] = []

    # ------------------------------------------------------------------ shapes
    def shapes(self, which: int) -> Shapes:
        """One of the sets of input shapes that the session accepts."""
        sets = self.recipe.subject.shapes
        chosen = sets[which % len(sets)]
        if self.recipe.part == "tail":
            return {self.recipe.cut: self.reference.inner_shape(self.recipe, chosen)}
        return dict(chosen)

    def bound(self, shapes: Shapes) -> Key | None:
        """Every input's shape, or None where free axes are unknown or contradict one another."""
        free: dict[str, int] = {}
        for name, shape in shapes.items():
            axes = self.types[name]
            if len(axes) != len(shape):
                return None
            for axis, extent in zip(axes, shape, strict=True):
                if (free.setdefault(axis, extent) if isinstance(axis, str) else axis) != extent:
                    return None
        try:
            return tuple(
                (n, tuple(free[d] if isinstance(d, str) else d for d in axes))
                for n, axes in self.types.items()
            )
        except KeyError:
            return None

    def made(self, shapes: Shapes, *, planned: bool) -> None:
        """The session was made with these shapes; whether it has a plan for them."""
        self.known = dict(shapes)
        if planned:
            key = self.bound(shapes)
            assert key is not None
            self._switch(key)

    def _switch(self, key: Key, *, afresh: bool = False) -> None:
        """Only the plan in use keeps what was written and computed."""
        if afresh or key not in self.plans or self.plans[key] is not self.state:
            left = self.state or State()
            lent = [left.written[name] for name in left.attached]
            self.returned += [(array, array.copy()) for array in lent]
            self.plans.pop(key, None)
            self.plans[key] = self.state = State()
        self.plans.move_to_end(key)
        while len(self.plans) > self.recipe.plans_kept:
            self.plans.popitem(last=False)

    def resize_tensor(self, name: str, shape: Shape) -> None:
        """Ask for a shape."""
        if self.closed:
            with refused(ClosedError):
                self.session.resize_tensor(name, shape)
            return
        self.session.resize_tensor(name, shape)
        if self.state is not None and dict(self.current)[name] == shape:
            self.pending.pop(name, None)
        else:
            self.pending[name] = shape

    @property
    def current(self) -> Key:
        """The shapes of the present plan."""
        return next(key for key, state in self.plans.items() if state is self.state)

    def resize_session(self, *, reallocate: bool = False) -> None:
        """Apply what was asked for, or find it refused and forgotten."""
        if self.closed:
            with refused(ClosedError):
                self.session.resize_session(reallocate=reallocate)
            return
        merged, unchanged = {**self.known, **self.pending}, self.state is not None
        unchanged = unchanged and not self.pending and not reallocate
        self.pending = {}
        key = self.current if unchanged else self.bound(merged)
        if key is None:
            with refused(InputError, ConfigError):
                self.session.resize_session(reallocate=reallocate)
            return
        report = self.session.resize_session(reallocate=reallocate)
        self._resized(key, report, reused=unchanged or (key in self.plans and not reallocate))
        self.known = merged if not unchanged else self.known

    def _resized(self, key: Key, report: Any, *, reused: bool) -> None:
        require(report.reused is reused, f"{self.name}: reused={report.reused}, expected {reused}")
        require(dict(report.shapes) == dict(key), f"{self.name}: {report.shapes} after {key}")
        self._switch(key, afresh=not reused)

    def resize(self, which: int) -> None:
        """To a set of shapes that the session accepts."""
        shapes = self.shapes(which)
        if self.closed:
            with refused(ClosedError):
                self.session.resize(shapes)
            return
        key = tuple(shapes.items())
        reused = key in self.plans
        self._resized(key, self.session.resize(shapes), reused=reused)
        self.pending = {}
        self.known.update(shapes)

    def resize_wrongly(self, which: int, how: int) -> None:
        """A wrong rank or an unknown name is refused and changes nothing."""
        shapes = self.shapes(which)
        last = next(reversed(shapes))
        wrong = {**shapes, last: (*shapes[last], 1)} if how % 2 else {**shapes, "nowhere": (1,)}
        before = self.session.resize_status
        with refused(ClosedError if self.closed else InputError):
            self.session.resize(wrong)
        now = self.session.resize_status
        require(now == before, f"{self.name}: a refused resize left {now}, before it was {before}")

    # ------------------------------------------------------------------ inputs
    def array(self, name: str, shape: Shape, seed: int) -> np.ndarray:
        """The same numbers for the same seed."""
        rng = np.random.default_rng([seed, len(name), *shape])
        return rng.standard_normal(shape).astype(np.float32)

    @property
    def why_not(self) -> type[Exception] | None:
        """What a call that needs a plan raises now."""
        if self.closed:
            return ClosedError
        return ConfigError if self.pending or self.state is None else None

    def write(self, index: int, seed: int, how: int) -> None:
        """One input; rightly, or with a wrong dtype or shape."""
        name = [*self.types][index % len(self.types)]
        shape = dict(self.current)[name] if self.state is not None else (1,)
        array = self.array(name, shape, seed)
        if self.why_not:
            with refused(self.why_not):
                self.session.write(name, array)
        elif how % 8 == 0:
            with refused(InputError):
                self.session.write(name, array.astype(np.float64))
        elif how % 8 == 1:
            with refused(InputError):
                self.session.write(name, array[None])
        elif how % 8 == 2:
            with self.session.input(name).map_write() as mapped:
                mapped[...] = array
            self._written(name, array)
        else:
            given = array.copy()
            self.session.write(name, given)
            given[...] = np.nan  # the user's again as soon as the call returns
            self._written(name, array)

    def _written(self, name: str, array: np.ndarray) -> None:
        assert self.state is not None
        if name in self.state.attached:
            require_bits(f"{self.name}: attached {name}", self.state.written[name], array)
        else:
            self.state.written[name] = array
        self.state.is_dirty = True

    def attach(self, index: int, seed: int) -> None:
        """An array of the user's, on the CPU backend."""
        name = [*self.types][index % len(self.types)]
        shape = dict(self.current)[name] if self.state is not None else (1,)
        array = self.array(name, shape, seed)
        if self.why_not:
            with refused(self.why_not):
                self.session.attach(name, array)
        elif self.session.input(name).backend != "cpu":
            with refused(InputError):
                self.session.attach(name, array)
        else:
            assert self.state is not None
            self.session.attach(name, array)
            self.state.written[name] = array
            self.state.attached.add(name)
            self.state.is_dirty = True

    def refill(self, seed: int) -> None:
        """The user changes what is attached."""
        for name in self.state.attached if self.state is not None and not self.closed else ():
            assert self.state is not None
            array = self.state.written[name]
            array[...] = self.array(name, array.shape, seed)
            self.state.is_dirty = True

    def take(self, index: int, other: Track, output: int) -> None:
        """An input from an output of another session."""
        if self.why_not or other.why_not:
            with refused(ConfigError):
                tensor = other.session.output(other.session.outputs[0])
                self.session.take(next(iter(self.types)), tensor)
            return
        assert self.state is not None
        assert other.state is not None
        name = [*self.types][index % len(self.types)]
        source = other.session.outputs[output % len(other.session.outputs)]
        tensor = other.session.output(source)
        if not other.is_complete or tensor.shape != self.session.input(name).shape:
            with refused(InputError):
                self.session.take(name, tensor)
        elif tensor.dtype == np.float32 and other.state.right is not None:
            self.session.take(name, tensor)
            self._written(name, other.state.right.tensors[source])

    # ------------------------------------------------------------------ runs
    def feeds(self, which: int, seed: int) -> dict[str, np.ndarray]:
        """Arrays for all inputs."""
        return {
            n: self.array(n, s, seed + i) for i, (n, s) in enumerate(self.shapes(which).items())
        }

    def run_with(self, which: int, seed: int) -> None:
        """Write all inputs and run."""
        feeds = self.feeds(which, seed)
        if self.closed:
            with refused(ClosedError):
                self.session.run(feeds)
            return
        self._fed(feeds)
        self.session.run(feeds)
        self._ran()

    def _fed(self, feeds: dict[str, np.ndarray]) -> None:
        """The model's part of a run with feeds."""
        key = tuple((n, a.shape) for n, a in feeds.items())
        self.pending = {}
        self.known.update(dict(key))
        self._switch(key)
        assert self.state is not None
        for name, array in feeds.items():
            if name not in self.state.attached:
                self.state.written[name] = array

    def run(self, how: int) -> None:
        """On what the inputs hold; plainly, waiting, or with callbacks."""
        calls: tuple[Callable[[], None], ...] = (
            self.session.run,
            self.session.run,
            lambda: self.session.run(sync=True),
            self._run_compared,
            lambda: self._run_stopped(how // 8),
            self._run_skipped,
        )
        call = calls[how % len(calls)]
        if self.why_not:
            with refused(self.why_not):
                call()
        elif self.state is not None and len(self.state.written) < len(self.types):
            with refused(InputError):
                call()
        else:
            call()
            if how % len(calls) < 4:
                self._ran()

    def _ran(self) -> None:
        assert self.state is not None
        self.state.right, self.state.is_blurred = self._right(), False
        self.state.is_dirty = False

    def _right(self) -> Right:
        assert self.state is not None
        return self.reference.right(self.recipe, dict(self.state.written))

    def _run_compared(self) -> None:
        """Every operator's results, as callbacks see them."""
        right = self._right() if self.state and len(self.state.written) == len(self.types) else None

        def after(tensors: Any, operator: Any) -> None:
            for tensor in tensors:
                if right is not None and tensor.name in right.tensors:
                    who = f"{self.name}: {tensor.name} after {operator.title}"
                    require_bits(who, tensor.read(), right.tensors[tensor.name])

        self.session.run_with_callbacks(None, after)

    def _run_stopped(self, at: int) -> None:
        seen: list[str] = []

        def after(_: Any, operator: Any) -> bool:
            seen.append(operator.title)
            return len(seen) <= at

        try:
            self.session.run_with_callbacks(None, after)
        except RunStopped:
            assert self.state is not None
            self.state.right, self.state.is_blurred = None, False
            require(len(seen) == at + 1, f"{self.name}: stopped after {len(seen)}, not {at + 1}")
            return
        require(len(seen) <= at, f"{self.name}: was not stopped")
        self._ran()

    def _run_skipped(self) -> None:
        """Nothing is computed, so that everything holds what it held."""
        self.session.run_with_callbacks(lambda *_: False)
        assert self.state is not None
        self.state.is_blurred = self.state.right is None

    # ------------------------------------------------------------------ results
    @property
    def is_complete(self) -> bool:
        """Whether results may be read."""
        return self.state is not None and (self.state.right is not None or self.state.is_blurred)

    @property
    def names(self) -> list[str]:
        """What may be read."""
        if self.why_not:
            return self.session.outputs
        return [*self.session.outputs, *self.session.saved]

    def read(self, index: int, how: int) -> None:
        """One output or saved tensor."""
        name = self.names[index % len(self.names)]
        read: Any = (
            self.session.read,
            lambda n: self.session.read_later(n).result(),
            lambda n: self.session.output(n).read(),
            lambda n: self.session.output(n).read_later().result(),
        )[how % 4]
        is_input = self.state is not None and how % 4 >= 2 and name in self.types
        there = name in self.state.written if self.state and is_input else self.is_complete
        if not self.why_not and how % 4 >= 2 and self.session.output(name).backend == "":
            read(name)  # the shapes alone decide it, and a Tensor knows it before a run
            return
        if self.why_not or not there:
            with refused(self.why_not or InputError):
                read(name)
            return
        if is_input:
            read(name)
            return
        got, expected = read(name), self._expected(name)
        if expected is not None:
            require_bits(f"{self.name}: {name}", got, expected)

    def _expected(self, name: str) -> np.ndarray | None:
        assert self.state is not None
        if self.state.right is None or (self.state.is_dirty and name in self.types):
            return None
        return self.state.right.tensors.get(name)

    def read_all(self) -> None:
        """Everything that can be read is what it must be; memory once lent is the user's again."""
        for array, copy in self.returned:
            require_bits(f"{self.name}: memory that was attached", array, copy)
        if not self.why_not and self.is_complete:
            for index in range(len(self.names)):
                self.read(index, 0)

    def begin_read(self, index: int) -> None:
        """Begin a read that `finish_reads` ends, after whatever happens in between."""
        if self.why_not or not self.is_complete:
            return
        name = self.names[index % len(self.names)]
        expected = self._expected(name)
        if expected is not None:
            self.later.append((self.session.read_later(name), expected, f"{self.name}: {name}"))

    def finish_reads(self) -> None:
        """What was begun gives what held when it was begun."""
        for pending, expected, who in self.later:
            require_bits(f"{who}, read later", pending.result(), expected)
        self.later.clear()

    # ------------------------------------------------------------------ memory and life
    def info(self) -> dict[str, int]:
        """Kept bytes and device weights by backend; {} where there is no plan."""
        if self.closed or self.state is None:
            with refused(ClosedError if self.closed else ConfigError):
                self.session.info()
            return {}
        memory = self.session.info().memory
        if self.state.right is not None:
            kept = {n: m.kept_nbytes for n, m in memory.items()}
            require(
                kept == dict(self.state.right.kept_nbytes),
                f"{self.name}: inputs, outputs and {self.recipe.save} take {kept} bytes, expected "
                f"{self.state.right.kept_nbytes}",
            )
        return {
            "kept": sum(m.kept_nbytes for m in memory.values()),
            "weights": sum(m.weights_nbytes for m in memory.values() if m.on_device),
        }

    def close(self) -> None:
        """Any number of times."""
        self.session.close()
        self.was_closed()

    def was_closed(self) -> None:
        """Somebody closed it."""
        self.closed, self.state = True, None
        self.plans.clear()
        require(self.session.closed, f"{self.name}: was not closed")
