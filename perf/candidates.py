"""Candidates: what could run a model here, and how a measuring process is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.backends import registry
from perf.launch import Worker

PEER = "onnxruntime"


@dataclass(frozen=True)
class Candidate:
    """Parallax on a device at a precision, or onnxruntime's CPU provider.

    Attributes:
        device: "cpu", what selects an OpenCL device, or `PEER`.
    """

    device: str
    precision: str = "high"

    @property
    def is_peer(self) -> bool:
        """Whether this is somebody else's engine."""
        return self.device == PEER

    def load(
        self, worker: Worker, model: str, feeds: str, threads: int | None, **options: Any
    ) -> dict[str, Any]:
        """Load a model in a process, see `perf.arms.Arm.load`; raises WorkerError.

        Args:
            feeds: a file of `perf.arrays` with every input.
            threads: None for as many as the CPU backend would take; OpenCL devices have their own.
        """
        if self.is_peer:
            options |= {"engine": PEER, "threads": threads or registry.cpu_threads()}
        else:
            options |= {"device": self.device, "precision": self.precision}
            options |= {"threads": threads if self.device == "cpu" else None}
        return worker.ask("load", model=model, feeds=feeds, **options)
