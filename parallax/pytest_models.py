"""Models as tests of pytest: one for each model, device and precision (docs/pytest.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from conformance.devices import config_of, devices_named, identity_of, precision_of, target_of
from conformance.examples import STRATEGIES
from conformance.inputs import AnyFeeds
from conformance.known import Known
from conformance.report import VERIFIED, VerifyReport
from conformance.shapes import Shapes
from conformance.table import text_of
from conformance.table_failure import headline
from conformance.verify import Batches, verify
from engine.config import Precision
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.inputs import inputs_files, inputs_of
from parallax.options import check_names, model_files, parse_shapes

Given = Mapping[str, Any]
IN_A_NODE = "::"
"""What pytest takes for the end of a path."""
FIRST = "opencl"
"""What a test is called after where no device is named."""


@dataclass(frozen=True)
class Asked:
    """What the options say.

    Attributes:
        devices: as a user types them; None is the first OpenCL device.
        precisions: none for all that the device has.
    """

    models: tuple[Path, ...]
    devices: tuple[str | None, ...]
    precisions: tuple[Precision, ...]
    shapes: Shapes
    inputs: tuple[str, ...]
    inputs_from: str | None
    examples: int | None
    known: Known | None
    seed: int

    @classmethod
    def read(cls, given: Given, named: list[Path]) -> Asked:
        """Check the options; raises ParallaxError, pytest.UsageError.

        Args:
            named: models among the paths that pytest was given.
        """
        asked = [*(given["model"] or ()), *map(str, named)]
        files = tuple(dict.fromkeys(path.absolute() for path in model_files(asked)))
        if not files:
            option = next(name for name, value in given.items() if value is not None)
            raise pytest.UsageError(
                f"--parallax-{option}: no model: give --parallax-model, or an .onnx file as a path"
            )
        devices = devices_named(",".join(_split(given["device"])) or None)
        for device in devices:
            identity_of(device)
        arrays = inputs_files(given["inputs"] or ())
        if arrays and len(files) > 1:
            raise pytest.UsageError(
                f"--parallax-inputs {arrays[0]}: the arrays of one model, but {len(files)} are "
                "given"
            )
        for name in ("shape", "seed", "inputs-from"):
            if arrays and given[name] is not None:
                raise pytest.UsageError(
                    f"--parallax-{name} and --parallax-inputs exclude each other"
                )
        if given["inputs-from"] not in (None, STRATEGIES):
            raise pytest.UsageError(
                f"--parallax-inputs-from {given['inputs-from']}: expected {STRATEGIES}"
            )
        if given["examples"] is not None and given["inputs-from"] is None:
            raise pytest.UsageError("--parallax-examples: give --parallax-inputs-from, too")
        return cls(
            models=files,
            devices=tuple(devices),
            precisions=tuple(map(precision_of, _split(given["precision"]))),
            shapes=parse_shapes(given["shape"] or ()),
            inputs=tuple(arrays),
            inputs_from=given["inputs-from"],
            examples=_number("examples", given["examples"], 1),
            known=None if given["known"] is None else Known.read(given["known"]),
            seed=_number("seed", given["seed"], 0) or 0,
        )


def _split(texts: list[str] | None) -> list[str]:
    """Each once, in the order given; a trailing comma adds nothing."""
    parts = (part.strip() for text in texts or () for part in text.split(","))
    return list(dict.fromkeys(filter(None, parts)))


def _number(name: str, text: str | None, least: int) -> int | None:
    if text is not None and (not text.isdecimal() or int(text) < least):
        raise pytest.UsageError(f"--parallax-{name} {text}: expected {least} or more")
    return None if text is None else int(text)


class Models:
    """The plug-in where models are tested; its runtime is that of all tests of this process."""

    def __init__(self, config: pytest.Config, given: Given) -> None:
        folder = config.invocation_params.dir
        paths = [folder / arg.partition("::")[0] for arg in config.args]
        try:
            self.asked = Asked.read(given, [p for p in paths if p.suffix == ".onnx"])
        except ParallaxError as error:
            raise pytest.UsageError(f"parallax: {error}") from error
        known = {path.absolute() for path in paths}
        models = [model for model in self.asked.models if model not in known]
        config.args += [str(model) for model in models if IN_A_NODE not in str(model)]
        self._unnamed = [model for model in models if IN_A_NODE in str(model)]
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """Made when the first test runs."""
        self._runtime = self._runtime or Runtime()
        return self._runtime

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ModelFile | None:
        """A collector for each model that was asked for."""
        if file_path not in self.asked.models:
            return None
        file: ModelFile = ModelFile.from_parent(parent, path=file_path, models=self)
        return file

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """Add the tests of models that no argument of pytest can name."""
        collected = {item.path for item in items}  # of a folder that is an argument
        for model in (m for m in self._unnamed if m not in collected):
            file: ModelFile = ModelFile.from_parent(session, path=model, models=self)
            items += file.collect()

    def pytest_unconfigure(self) -> None:
        """Free the devices."""
        if self._runtime is not None:
            self._runtime.close()


class ModelFile(pytest.File):
    """Collects the tests of one model, without reading it."""

    def __init__(self, *, models: Models, **options: Any) -> None:
        super().__init__(**options)
        self.models = models

    def collect(self) -> Iterator[ModelTest]:
        """One for each device and precision."""
        asked = self.models.asked
        for device in asked.devices:
            is_cpu = device is not None and device.lower() == "cpu"
            every = (Precision.HIGH,) if is_cpu else tuple(Precision)
            for precision in asked.precisions or every:
                yield ModelTest.from_parent(
                    self,
                    name=f"{device or FIRST}-{precision.value}",
                    device=device,
                    precision=precision,
                )

    @cached_property
    def model(self) -> _Model:
        """Read once; raises ParallaxError."""
        asked = self.models.asked
        interpreter = Interpreter.from_file(self.path)
        if len(asked.models) == 1:
            check_names(interpreter, asked.shapes)
        shapes = {n: s for n, s in asked.shapes.items() if n in interpreter.inputs}
        batches = [inputs_of(interpreter, file) for file in asked.inputs]
        return _Model(interpreter, shapes, batches)


@dataclass(frozen=True)
class _Model:
    interpreter: Interpreter
    shapes: Shapes
    batches: list[AnyFeeds] = field(repr=False)

    @property
    def inputs(self) -> AnyFeeds | Batches | None:
        """As `verify` takes them."""
        return self.batches if len(self.batches) > 1 else next(iter(self.batches), None)


class ModelTest(pytest.Item):
    """A model on a device at a precision: passes where everything is verified."""

    parent: ModelFile

    def __init__(self, *, device: str | None, precision: Precision, **options: Any) -> None:
        super().__init__(**options)
        self.device, self.precision = device, precision
        self.add_marker("parallax")

    def setup(self) -> None:
        """Read the model, find the device: what fails here is an error, not a failure."""
        with _in_words():
            target = target_of(self.device, self.parent.models.runtime)
            config_of(target, self.precision)
            self.device_name = target[1] or "cpu"
            self.model = self.parent.model

    def runtest(self) -> None:
        """Verify; the message begins with the verdict and ends with the whole report."""
        asked = self.parent.models.asked
        with _in_words():
            report = verify(
                self.model.interpreter,
                device=self.device_name,
                precisions=[self.precision],
                seed=asked.seed,
                shapes=self.model.shapes,
                inputs=self.model.inputs,
                inputs_from=asked.inputs_from,
                examples=asked.examples,
                known=None if asked.known is None else asked.known.of(self.path.name),
                runtime=self.parent.models.runtime,
            )
        report = replace(report, model=str(self.path))
        self.user_properties += _properties(report)
        if report.exit_code != VERIFIED:
            pytest.fail(f"{headline(report)}\n\n{text_of(report)}", pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where pytest says that the test is."""
        return self.path, None, self.name


@contextmanager
def _in_words() -> Iterator[None]:
    """What Parallax refuses is told in its own sentence, without a traceback."""
    try:
        yield
    except ParallaxError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _properties(report: VerifyReport) -> list[tuple[str, object]]:
    """What JUnit's file says of each test: device, precision, and how near the worst came."""
    (found,) = report.precisions
    device = report.device
    numbers = [check.judgement for check in found.checks if check.on_device]
    return [
        ("device", f"{device.platform} / {device.name}, driver {device.driver}"),
        ("precision", found.requested),
        ("effective_precision", found.effective),
        ("verified", found.verified),
        ("worst_err_sigma", f"{max((j.sigmas for j in numbers), default=0.0):.3g}"),
        ("worst_err_bound", f"{max((j.bounds for j in numbers), default=0.0):.3g}"),
    ]
