"""Modules and their results, and what must hold for them."""

from __future__ import annotations

import numpy as np

from engine.errors import ClosedError, InputError
from engine.module import Module
from engine.var import Var
from properties.lifecycle_subjects import Recipe, Reference
from properties.lifecycle_track import refused, require, require_bits


class ModuleTrack:
    """A module of a whole model, with the results that it gave."""

    def __init__(self, name: str, module: Module, recipe: Recipe, reference: Reference) -> None:
        self.name, self.module, self.recipe = name, module, recipe
        self.reference = reference
        self.closed = False
        self.results: list[tuple[Var, np.ndarray, str]] = []

    def forward(self, which: int, seed: int, others: list[tuple[Var, np.ndarray, str]]) -> None:
        """One inference, on results of other modules where their shapes fit.

        Args:
            others: results with what they must hold.
        """
        sets = self.recipe.subject.shapes
        given: list[Var | np.ndarray] = []
        arrays: dict[str, np.ndarray] = {}
        for index, (name, shape) in enumerate(sets[which % len(sets)].items()):
            fitting = [o for o in others if o[1].shape == shape and o[1].dtype == np.float32]
            if fitting and (seed + index) % 3:
                var, array, _ = fitting[seed % len(fitting)]
                given.append(var)
                arrays[name] = array
            else:
                rng = np.random.default_rng([seed, index, *shape])
                arrays[name] = rng.standard_normal(shape).astype(np.float32)
                given.append(arrays[name])
        if self.closed:
            with refused(ClosedError):
                self.module.on_forward(given)
            return
        with refused(InputError):
            self.module.on_forward([*given, given[0]])
        results = self.module.on_forward(given)
        right = self.reference.right(self.recipe, arrays)
        for output, var in zip(self.module.outputs, results, strict=True):
            expected = right.tensors[output]
            require(var.shape == expected.shape, f"{self.name}: {output} has shape {var.shape}")
            self.results.append((var, expected, f"{self.name}: result {output}"))

    def read(self, index: int) -> None:
        """A result, old or new."""
        if self.results:
            var, expected, who = self.results[index % len(self.results)]
            require_bits(who, var.read_map(), expected)

    def forget(self, index: int) -> None:
        """Let go of a result."""
        if self.results:
            del self.results[index % len(self.results)]

    def read_all(self) -> None:
        """Every result keeps its value for ever."""
        for index in range(len(self.results)):
            self.read(index)

    def close(self) -> None:
        """Results that were not read are lost, and say so."""
        self.module.close()
        self.closed = True
        for var, expected, who in self.results:
            try:
                got = var.read_map()
            except ClosedError:
                continue
            require_bits(f"{who} after close", got, expected)
        self.results.clear()
