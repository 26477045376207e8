"""What is copied from one precision to another is what was there, rounded."""

from itertools import product

import pytest

from properties.choose import SeededChoose
from properties.copies import check_copy, check_write
from properties.devices import backends

PAIRS = [(a, b) for a, b in product(backends(), repeat=2) if a.backend.memory == b.backend.memory]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=[f"{a.id}-{b.id}" for a, b in PAIRS])
def test_copies_hold_what_there_was(source, target):
    for seed in range(30):
        assert check_copy(source.backend, target.backend, SeededChoose(seed))


@pytest.mark.parametrize("target", backends(), ids=[t.id for t in backends()])
def test_what_was_written_is_the_users_again(target):
    for seed in range(12):
        check_write(target.backend, SeededChoose(seed))
