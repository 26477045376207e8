"""Simulated arms: the real agent on devices of make-believe, whose clock is a number.

A whole gate, launches, checks, statistics and verdict, takes milliseconds and depends on nothing
but its seed. The machine drifts, neighbours come and go, and every process has a luck of its own,
as real ones do; arms can be broken in every way that the gate must notice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perf.gate import agent
from perf.gate.process import Arm, Build
from perf.gate.records import ARMS, BASE, CAND
from perf.launch import WorkerError

KERNELS = {"conv2d": 4_000_000, "matmul": 3_000_000, "softmax": 500_000}
"""Of every model, and what each takes in ns."""
ENQUEUE_NS = 300_000
DRIFT_MS = 400
"""After which a drift begins again."""
DEVICE, DRIVER = "Make / believe", "1.0"


@dataclass
class Machine:
    """What all processes share: the clock, and how fast things are just now.

    Attributes:
        launch_spread: of the luck of a process, a standard deviation of the log. drift: of the
            log by each ms. noise: of each measurement.
        burden: how much slower work is, by the arm whose turn it is and the launch.
    """

    seed: int = 0
    launch_spread: float = 0.004
    noise: float = 0.02
    drift: float = 0.0
    burden: Callable[[str, int], float] = lambda arm, launch: 1.0
    now_ns: float = 1e9
    launch: int = -1

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def clock(self) -> int:
        """ns."""
        return int(self.now_ns)

    def lasting(self, ns: float, arm: str) -> float:
        """How long some work takes now."""
        drifted = self.drift * (self.now_ns / 1e6 % DRIFT_MS)
        slow = math.exp(self.draw.gauss(0, self.noise) + drifted)
        return ns * slow * self.burden(arm, self.launch)


@dataclass
class Behaviour:
    """What an arm does, and how it lies.

    Attributes:
        slow: by kernel of a model, factors; host_slow: of enqueueing. slow_in: the launches that
            are slow, None for all. fails: the exception of a request, by its name. reply: what
            becomes of an answer. drained_share, drained_queues: how much of what is in flight the
            last drain waits for, and of how many queues. remembers: outputs, for any inputs.
    """

    slow: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    host_slow: float = 1.0
    slow_in: Callable[[int], bool] = lambda launch: True
    drained_share: float = 1.0
    queues: int = 1
    drained_queues: int = 1
    remembers: bool = False
    wrong: float = 0.0
    device: str = DEVICE
    driver: str = DRIVER
    precision: str = "high"
    fails: Mapping[str, WorkerError] = field(default_factory=dict)
    reply: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda do, reply: reply


class Models:
    """See `perf.gate.agent.Models`: kernels on one or two in-order queues."""

    def __init__(self, machine: Machine, arm: str, behaviour: Behaviour, luck: float) -> None:
        self._machine, self._arm, self._behaviour, self._luck = machine, arm, behaviour, luck
        self._busy_until = [0.0] * behaviour.queues
        self._written: dict[str, float] = {}
        self._answers: dict[str, float] = {}
        self._drains = 0

    def load(self, name: str, path: str) -> None:
        """There is nothing to read."""

    def infer(self, name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `perf.gate.agent.Models`."""
        self.write(name, feeds)
        self.run(name)
        return self.outputs(name)

    def write(self, name: str, feeds: Mapping[str, Any]) -> None:
        """See `perf.gate.agent.Models`."""
        self._written[name] = float(np.ravel(next(iter(feeds.values())))[0])

    def run(self, name: str) -> None:
        """Each kernel goes to the next queue."""
        if self._behaviour.remembers and name in self._answers:
            self._machine.now_ns += 1000
            return
        self._machine.now_ns += self._lasting(ENQUEUE_NS * self._host())
        for i, ns in enumerate(self._kernels(name).values()):
            queue = (i + 1) % len(self._busy_until)
            start = max(self._busy_until[queue], self._machine.now_ns)
            self._busy_until[queue] = start + self._lasting(ns)
        self._answers[name] = self._written[name] + self._behaviour.wrong

    def _is_slow(self) -> bool:
        return self._behaviour.slow_in(self._machine.launch)

    def _host(self) -> float:
        return self._behaviour.host_slow if self._is_slow() else 1.0

    def _kernels(self, name: str) -> dict[str, float]:
        slow = self._behaviour.slow.get(name, {}) if self._is_slow() else {}
        return {kernel: ns * slow.get(kernel, 1.0) for kernel, ns in KERNELS.items()}

    def _lasting(self, ns: float) -> float:
        return self._machine.lasting(ns * self._luck, self._arm)

    def drain(self) -> None:
        """Every second one ends a timed run."""
        self._drains += 1
        if self._drains % 2:
            self._wait(self._busy_until)
        else:
            kept, share = self._behaviour.drained_queues, self._behaviour.drained_share
            now = self._machine.now_ns
            self._wait([now + share * (end - now) for end in self._busy_until[:kept]])
        self._machine.now_ns += 2000

    def _wait(self, ends: list[float]) -> None:
        self._machine.now_ns = max(self._machine.now_ns, *ends)

    def outputs(self, name: str) -> dict[str, Any]:
        """See `perf.gate.agent.Models`."""
        self._wait(self._busy_until)
        self._machine.now_ns += 5000
        return {"y": np.array([self._answers[name]])}

    def profile(self, name: str) -> dict[str, Any]:
        """See `perf.gate.agent.Models`."""
        kernels = {k: self._lasting(ns) for k, ns in self._kernels(name).items()}
        submit, device = self._lasting(ENQUEUE_NS * self._host()), sum(kernels.values())
        self._machine.now_ns += submit + device
        parts = dict.fromkeys(agent.PARTS, 0.0)
        parts |= {"device_ns": device, "submit_ns": submit, "synced_ns": device + submit}
        nodes = {f"Node '{kernel}'": ns for kernel, ns in kernels.items()}
        return {"account": parts, "kernels": kernels, "nodes": nodes}

    def facts(self, name: str) -> dict[str, Any]:
        """See `perf.gate.agent.Models`."""
        lie = self._behaviour
        return {
            "device": lie.device,
            "driver": lie.driver,
            "precision": lie.precision,
            "fallbacks": [],
        }


class SimulatedAgent(agent.Agent):
    """The agent, but for what it would ask the real machine."""

    def __init__(self, machine: Machine, arm: str, behaviour: Behaviour) -> None:
        super().__init__(machine.clock)
        self._machine, self._arm, self._behaviour = machine, arm, behaviour

    def hello(self, **_: Any) -> dict[str, Any]:
        """See `perf.gate.agent.Agent`."""
        luck = math.exp(self._machine.draw.gauss(0, self._machine.launch_spread))
        self._models = Models(self._machine, self._arm, self._behaviour, luck)
        return {
            "pid": self._machine.draw.randrange(2**40),
            "python": "3",
            "machine": ["here", "make-believe", 2],
            "cores": [0, 1],
            "variables": {},
            "versions": {"numpy": "2"},
            "imported": f"/{self._arm}/engine",
            "sources": self._arm,
        }

    def _control(self) -> tuple[int, int]:
        ns = int(self._machine.lasting(5_000_000, self._arm))
        self._machine.now_ns += ns
        return ns, ns


class Process:
    """A simulated process; see `perf.gate.process.Process`."""

    def __init__(self, machine: Machine, arm: str, behaviour: Behaviour) -> None:
        self._agent = SimulatedAgent(machine, arm, behaviour)
        self._machine, self._behaviour = machine, behaviour

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """See `perf.gate.process.Process`."""
        self._machine.now_ns += 10_000
        if do in self._behaviour.fails:
            raise self._behaviour.fails[do]
        reply = self._behaviour.reply(do, getattr(self._agent, do)(**arguments))
        self._machine.now_ns += 10_000
        return reply

    def close(self) -> None:
        """There is none."""


@dataclass
class Simulation:
    """Both arms on one machine; `start` is what a `perf.gate.launches.Bench` takes."""

    machine: Machine = field(default_factory=Machine)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)

    @property
    def arms(self) -> dict[str, Arm]:
        """As the gate is told they are."""
        builds = {arm: Build(arm, path=f"/{arm}", sources=arm) for arm in ARMS}
        return {arm: Arm(builds[arm], "make", "high", DEVICE) for arm in ARMS}

    def start(self, arm: str, seed: int) -> Process:
        """A process; with the baseline's a launch begins."""
        self.machine.launch += arm == BASE
        return Process(self.machine, arm, self.behaviours.get(arm, Behaviour()))


def slower(model: str, kernel: str, total: float) -> dict[str, Behaviour]:
    """A candidate with one kernel that makes a model slower by a share of its whole latency."""
    whole = sum(KERNELS.values()) + ENQUEUE_NS
    factor = 1 + total * whole / KERNELS[kernel]
    return {CAND: Behaviour(slow={model: {kernel: factor}})}
