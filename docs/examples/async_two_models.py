"""Two models in series on one queue: whose time is it?

A is heavy, B takes A's result and is light. Timed around each call, B seems to be the slow one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from place import config_on, device_argument

import parallax as px
from perf.profiled import profile
from perf.subject import drain

ROWS, WIDTH, LAYERS, CLASSES = 512, 768, 12, 8


def chain(name: str, widths: list[int]) -> bytes:
    """A model of matrix products, float32[ROWS, widths[0]] to float32[ROWS, widths[-1]]."""
    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for i, (k, n) in enumerate(pairwise(widths)):
        weight = f"w{k}x{n}"
        weights[weight] = rng.normal(0, k**-0.5, (k, n)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [f"x{i}", weight], [f"x{i + 1}"], f"{name}{i}"))
    ends = [("x0", widths[0]), (f"x{len(nodes)}", widths[-1])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (ROWS, w)) for n, w in ends)
    constants = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, name, [x], [y], constants)
    imports = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


@dataclass(frozen=True)
class Split:
    """Seconds booked under each of two models."""

    a_s: float
    b_s: float

    @property
    def share_of_b(self) -> float:
        """B's part of the whole."""
        return self.b_s / (self.a_s + self.b_s)


class Pair:
    """Both models, on the devices given; on one device they share a runtime."""

    def __init__(self, device_a: str, device_b: str) -> None:
        self.runtimes = [px.Runtime()]
        if device_b != device_a:
            self.runtimes.append(px.Runtime())
        heavy, light = chain("A", [WIDTH] * (LAYERS + 1)), chain("B", [WIDTH, CLASSES])
        self.a = px.Module.load(heavy, config=config_on(device_a), runtime=self.runtimes[0])
        self.b = px.Module.load(light, config=config_on(device_b), runtime=self.runtimes[-1])
        self.x = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
        self.synced()

    def naive(self) -> Split:
        """The clock is read around each call; only the last one reads a result."""
        start = time.perf_counter()
        (middle,) = self.a.on_forward([self.x])
        after_a = time.perf_counter()
        (result,) = self.b.on_forward([middle])
        result.read_map()
        return Split(after_a - start, time.perf_counter() - after_a)

    def synced(self) -> Split:
        """The same, but the queue is empty before the clock goes on to B."""
        start = time.perf_counter()
        (middle,) = self.a.on_forward([self.x])
        self._drain()
        after_a = time.perf_counter()
        (result,) = self.b.on_forward([middle])
        result.read_map()
        return Split(after_a - start, time.perf_counter() - after_a)

    def by_events(self) -> Split:
        """The device's own record of when each command started and ended."""
        runs = [run for m in (self.a, self.b) for run in profile(m.session, 1, drain)[0]]
        a_ns, b_ns = (run.busy_ns + run.host_busy_ns for run in runs)
        return Split(a_ns / 1e9, b_ns / 1e9)

    def _drain(self) -> None:
        for runtime in self.runtimes:
            runtime.synchronize()

    def close(self) -> None:
        """Free both."""
        self.a.close()
        self.b.close()
        for runtime in self.runtimes:
            runtime.close()


def shares(device_a: str, device_b: str, runs: int = 5) -> dict[str, Split]:
    """For each way of timing, the run with the median share of B."""
    pair = Pair(device_a, device_b)
    try:
        found: dict[str, Split] = {}
        for name in ("naive", "synced", "by_events"):
            splits = [getattr(pair, name)() for _ in range(runs)]
            middle = median(split.share_of_b for split in splits)
            found[name] = min(splits, key=lambda s, m=middle: abs(s.share_of_b - m))  # type: ignore[misc]
        return found
    finally:
        pair.close()


def main(device: str = "portable", runs: int = 5) -> None:
    """The three rows of the puzzle, each timed in three ways."""
    print("A on         B on         timing        A ms     B ms   share of B")
    for device_a, device_b in ((device, device), (device, "cpu"), ("cpu", device)):
        for name, split in shares(device_a, device_b, runs).items():
            bar = "#" * round(20 * split.share_of_b)
            print(f"{device_a:<12} {device_b:<12} {name:<10} {split.a_s * 1e3:>7.2f}  "
                  f"{split.b_s * 1e3:>7.2f}  {split.share_of_b:>6.0%}  {bar}")  # fmt: skip


if __name__ == "__main__":
    main(device_argument("portable"))
