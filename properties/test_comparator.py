"""The comparator sees every kind of wrong element, and the guards every stray byte."""

import pytest

from properties.comparator import check_guards, check_judge, check_leaning, check_mirror
from properties.devices import backends

pytestmark = pytest.mark.one_driver

TARGETS = backends()


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_element_is_seen_wherever_it_lies(seed):
    check_judge(seed)


@pytest.mark.parametrize("seed", range(5))
def test_errors_that_lean_to_one_side_are_seen(seed):
    check_leaning(seed)


def test_a_mirror_tells_one_wrong_element():
    check_mirror()


@pytest.mark.parametrize("target", TARGETS, ids=[t.id for t in TARGETS])
def test_a_byte_outside_a_window_is_seen(target):
    check_guards(target.backend)
