"""ModelFile: what a model file holds, and what of it cannot run, for every ONNX file there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from engine import arguments
from engine.config import ForwardType, ScheduleConfig
from engine.describe import describe_support
from engine.errors import ConfigError, ModelError, ParallaxError, UnsupportedError
from engine.execution.pipelines import Pipelines
from engine.execution.plans import Shapes
from engine.info import ModelSurvey, OperatorCount, Support, Unsupported
from engine.interpreter import Interpreter
from engine.ir.graph import Graph, Node
from engine.onnx_import import Contents, Place, Refusal, read_contents
from engine.passes import bind_shapes, deciding_inputs, free_dimensions, infer_where_known
from engine.runtime import Runtime

ONNX = "ai.onnx"
IMPORTER, SHAPES = "importer", "shapes"


def survey(
    source: str | Path | bytes,
    config: ScheduleConfig | None = None,
    runtime: Runtime | None = None,
    shapes: Shapes | None = None,
) -> ModelSurvey:
    """What a model holds and what of it cannot run; allocates and compiles nothing of the model.

    Args:
        source: a path, or a serialised ModelProto.
        config: whose backends are asked; None: those of `ForwardType.AUTO`.
        shapes: of all inputs with free dimensions. Left out, backends are asked only about
            operators whose types are known all the same.

    Raises:
        ModelError: no ONNX model, or damaged beyond reading. InputError: shapes that contradict the
            declared ones, or are missing.
    """
    return ModelFile(source).survey(config, runtime, shapes)


class ModelFile:
    """A model file that was read once, for a survey and for sessions.

    Attributes:
        interpreter: None where something of the model cannot be imported.
        graph: what can be imported; all of it where there is an interpreter.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        self._contents: Contents = read_contents(arguments.model("survey", source))
        self._found = self._contents.found
        self.graph: Graph = self._found.graph
        self.interpreter: Interpreter | None = None
        if not self._found.refusals:
            try:
                self.interpreter = Interpreter(self.graph)
            except ParallaxError as error:
                self._found.refusals.append(Refusal("the model", error))

    def opened(self) -> Interpreter:
        """The interpreter; raises UnsupportedError or ModelError, as `Interpreter.from_file`."""
        if self.interpreter is None:
            raise self._found.error()
        return self.interpreter

    def survey(
        self,
        config: ScheduleConfig | None = None,
        runtime: Runtime | None = None,
        shapes: Shapes | None = None,
    ) -> ModelSurvey:
        """See `parallax.survey`."""
        if config is None:
            config = ScheduleConfig(type=ForwardType.AUTO)
        arguments.of_kind("survey", config, ScheduleConfig, "a ScheduleConfig", ConfigError)
        arguments.optional("runtime", runtime, Runtime, "a Runtime")
        shapes = None if shapes is None else arguments.shapes("survey: shapes", shapes)
        with ExitStack() as stack:
            used = runtime or stack.enter_context(Runtime())
            support, refused, problem = self._support(config, used, shapes)
        it = self._contents
        rows = [*map(_refused_by_importer, self._found.refusals), *refused, *_refused_by(support)]
        return ModelSurvey(
            name=it.name,
            producer=it.producer,
            ir_version=it.ir_version,
            opsets=it.opsets,
            inputs=it.inputs,
            outputs=it.outputs,
            parameters=it.elements,
            parameter_nbytes=it.nbytes,
            operators=tuple(_counts(it)),
            unsupported=tuple(_grouped(rows)),
            support=tuple(support),
            problem=problem,
        )

    def _support(
        self, config: ScheduleConfig, runtime: Runtime, shapes: Shapes | None
    ) -> tuple[list[Support], list[Unsupported], str]:
        """Of the optimised graph where its shapes are known, else of what there is."""
        free = "" if shapes is not None else ", ".join(free_dimensions(self.graph))
        deciding = ", ".join(map(repr, deciding_inputs(self.graph)))
        if free:
            problem = f"shapes are needed for {free}"
        elif deciding:
            problem = f"the value of input {deciding} decides shapes"
        elif self.interpreter is None:
            problem = "parts of the model cannot be imported"
        else:
            try:
                return self.interpreter.support(config, runtime, shapes), [], ""
            except (ModelError, UnsupportedError) as error:
                problem = str(error)
        graph = self.graph.copy() if free else bind_shapes(self.graph, shapes or {})
        refused = [_refused_shapes(n, e) for n, e in infer_where_known(graph).items()]
        asked = Pipelines([config]).backends(runtime).values()
        return [describe_support(graph.nodes, backend) for backend in asked], refused, problem


def _counts(contents: Contents) -> Iterator[OperatorCount]:
    """Most frequent first."""
    places: dict[tuple[str, str], list[Place]] = {}
    for occurrence in contents.found.occurrences:
        node = occurrence.node
        places.setdefault((node.op_type, node.domain or ONNX), []).append(occurrence.place)
    for (type_, domain), where in sorted(places.items(), key=lambda item: -len(item[1])):
        in_functions = sum(place.in_function for place in where)
        in_subgraphs = sum(place.in_subgraph for place in where)
        yield OperatorCount(type_, domain, len(where), in_functions, in_subgraphs)


# ---------------------------------------------------------------------- what cannot run
def _refused_by_importer(refusal: Refusal) -> Unsupported:
    node, reason = refusal.node, _reason(refusal.subject, refusal.error)
    if node is None:
        return Unsupported("", "", 1, refusal.subject, reason, IMPORTER)
    domain = node.domain or ONNX
    return Unsupported(node.op_type, domain, 1, refusal.subject, reason, IMPORTER)


def _refused_shapes(node: Node, error: ParallaxError) -> Unsupported:
    reason = _reason(node.title, error)
    return Unsupported(node.op_type, ONNX, 1, node.title, reason, SHAPES)


def _refused_by(support: Iterable[Support]) -> Iterator[Unsupported]:
    for found in support:
        for title, reason in found.missing.items():
            yield Unsupported(title.split(" ")[0], ONNX, 1, title, reason, found.backend)


def _reason(subject: str, error: ParallaxError) -> str:
    """The error's sentence without the names that are the node's own, so that alike is alike."""
    text = str(error).removeprefix(subject).removeprefix(":").strip()
    name = subject.partition("'")[2].removesuffix("'")
    return text.replace(f"'{name}/", "'") if name else text


def _grouped(rows: Iterable[Unsupported]) -> Iterator[Unsupported]:
    """One row for all that share operator and reason, in order of the first."""
    groups: dict[tuple[str, str, str, str], list[Unsupported]] = {}
    for row in rows:
        groups.setdefault((row.type, row.domain, row.reason, row.lacking), []).append(row)
    for first, *others in groups.values():
        yield Unsupported(
            first.type,
            first.domain,
            1 + len(others),
            first.first,
            first.reason,
            first.lacking,
        )
