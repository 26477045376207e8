"""The walk: calls with each feature, our reading of them beside those of other engines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conformance.expectation import Arrays, Expected, expect
from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.ops import OPERATORS
from engine.passes import bind_shapes, infer_where_known
from properties.hostile.asked import Call
from properties.hostile.calls import LIKE, Drawn, schemas
from properties.hostile.disagreements import explained
from properties.hostile.hearing import can_be_expected
from properties.hostile.verdict import differences
from properties.hostile.witnesses import WITNESSES, Court, Declined
from properties.witnessed.features import (
    Feature,
    features,
    give,
    has,
    values_of,
    versions,
)
from properties.witnessed.unwitnessed import why_not

AGREED = 2
"""Calls of a feature that each must be agreed on before it counts."""
TRIES, TRIES_WHERE_KNOWN, REFUSALS = 300, 30, 80
"""Calls of a feature at most; of one that is known to be unwitnessed; where all are refused."""


@dataclass
class Heard:
    """What came of the calls with one feature.

    Attributes:
        agreed: by witness, how many calls. known: calls with a known disagreement.
        declined: calls that no witness runs. idle: where the attribute changes nothing.
        refused: the last sentence with which we refuse a call, how often.
        against: the first reading that witnesses contradict and nothing explains.
    """

    agreed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WITNESSES, 0))
    known: int = 0
    declined: int = 0
    idle: int = 0
    refused: int = 0
    sentence: str = ""
    against: str = ""

    @property
    def verdict(self) -> str:
        """One of: contradicted, witnessed, refused, not witnessed."""
        if self.against:
            return "contradicted"
        if any(self.agreed.values()):
            return "witnessed"
        ran = self.known + self.declined + self.idle
        return "refused" if self.refused and not ran else "not witnessed"


def agreeing(all_: Iterable[Heard]) -> list[str]:
    """The witnesses that agree on some of what was heard."""
    found = list(all_)
    return [who for who in WITNESSES if any(heard.agreed[who] for heard in found)]


class Walk:
    """Hears features; our outputs are not asked, only our reading.

    Args:
        backend: whose bounds are used, a CPU one. seed: of all calls.
    """

    def __init__(self, backend: Backend, seed: int = 0) -> None:
        self._backend = backend
        self._court, self._seed = Court(lambda who: None), seed

    def hear(self, feature: Feature) -> Heard:
        """Draw calls with a feature until witnesses agree on enough of them."""
        rng = np.random.default_rng((self._seed, *f"{feature}".encode()))
        found = Heard()
        for _ in range(TRIES_WHERE_KNOWN if why_not(str(feature)) else TRIES):
            drawn = Drawn(rng, feature.op_type, feature.version)
            give(drawn, feature)
            if has(drawn, feature):
                self._hear(drawn, feature, found)
            only_refused = found.verdict == "refused" and found.refused >= REFUSALS
            if found.against or max(found.agreed.values()) >= AGREED or only_refused:
                break
        return found

    def _hear(self, drawn: Drawn, feature: Feature, found: Heard) -> None:
        data, feeds = drawn.model()
        try:
            expected = self._expected(data, feeds)
        except ParallaxError as error:
            found.refused += 1
            found.sentence = str(error).splitlines()[0]
            return
        if expected is None:
            return
        if feature.kind == "attribute" and self._is_idle(drawn, feature, expected, feeds):
            found.idle += 1
            return
        self._ask(Call(data, feeds), expected, found)

    def _ask(self, call: Call, expected: dict[str, Expected], found: Heard) -> None:
        against: dict[str, dict[str, str]] = {}
        heard = 0
        for name in WITNESSES:
            try:
                outputs = self._court.ask(name, call.data, call.feeds)
            except Declined:
                continue
            heard += 1
            if told := differences(outputs, expected):
                against[name] = told
            else:
                found.agreed[name] += 1
        if not heard:
            found.declined += 1
        elif len(against) == heard:
            if all(explained(call, name, told) for name, told in against.items()):
                found.known += 1
            else:
                found.against = "; ".join(
                    f"{name}: {output} {text}"
                    for name, told in against.items()
                    for output, text in told.items()
                )

    def _expected(self, data: bytes, feeds: Arrays) -> dict[str, Expected] | None:
        interpreter = Interpreter.from_buffer(data)
        graph = bind_shapes(interpreter.imported, {n: feeds[n].shape for n in interpreter.inputs})
        for refusal in infer_where_known(graph).values():
            raise refusal
        return expect(graph, feeds, self._backend) if can_be_expected(graph) else None

    def _is_idle(
        self, drawn: Drawn, feature: Feature, expected: dict[str, Expected], feeds: Arrays
    ) -> bool:
        """Whether our reading is the same without the attribute, and with its other values.

        Then the call shows nothing. Of attributes that must be given, every call shows something.
        """
        attribute = drawn.schema.attributes[feature.name]
        if attribute.required:
            return False
        without = {n: v for n, v in drawn.attributes.items() if n != feature.name}
        others: list[dict[str, Any]] = [without]
        if attribute.type.name == "STRING":
            values = set(values_of(drawn.schema, attribute)) - {feature.value}
            others += [{**without, feature.name: value} for value in sorted(values)]
        alike, *more = (self._reads_alike(drawn, other, expected, feeds) for other in others)
        return alike is True and False not in more

    def _reads_alike(
        self,
        drawn: Drawn,
        attributes: dict[str, Any],
        expected: dict[str, Expected],
        feeds: Arrays,
    ) -> bool | None:
        """Whether other attributes come to the same; None where they are refused."""
        data, fed = drawn.model(attributes)
        try:
            other = self._expected(data, {**fed, **feeds})
        except ParallaxError:
            return None
        return other is not None and all(
            np.array_equal(e.reference, other[n].reference, equal_nan=e.reference.dtype.kind == "f")
            and e.dtype == other[n].dtype
            for n, e in expected.items()
        )


def walked() -> list[str]:
    """Names of the operators that have a spec, or examples of one."""
    return [name for name in schemas() if LIKE.get(name, name) in OPERATORS]


def every_feature() -> Iterator[Feature]:
    """Of all operators."""
    for op_type in walked():
        for version in versions(op_type):
            yield from features(op_type, version)
