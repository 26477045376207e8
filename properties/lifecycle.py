"""The life of some sessions: everything a user can do with them, in any order, judged at once.

Every step takes small integers, so that hypothesis, a seeded hunt and a person can drive a life.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from engine.backends.protocol import Backend, LiveMemory
from engine.config import MemoryMode
from engine.errors import ClosedError, InputError, ModelReleased
from engine.interpreter import Interpreter
from engine.module import Module
from engine.runtime import Runtime
from properties.lifecycle_modules import ModuleTrack
from properties.lifecycle_subjects import Recipe, Reference, parts_of, subjects
from properties.lifecycle_track import Track, refused, require
from properties.memory import Violation

NOTHING = LiveMemory(buffers=0, commands=0, nbytes=0)
MOST_SESSIONS = 6
MOST_MODULES = 3
ON_OPENCL = ("high", "cpu", "normal", "low", "auto")
STEPS: dict[str, tuple[int, ...]] = {}
"""Name of each step -> the largest value of each of its arguments; the smallest is 0."""
OFTEN: list[str] = []
"""Names of steps, as often as they shall come in relation to one another."""


def step(*largest: int, often: int = 1) -> Callable[[Any], Any]:
    """A method of Life that may come at any time."""

    def note(method: Any) -> Any:
        STEPS[method.__name__] = largest
        OFTEN.extend([method.__name__] * often)
        return method

    return note


@dataclass
class Shared:
    """A runtime, with all backends that it ever made."""

    runtime: Runtime
    is_open: bool = True
    backends: dict[int, Backend] = field(default_factory=dict)

    def look(self) -> None:
        """Remember the backends, which a closed runtime forgets."""
        self.backends.update((id(b), b) for b in self.runtime._made())


@dataclass
class Loaded:
    """An interpreter."""

    subject: Any
    interpreter: Interpreter
    is_released: bool = False
    has_cache: bool = False


class Life:
    """Interpreters, runtimes, sessions and modules.

    Args:
        selector: "cpu", or an OpenCL device beside it. folder: for cache files.
        crowd: how many sessions it has at most; with few, more happens to each.
    """

    def __init__(
        self, selector: str, reference: Reference, folder: Path, crowd: int = MOST_SESSIONS
    ) -> None:
        self.crowd = crowd
        self.targets = ("cpu",) if selector == "cpu" else ON_OPENCL
        self.selector, self.reference, self.folder = selector, reference, folder
        self.loaded: list[Loaded] = []
        self.shared: list[Shared] = []
        self.tracks: list[tuple[Track, Loaded, Shared]] = []
        self.modules: list[tuple[ModuleTrack, Loaded, Shared]] = []
        self.count = 0

    def do(self, name: str, *numbers: int) -> None:
        """One step; whatever it raises that was not asked for is a Violation."""
        try:
            getattr(self, name)(*numbers)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{name}{numbers}: {type(error).__name__}: {error}") from error

    # ------------------------------------------------------------------ choosing
    def _track(self, which: int) -> Track:
        if all(track.closed for track, _, _ in self.tracks):
            self.create_session(which, which, which, 0, which, which)
        return self.tracks[which % len(self.tracks)][0]

    def _model(self, which: int) -> Loaded:
        """An interpreter of some subject, now and then another one of it."""
        subject = subjects()[which % len(subjects())]
        usable = [m for m in self.loaded if m.subject is subject and not m.is_released]
        if not usable:
            self.loaded.append(Loaded(subject, subject.open()))
            return self.loaded[-1]
        return usable[0]

    def _runtime(self, which: int) -> Shared:
        usable = [s for s in self.shared if s.is_open]
        if not usable:
            self.create_runtime(0)
            usable = self.shared[-1:]
        return usable[which % len(usable)]

    def _recipe(self, model: Loaded, part: int, target: int, save: int, memory: int) -> Recipe:
        parts = parts_of(model.subject)
        kind = ("whole", "whole", "split", "head", "tail")[part % 5] if parts.cuts else "whole"
        cut = parts.cuts[part // 5 % len(parts.cuts)] if kind != "whole" else ""
        names = parts.values if kind == "whole" else (cut,)
        passing = parts.passing if kind == "whole" and parts.passing else names
        picked = {0: (), 1: ("*",), 2: (passing[save // 4 % len(passing)],)}
        saved = picked.get(
            save % 4, tuple({names[save % len(names)], names[save // 3 % len(names)]})
        )
        mode = (MemoryMode.NORMAL, MemoryMode.HIGH)[memory % 2]
        targets = [self.targets[target % len(self.targets)]]
        if kind == "split":
            targets.append(self.targets[target // len(self.targets) % len(self.targets)])
        return Recipe(model.subject, kind, cut, tuple(targets), tuple(saved), mode)

    def _name(self, recipe: Recipe) -> str:
        self.count += 1
        return f"#{self.count} {recipe.subject} {recipe.part} {'+'.join(recipe.targets)}"

    # ------------------------------------------------------------------ making
    @step(1)
    def create_runtime(self, _: int) -> None:
        """One more, while there are few."""
        if len([s for s in self.shared if s.is_open]) < 3:
            self.shared.append(Shared(Runtime()))

    @step(63, 31, 24, 15, 1, 11)
    def create_session(
        self, subject: int, part: int, target: int, save: int, memory: int, how: int
    ) -> None:
        """`how`: whose runtime, whether shapes are given, whether to plan at once."""
        if len(self.tracks) >= self.crowd:
            closed = [i for i, (track, _, _) in enumerate(self.tracks) if track.closed]
            if not closed:
                return
            del self.tracks[closed[0]]
        model = self._model(subject)
        recipe = self._recipe(model, part, target, save, memory)
        own, given, defer = how % 3 == 2, how % 2 == 0 or recipe.part == "tail", how % 4 == 3
        shared = Shared(Runtime()) if own else self._runtime(how)
        shapes = model.subject.shapes[how % len(model.subject.shapes)] if given else None
        configs = recipe.configs(self.selector, defer=defer)
        session = model.interpreter.create_multi_path_session(
            configs, None if own else shared.runtime, shapes
        )
        if own:
            shared.runtime.close()
            shared = Shared(session.runtime, is_open=False)
            self.shared.append(shared)
        shared.look()
        inner = recipe.part == "tail"
        types = {n: t.shape or () for n, t in model.interpreter.inputs.items()}
        if inner:
            assert shapes is not None
            shape = self.reference.inner_shape(recipe, shapes)
            types, known = (
                {recipe.cut: tuple(f"axis{k}" for k in range(len(shape)))},
                {recipe.cut: shape},
            )
        else:
            known = dict(shapes or {})
        track = Track(self._name(recipe), session, recipe, self.reference, types)
        fixed = all(isinstance(d, int) for shape in types.values() for d in shape)
        track.made(known, planned=bool(known or fixed) and not defer)
        self.tracks.append((track, model, shared))

    @step(63, 4, 3)
    def create_module(self, subject: int, target: int, how: int) -> None:
        """Of a whole model, on a shared runtime; `how`: which, and whether shapes are given."""
        if len(self.modules) >= MOST_MODULES:
            return
        model, shared = self._model(subject), self._runtime(how)
        target_name = self.targets[target % len(self.targets)]
        recipe = Recipe(model.subject, "whole", "", (target_name,), (), MemoryMode.NORMAL)
        (config,) = recipe.configs(self.selector)
        parts, shapes = parts_of(model.subject), model.subject.shapes[0] if how % 2 else None
        module = Module(
            model.interpreter, config, shared.runtime, parts.inputs, parts.outputs, shapes
        )
        shared.look()
        track = ModuleTrack(self._name(recipe), module, recipe, self.reference)
        self.modules.append((track, model, shared))

    # ------------------------------------------------------------------ sessions
    @step(7, 1, 5)
    def resize_tensor(self, at: int, index: int, which: int) -> None:
        """Ask for one input's shape."""
        track = self._track(at)
        shapes = [*track.shapes(which).items()]
        track.resize_tensor(*shapes[index % len(shapes)])

    @step(7, 3)
    def resize_session(self, at: int, how: int) -> None:
        """Apply what was asked for; now and then afresh."""
        self._track(at).resize_session(reallocate=how == 3)

    @step(7, 5, often=3)
    def resize(self, at: int, which: int) -> None:
        """To shapes that the model accepts."""
        self._track(at).resize(which)

    @step(7, 5, 5, 5, 5)
    def resize_often(self, at: int, *each: int) -> None:
        """To four sets of shapes in a row."""
        for which in each:
            self._track(at).resize(which)

    @step(7, 5, 1)
    def resize_wrongly(self, at: int, which: int, how: int) -> None:
        """Is refused and changes nothing."""
        self._track(at).resize_wrongly(which, how)

    @step(7, 1, 9, 15, often=3)
    def write(self, at: int, index: int, seed: int, how: int) -> None:
        """One input, rightly or wrongly."""
        self._track(at).write(index, seed, how)

    @step(7, 1, 9)
    def attach(self, at: int, index: int, seed: int) -> None:
        """Lend an array as an input."""
        self._track(at).attach(index, seed)

    @step(7, 9)
    def refill(self, at: int, seed: int) -> None:
        """Change what was lent."""
        self._track(at).refill(seed)

    @step(7, 7, 1, 3)
    def take(self, at: int, other: int, index: int, output: int) -> None:
        """An input from another session's output."""
        self._track(at).take(index, self._track(other), output)

    @step(7, 5, 9, often=3)
    def run_with(self, at: int, which: int, seed: int) -> None:
        """With feeds of any shapes."""
        self._track(at).run_with(which, seed)

    @step(7, 47, often=3)
    def run(self, at: int, how: int) -> None:
        """On what the inputs hold."""
        self._track(at).run(how)

    @step(7, 15, 3, often=2)
    def read(self, at: int, index: int, how: int) -> None:
        """Anything that can be read, in one of four ways."""
        self._track(at).read(index, how)

    @step(7, 15)
    def begin_read(self, at: int, index: int) -> None:
        """Begin a read that `look_around` ends."""
        self._track(at).begin_read(index)

    @step(often=2)
    def look_around(self) -> None:
        """Whatever was done to others, every session and every result is what it was."""
        for track, _, _ in self.tracks:
            track.read_all()
            track.finish_reads()
        for module, _, _ in self.modules:
            module.read_all()

    @step(7, 3)
    def close_session(self, at: int, spare: int) -> None:
        """Its later use is refused."""
        if not spare:
            self._track(at).close()

    @step(7, 3)
    def release_session(self, at: int, spare: int) -> None:
        """By its interpreter; others refuse."""
        if spare:
            return
        track = self._track(at)
        _, model, _ = self.tracks[at % len(self.tracks)]
        for other in self.loaded:
            if other is not model:
                with refused(InputError):
                    other.interpreter.release_session(track.session)
                break
        model.interpreter.release_session(track.session)
        track.was_closed()

    @step(7, 3)
    def forget_session(self, at: int, spare: int) -> None:
        """Let go of a session without closing it."""
        if self.tracks and not spare:
            del self.tracks[at % len(self.tracks)]

    # ------------------------------------------------------------------ modules
    @step(2, 5, 9, 2)
    def forward(self, at: int, which: int, seed: int, other: int) -> None:
        """Run a module on arrays and on results of another."""
        if self.modules:
            module, _, _ = self.modules[at % len(self.modules)]
            module.forward(which, seed, self.modules[other % len(self.modules)][0].results)

    @step(2, 7, 1)
    def read_result(self, at: int, index: int, forget: int) -> None:
        """Read an old result, or let go of it."""
        if self.modules:
            module, _, _ = self.modules[at % len(self.modules)]
            (module.forget if forget else module.read)(index)

    @step(2)
    def clone(self, at: int) -> None:
        """Of a module; refused where its model or its runtime is gone."""
        if 0 < len(self.modules) < MOST_MODULES:
            module, model, shared = self.modules[at % len(self.modules)]
            if model.is_released or not shared.is_open:
                with refused(ModelReleased, ClosedError):
                    module.module.clone()
                return
            copy = module.module.clone()
            track = ModuleTrack(self._name(module.recipe), copy, module.recipe, self.reference)
            self.modules.append((track, model, shared))

    @step(2, 3)
    def close_module(self, at: int, spare: int) -> None:
        """Its unread results are lost."""
        if self.modules and not spare:
            self.modules.pop(at % len(self.modules))[0].close()

    # ------------------------------------------------------------------ interpreters
    @step(7)
    def release_model(self, at: int) -> None:
        """Then nobody makes sessions of it, and those it has go on."""
        if self.loaded:
            model = self.loaded[at % len(self.loaded)]
            model.interpreter.release_model()
            model.is_released = True
            with refused(ModelReleased):
                model.interpreter.create_session()

    @step(7, 7)
    def close_interpreter(self, at: int, spare: int) -> None:
        """Closes all of its sessions, those of modules included."""
        if not self.loaded or spare:
            return
        model = self.loaded.pop(at % len(self.loaded))
        model.interpreter.close()
        model.is_released = True
        for track, of, _ in self.tracks:
            if of is model:
                track.was_closed()
        for module, of, _ in self.modules:
            if of is model:
                module.close()

    @step(7, 1)
    def set_cache_file(self, at: int, path: int) -> None:
        """One of two files, whoever else uses it."""
        model = self._model(at)
        model.interpreter.set_cache_file(self.folder / f"kernels{path}")
        model.has_cache = True

    @step(7)
    def update_cache_file(self, at: int) -> None:
        """Afterwards nothing is unsaved."""
        for model in self.loaded[at % len(self.loaded) :] if self.loaded else ():
            if model.has_cache:
                model.interpreter.update_cache_file()
                report = model.interpreter.explain_cache()
                require(report.unsaved == 0, f"{model.subject}: {report.unsaved} unsaved entries")

    @step(1, 4)
    def damage_cache_file(self, path: int, how: int) -> None:
        """Flip a byte somewhere, or cut the file."""
        file = self.folder / f"kernels{path}"
        if file.exists() and (data := bytearray(file.read_bytes())):
            at = len(data) * how // 5
            if how == 1:
                del data[at:]
            else:
                data[at] ^= 0x40
            file.write_bytes(data)

    # ------------------------------------------------------------------ runtimes
    @step(2)
    def close_runtime(self, at: int) -> None:
        """Makes no more sessions; those it has go on."""
        if not self.shared:
            return
        shared = self.shared[at % len(self.shared)]
        shared.look()
        shared.runtime.close()
        shared.is_open = False
        model = self._model(at)
        with refused(ClosedError):
            model.interpreter.create_session(runtime=shared.runtime)

    @step(2)
    def trim(self, at: int) -> None:
        """Gives back what nobody uses; all of it where there are no sessions."""
        shared = self._runtime(at)
        shared.runtime.trim()
        users = [t for t, _, s in self.tracks if s is shared and not t.closed]
        if not users and not any(s is shared for _, _, s in self.modules):
            gc.collect()
            shared.runtime.trim()
            live = shared.runtime.live()
            require(live == NOTHING, f"a runtime without sessions holds {live}")

    @step()
    def weigh(self) -> None:
        """A runtime has at least the memory that its sessions say they use."""
        for shared in self.shared:
            said = [t.info() for t, _, s in self.tracks if s is shared]
            kept = sum(s.get("kept", 0) for s in said)
            weights = max((s.get("weights", 0) for s in said), default=0)
            live = sum({b.memory: b.live().nbytes for b in shared.backends.values()}.values())
            require(live >= kept + weights, f"{kept} + {weights} bytes in use, {live} allocated")

    # ------------------------------------------------------------------ the end
    def end(self) -> None:
        """Look at everything once more, close it in this order, and find nothing left."""
        self.do("look_around")
        self.do("weigh")
        backends = self._close_all()
        gc.collect()
        left = {b.memory: b.live() for b in backends.values() if b.live() != NOTHING}
        require(not left, f"after every session and runtime was closed: {[*left.values()]}")

    def _close_all(self) -> dict[int, Backend]:
        backends: dict[int, Backend] = {}
        for track, _, _ in self.tracks:
            track.close()
            track.close()
        for module, _, _ in self.modules:
            module.close()
        for shared in self.shared:
            shared.look()
            shared.runtime.close()
            shared.runtime.close()
            backends.update(shared.backends)
        self.tracks, self.modules, self.shared, self.loaded = [], [], [], []
        return backends


def seeded_life(
    selector: str, reference: Reference, folder: Path, seed: int, length: int = 50
) -> None:
    """A life of steps drawn from a seed; raises Violation with the steps in its message."""
    rng = np.random.default_rng(seed)
    life = Life(selector, reference, folder, 1 + seed % MOST_SESSIONS)
    done: list[str] = []
    try:
        for _ in range(length):
            name = OFTEN[rng.integers(len(OFTEN))]
            numbers = [int(rng.integers(0, n, endpoint=True)) for n in STEPS[name]]
            done.append(f"life.do({', '.join(map(str, [repr(name), *numbers]))})")
            life.do(name, *numbers)
        done.append("life.end()")
        life.end()
    except Violation as error:
        raise Violation("\n".join([str(error), *done])) from error


@contextmanager
def compiled_once() -> Iterator[None]:
    """Inside, every OpenCL context loads the programs that an earlier one compiled."""
    from engine.backends.opencl import program_cache
    from engine.backends.opencl.context import OpenCLContext

    real = OpenCLContext._build

    def build(self: Any, family: str, text: str, options: tuple[str, ...]) -> Any:
        key = (family, text, options, self.device)
        if key not in BINARIES:
            program = real(self, family, text, options)
            BINARIES[key] = program_cache.to_binary(self.cl, program, self.device)
            return program
        return program_cache.from_binary(self.cl, self.context, self.device, BINARIES[key])

    with mock.patch.object(OpenCLContext, "_build", build):
        yield


BINARIES: dict[Any, bytes] = {}
