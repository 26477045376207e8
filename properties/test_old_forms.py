"""Older forms of operators mean what ONNX's text said of them, on tensors of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties.old_forms import check_old_form

pytestmark = pytest.mark.device_free


@given(st.integers(0, 2**32 - 1))
def test_an_older_form_means_what_its_text_says(seed):
    check_old_form(seed)
