"""Whatever is done to sessions, in any order, each gives the bits of a fresh one, and frees all."""

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from properties.devices import selectors
from properties.lifecycle import MOST_SESSIONS, OFTEN, STEPS, Life, compiled_once
from properties.lifecycle_subjects import Reference

LIVES = {"ci": 60, "second_driver": 30, "dev": 150, "nightly": 1500}
STEPS_OF_A_LIFE = 50


@cache
def reference(selector: str) -> Reference:
    return Reference(selector)


def machine(selector: str) -> type[RuleBasedStateMachine]:
    """A rule for each step of a life on a device."""

    def begin(self) -> None:
        RuleBasedStateMachine.__init__(self)
        self.folder = tempfile.TemporaryDirectory()
        self.is_broken = False

    def settle(self, crowd: int) -> None:
        folder = Path(self.folder.name)
        self.life = Life(selector, reference(selector), folder, crowd)

    def end(self) -> None:
        if not self.is_broken:
            self.life.end()
        self.folder.cleanup()

    def rule_of(name: str, largest: tuple[int, ...]):
        def step(self, numbers: tuple[int, ...]) -> None:
            try:
                self.life.do(name, *numbers)
            except BaseException:
                self.is_broken = True
                raise

        step.__name__ = name
        return rule(numbers=st.tuples(*(st.integers(0, n) for n in largest)))(step)

    rules = {f"{name}_{i}": rule_of(name, STEPS[name]) for i, name in enumerate(OFTEN)}
    first = initialize(crowd=st.integers(1, MOST_SESSIONS))(settle)
    own = {"__init__": begin, "settle": first, "teardown": end}
    return type("Lives", (RuleBasedStateMachine,), {**own, **rules})


@pytest.mark.parametrize("selector", selectors())
def test_sessions_in_any_order_are_as_fresh_ones_and_free_everything(selector):
    lives = LIVES[settings.get_current_profile_name()]
    with compiled_once():
        run_state_machine_as_test(
            machine(selector),
            settings=settings(max_examples=lives, stateful_step_count=STEPS_OF_A_LIFE),
        )
