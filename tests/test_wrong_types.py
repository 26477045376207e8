"""Whatever a public call is given, it works or raises a ParallaxError: nothing breaks inside."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import parallax as px
from tests.features.subjects import CHAIN, OPENCL, rows_of

pytestmark = pytest.mark.one_driver


class Anything:
    """A class that, called as a function, takes whatever comes."""

    def __init__(self, *_: object) -> None:
        """Nothing to keep."""


class Place:
    """Fresh subjects for one call, made when they are asked for."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.enter, self.folder = stack.enter_context, folder
        self.x = rows_of(2)

    @property
    def model(self) -> px.Interpreter:
        return self.enter(px.Interpreter.from_buffer(CHAIN))

    @property
    def runtime(self) -> px.Runtime:
        return self.enter(px.Runtime())

    @property
    def session(self) -> px.Session:
        session = self.enter(self.model.create_session(shapes={"x": (2, 4)}))
        session.run({"x": self.x})
        return session

    @property
    def tensor(self) -> px.Tensor:
        return self.session.input()

    @property
    def module(self) -> px.Module:
        return self.enter(px.Module.load(CHAIN))


WRONG: dict[str, Any] = {
    "None": None,
    "integer": 5,
    "negative": -1,
    "huge": 2**70,
    "float": 1.5,
    "NaN": float("nan"),
    "text": "zzz",
    "surrogate": "\ud800",
    "array of rank 0": np.array("s"),
    "bytes": b"",
    "object": object(),
    "type": Anything,
    "function": lambda *_: object(),
    "list": [],
    "list of integers": [7],
    "list of None": [None],
    "ragged": [[1.0], [1.0, 2.0]],
    "set": {"x"},
    "dict": {},
    "dict of None": {"x": None},
    "dict of objects": {"x": object()},
    "dict of dicts": {"x": {}},
    "dict by number": {3: (2, 4)},
    "dict of floats": {"x": (2.0, 4.0)},
    "dict of huge": {"x": (2**70, 4)},
    "array": np.zeros(3),
    "array of objects": np.array([None, "a"], dtype=object),
    "array of text": np.array(["a"]),
    "model": onnx.ModelProto(),
}

Call = tuple[Callable[..., Any], dict[str, Any]]
"""What is called, and arguments with which it works."""


def _forward(module: px.Module) -> Callable[..., Any]:
    return lambda inputs: module.forward(inputs)


def _release(model: px.Interpreter) -> Call:
    return model.release_session, {"session": model.create_session()}


CALLS: dict[str, Callable[[Place], Call]] = {
    "verify": lambda p: (
        px.verify,
        {
            "model": CHAIN,
            "device": "cpu",
            "precisions": ["high"],
            "seed": 0,
            "shapes": None,
            "inputs": {"x": p.x},
            "inputs_from": None,
            "examples": None,
            "not_finite": False,
            "expected": None,
            "against": None,
            "known": None,
            "runtime": None,
            "progress": None,
            "on_failure": None,
        },
    ),
    "survey": lambda p: (
        px.survey,
        {"source": CHAIN, "config": px.ScheduleConfig(), "runtime": None, "shapes": None},
    ),
    "create_runtime": lambda p: (px.create_runtime, {"configs": [px.ScheduleConfig()]}),
    "opencl_device": lambda p: (px.opencl_device, {"selector": OPENCL}),
    # ------------------------------------------------------------- configurations
    "ScheduleConfig": lambda p: (
        px.ScheduleConfig,
        {
            f.name: getattr(px.ScheduleConfig(), f.name)
            for f in dataclasses.fields(px.ScheduleConfig)
        }
        | {"type": "opencl"},
    ),
    "BackendConfig": lambda p: (
        px.BackendConfig,
        {"precision": "high", "memory": "normal", "power": "normal", "shared_context": None},
    ),
    "ScheduleConfig.may_use": lambda p: (
        px.ScheduleConfig().may_use,
        {"forward": px.ForwardType.CPU},
    ),
    "GraphPath": lambda p: (
        px.GraphPath,
        {"inputs": ["a"], "outputs": ["b"], "mode": "op", "include_sink": False},
    ),
    # ------------------------------------------------------------- Interpreter
    "Interpreter": lambda p: (px.Interpreter, {"graph": p.model.imported}),
    "Interpreter.from_file": lambda p: (px.Interpreter.from_file, {"path": "absent.onnx"}),
    "Interpreter.from_buffer": lambda p: (
        px.Interpreter.from_buffer,
        {"data": CHAIN, "name": "chain"},
    ),
    "Interpreter.support": lambda p: (
        p.model.support,
        {"config": px.ScheduleConfig(), "runtime": None, "shapes": {"x": (2, 4)}},
    ),
    "Interpreter.create_session": lambda p: (
        p.model.create_session,
        {"config": px.ScheduleConfig(), "runtime": None, "shapes": {"x": (2, 4)}},
    ),
    "Interpreter.create_multi_path_session": lambda p: (
        p.model.create_multi_path_session,
        {"configs": [px.ScheduleConfig()], "runtime": None, "shapes": {"x": (2, 4)}},
    ),
    "Interpreter.release_session": lambda p: _release(p.model),
    "Interpreter.set_cache_file": lambda p: (p.model.set_cache_file, {"path": p.folder / "cache"}),
    "Interpreter.update_cache_file": lambda p: (_cached(p).update_cache_file, {"session": None}),
    # ------------------------------------------------------------- Session
    "Session.input": lambda p: (p.session.input, {"name": "x"}),
    "Session.output": lambda p: (p.session.output, {"name": "y"}),
    "Session.resize": lambda p: (p.session.resize, {"shapes": {"x": (3, 4)}, "values": {}}),
    "Session.resize_tensor": lambda p: (p.session.resize_tensor, {"name": "x", "shape": (3, 4)}),
    "Session.resize_session": lambda p: (p.session.resize_session, {"reallocate": False}),
    "Session.write": lambda p: (p.session.write, {"name": "x", "array": p.x}),
    "Session.attach": lambda p: (p.session.attach, {"name": "x", "memory": p.x}),
    "Session.take": lambda p: (p.session.take, {"name": "x", "tensor": p.session.output()}),
    "Session.run": lambda p: (
        lambda feeds, others, listener, sync: p.session.run(
            feeds, *([others] if others is not None else []), listener=listener, sync=sync
        ),
        {"feeds": {"x": p.x}, "others": None, "listener": None, "sync": False},
    ),
    "Session.run_with_callbacks": lambda p: (
        p.session.run_with_callbacks,
        {"before": None, "after": None, "feeds": {"x": p.x}, "sync": False},
    ),
    "Session.__call__": lambda p: (p.session, {"feeds": {"x": p.x}}),
    "Session.profile": lambda p: (p.session.profile, {"feeds": {"x": p.x}}),
    "Session.read": lambda p: (p.session.read, {"name": "y"}),
    "Session.read_later": lambda p: (p.session.read_later, {"name": "y"}),
    "Session.value": lambda p: (p.session.value, {"name": "y"}),
    # ------------------------------------------------------------- Tensor, Var, Module
    "Tensor.write": lambda p: (p.tensor.write, {"array": p.x}),
    "Tensor.copy_from": lambda p: (p.tensor.copy_from, {"other": p.session.output()}),
    "Var": lambda p: (px.Var, {"array": p.x}),
    "Var.empty": lambda p: (px.Var.empty, {"shape": (2, 4), "dtype": np.float32}),
    "Module.load": lambda p: (
        px.Module.load,
        {
            "model": CHAIN,
            "inputs": ["x"],
            "outputs": ["y"],
            "config": None,
            "runtime": None,
            "shapes": None,
            "cache_file": None,
        },
    ),
    "Module.on_forward": lambda p: (p.module.on_forward, {"inputs": [p.x]}),
    "Module.forward": lambda p: (_forward(p.module), {"inputs": p.x}),
    "Module.__call__": lambda p: (lambda inputs: p.module(inputs), {"inputs": p.x}),
    # ------------------------------------------------------------- Runtime
    "Runtime.backend": lambda p: (
        p.runtime.backend,
        {"forward": px.ForwardType.CPU, "config": px.ScheduleConfig()},
    ),
}

NOT_THE_USERS = {
    "Runtime.adopt": "called by Session",
    "Runtime.dismiss": "called by Session",
    "Runtime.arena": "called by Session",
    "Session": "made by Interpreter.create_session",
    "Module": "made by Module.load",
    "Tensor": "made by Session.input and Session.output",
    "Var.of": "called by Module",
    "Var.feed": "called by Module",
}
"""Public by name, and called by the engine alone."""


def _cached(place: Place) -> px.Interpreter:
    model = place.model
    model.set_cache_file(place.folder / "cache")
    return model


class Subjects:
    """A call with its valid arguments, on subjects that are made anew when they were changed."""

    def __init__(self, path: str, folder: Path) -> None:
        self._path, self._folder, self._stack = path, folder, ExitStack()
        self.renew()

    def renew(self) -> None:
        """Make the subjects anew."""
        self._stack.close()
        self.function, self.arguments = CALLS[self._path](Place(self._stack, self._folder))

    def __enter__(self) -> None:
        """Made already."""

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def is_exempt(item: object) -> bool:
    """Enumerations have Python's own protocol; records and errors hold whatever they are given."""
    if not inspect.isclass(item):
        return not callable(item)
    is_record = dataclasses.is_dataclass(item) and "Config" not in item.__name__
    is_record &= item is not px.GraphPath
    return is_record or issubclass(item, (enum.Enum, Exception)) or item is px.PendingRead


def public_calls() -> Iterator[tuple[str, list[str]]]:
    """Every public function, constructor and method that takes anything, with its parameters."""
    for name in px.__all__:
        item = getattr(px, name)
        if is_exempt(item):
            continue
        found = {name: item}
        if inspect.isclass(item):
            for method, function in inspect.getmembers(item):
                if callable(function) and (not method.startswith("_") or method == "__call__"):
                    found[f"{name}.{method}"] = function
        for path, function in found.items():
            if path.endswith(".__call__") and "__call__" not in vars(item):
                continue
            parameters = [p for p in inspect.signature(function).parameters if p != "self"]
            if parameters:
                yield path, parameters


def test_the_table_has_every_public_call_and_every_parameter_of_it(tmp_path: Path):
    expected = {path: set(names) for path, names in public_calls() if path not in NOT_THE_USERS}
    with ExitStack() as stack:
        place = Place(stack, tmp_path)
        listed = {path: set(call(place)[1]) for path, call in CALLS.items()}
    assert listed == expected
    assert set(NOT_THE_USERS) <= {path for path, _ in public_calls()}


@pytest.mark.parametrize("path", CALLS)
def test_the_valid_arguments_of_the_table_are_valid(path: str, tmp_path: Path):
    with ExitStack() as stack:
        function, arguments = CALLS[path](Place(stack, tmp_path))
        if path == "Interpreter.from_file":
            with pytest.raises(px.ModelError, match="does not exist"):
                function(**arguments)
        else:
            function(**arguments)


@pytest.mark.parametrize("path", CALLS)
def test_a_wrong_argument_in_any_place_is_taken_or_refused_in_words(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    broken, subjects = [], Subjects(path, tmp_path)
    with subjects:
        for parameter in subjects.arguments:
            for kind, wrong in WRONG.items():
                try:
                    subjects.function(**{**subjects.arguments, parameter: wrong})
                except px.ParallaxError as error:
                    if not str(error):
                        broken.append(f"{parameter}={kind}: no words")
                    continue  # what refused it is as it was
                except Exception as error:
                    broken.append(f"{parameter}={kind}: {type(error).__name__}: {error}")
                subjects.renew()
    assert not broken, "\n".join(broken)


def test_the_same_holds_on_opencl(tmp_path: Path):
    settings = px.ScheduleConfig(type="opencl", device=OPENCL)
    with ExitStack() as stack:
        session = Place(stack, tmp_path).model.create_session(settings, shapes={"x": (2, 4)})
        for wrong in (*WRONG.values(), (7, 0), ([], 0), ("a", "b")):
            for call in (
                lambda wrong: session.write("x", wrong),
                lambda wrong: session.attach("x", wrong),
                lambda wrong: session.take("x", wrong),
                lambda wrong: px.create_runtime([lent(wrong)]),
            ):
                if wrong is not None:
                    with pytest.raises(px.ParallaxError):
                        call(wrong)


def lent(shared: object) -> px.ScheduleConfig:
    preferences = px.BackendConfig(shared_context=shared)
    return px.ScheduleConfig(type="opencl", backend_config=preferences)


# ------------------------------------------------------------------------- the words
MODEL_PROTO = onnx.load_model_from_string(CHAIN)
REMEDIES: dict[str, tuple[Callable[[Place], object], str]] = {
    "a path given to Interpreter": (
        lambda p: px.Interpreter("a.onnx"),
        "Interpreter: got 'a.onnx', expected a Graph; Interpreter.from_file reads a path",
    ),
    "no path": (
        lambda p: px.Interpreter.from_file(None),
        "from_file: got None, expected the path of an .onnx file",
    ),
    "bytes for a path": (
        lambda p: px.Interpreter.from_file(CHAIN),
        "Interpreter.from_buffer takes bytes",
    ),
    "a path for bytes": (
        lambda p: px.Interpreter.from_buffer("a.onnx"),
        "from_buffer: got 'a.onnx', expected the bytes of an .onnx file; Interpreter.from_file "
        "takes a path",
    ),
    "a ModelProto for a path": (
        lambda p: px.Interpreter.from_file(MODEL_PROTO),
        "got a ModelProto, expected the path of an .onnx file; give its .SerializeToString() to "
        "Interpreter.from_buffer",
    ),
    "a ModelProto for bytes": (
        lambda p: px.Interpreter.from_buffer(MODEL_PROTO),
        "give its .SerializeToString() to Interpreter.from_buffer",
    ),
    "a shape for shapes": (
        lambda p: p.model.create_session(shapes=(1, 4)),
        "got the tuple (1, 4), expected shapes by input name, such as {'x': (1, 3, 32, 32)}",
    ),
    "text in a shape": (
        lambda p: p.model.create_session(shapes={"x": (1, "3")}),
        "input 'x': shape the tuple (1, '3') is not a sequence of integers, such as",
    ),
    "a negative extent": (
        lambda p: p.session.resize({"x": (-1, 4)}),
        "input 'x': shape (-1, 4) has a negative extent",
    ),
    "an integer for shapes": (lambda p: p.session.resize(5), "resize: got 5, expected shapes by"),
    "one configuration for a list": (
        lambda p: px.create_runtime(px.ScheduleConfig()),
        "create_runtime: got a ScheduleConfig, expected a list of ScheduleConfig, as in "
        "create_runtime([config])",
    ),
    "a name for a configuration": (
        lambda p: p.model.create_session("opencl"),
        "create_session: got 'opencl', expected a ScheduleConfig",
    ),
    "no cache file": (
        lambda p: p.model.set_cache_file(None),
        "set_cache_file: got None, expected the path of a file",
    ),
    "an array for feeds": (
        lambda p: p.session(p.x),
        "session(feeds): got an array float32[2, 4], expected arrays by name, such as {'x': array}",
    ),
    "feeds as onnxruntime takes them": (
        lambda p: p.session.run(None, {"x": p.x}),
        "run takes the feeds alone: session(feeds) writes, runs and gives all outputs by name",
    ),
    "an array of another dtype": (
        lambda p: p.session({"x": p.x.astype(np.float64)}),
        "got float64[2, 4], expected float32[n,4]; convert the array, as in "
        "array.astype(np.float32)",
    ),
    "a number for a name": (
        lambda p: p.session.read(3),
        "output: got 3, expected a name, such as 'y'",
    ),
    "a session for a tensor": (
        lambda p: p.session.take("x", p.session),
        "expected a Tensor, as session.output() gives it",
    ),
    "nothing for a module": (
        lambda p: px.Module.load(None),
        "Module.load: got None, expected the path or the bytes of an .onnx file",
    ),
    "an array for the list of a module": (
        lambda p: p.module.on_forward(p.x),
        "on_forward: got an array float32[2, 4], expected a list of inputs, ['x']",
    ),
    "nothing to verify": (
        lambda p: px.verify(None),
        "verify: got None, expected the path or the bytes of an .onnx file",
    ),
    "one precision for a list": (
        lambda p: px.verify(CHAIN, device="cpu", precisions="high"),
        "precisions: got 'high', expected a list of precisions, such as ['high']",
    ),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_a_common_mistake_is_answered_with_its_remedy(case: str, tmp_path: Path):
    call, words = REMEDIES[case]
    with ExitStack() as stack, pytest.raises(px.ParallaxError, match=re.escape(words)):
        call(Place(stack, tmp_path))


# ---------------------------------------------------------------------- found by strangers
class NamesNothing:
    def __fspath__(self) -> str:
        return 5  # type: ignore[return-value]


NO_SHAPES = ["", "ab", b"\x01\x03", bytearray(b"ab"), {1: 2}, {3}, (True, 3), np.array([True])]


@pytest.mark.device_free
@pytest.mark.parametrize("shape", NO_SHAPES, ids=repr)
def test_texts_mappings_and_truth_values_are_no_shapes(shape):
    with pytest.raises(px.InputError, match="is not a sequence of integers"):
        px.Var.empty(shape)
    with px.Interpreter.from_buffer(CHAIN).create_session(shapes={"x": (2, 4)}) as session:
        with pytest.raises(px.InputError, match="is not a sequence of integers"):
            session.resize_tensor("x", shape)
        with pytest.raises(px.InputError, match="is not a sequence of integers"):
            session.resize({"x": shape})


@pytest.mark.device_free
def test_a_path_that_names_no_text_is_refused():
    with pytest.raises(px.InputError, match="expected the path"):
        px.Interpreter.from_file(NamesNothing())


@pytest.mark.device_free
@pytest.mark.parametrize("name", [".", "", "model.onnx", "MODEL.ONNX"])
def test_no_folder_and_no_model_is_a_cache_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = px.Interpreter.from_buffer(CHAIN)
    with pytest.raises(px.ConfigError, match="choose another file"):
        model.set_cache_file(name)


@pytest.mark.device_free
def test_a_stopped_run_is_the_same_error_in_another_process():
    error = px.RunStopped("Relu 'r'")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "the run was stopped by a callback after Relu 'r'"
    assert copy.operator == "Relu 'r'"


@pytest.mark.device_free
def test_what_is_closed_is_not_entered_again():
    session = px.Interpreter.from_buffer(CHAIN).create_session(shapes={"x": (2, 4)})
    module, runtime = px.Module.load(CHAIN), px.Runtime()
    for closed in (session, module, runtime):
        closed.close()
        with pytest.raises(px.ClosedError), closed:
            pytest.fail("it was entered")


@pytest.mark.device_free
def test_threads_are_compared_as_they_are_used(monkeypatch):
    monkeypatch.setattr("engine.backends.cpu.backend.cores", lambda: 2)
    model = px.Interpreter.from_buffer(CHAIN)
    with px.Runtime() as runtime:
        with pytest.warns(px.ParallaxWarning, match="2 are used"):
            model.create_session(px.ScheduleConfig(num_threads=4096), runtime)
        model.create_session(px.ScheduleConfig(num_threads=2), runtime)
        with pytest.raises(px.ConfigError, match="has 2 threads"):
            model.create_session(px.ScheduleConfig(num_threads=1), runtime)


@pytest.mark.device_free
def test_an_empty_list_of_precisions_is_refused():
    with pytest.raises(px.ConfigError, match="the list is empty"):
        px.verify(CHAIN, device="cpu", precisions=[])


@pytest.mark.device_free
def test_nothing_but_nan_proves_nothing():
    feeds = {"x": np.full((2, 4), np.nan, np.float32)}
    report = px.verify(CHAIN, device="cpu", inputs=feeds)
    assert (report.exit_code, report.verdict) == (3, "NOTHING VERIFIED")
    assert "only NaN, which proves nothing" in " ".join(str(report).split())


@pytest.mark.device_free
@pytest.mark.parametrize("wrong", [None, 1, "session", object()], ids=repr)
def test_a_runtime_serves_sessions_and_backends_only(wrong):
    with px.Runtime() as runtime:
        for call, what in ((runtime.adopt, "a Session"), (runtime.dismiss, "a Session")):
            with pytest.raises(px.InputError, match=what):
                call(wrong)
        with pytest.raises(px.InputError, match="a backend of this runtime"):
            runtime.arena(wrong)
