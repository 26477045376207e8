"""Older forms of operators mean what ONNX's text said of them, on tensors of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties.old_forms import check_old_form

pytestmark = pytest.mark.device_free


@given(st.integers(0, 2**32 - 1))
def test_an_older_form_means_what_its_text_says(seed):
    check_old_form(seed)


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_so_do_all_of_a_list_of_seeds(first):
    for seed in range(first, first + 40):
        check_old_form(seed)
