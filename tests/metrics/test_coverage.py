"""Shares of the classes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.metrics import MetricsError, class_coverage


@pytest.mark.equation("comparison-coverage")
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_shares_are_counted(labels):
    shares = class_coverage(torch.tensor(labels), classes=5)
    assert shares.dtype == torch.float64
    assert shares.shape == (5,)
    assert shares.tolist() == [labels.count(c) / len(labels) for c in range(5)]
    assert float(shares.sum()) == pytest.approx(1)


@pytest.mark.equation("comparison-coverage")
def test_a_class_that_is_missing_has_no_share():
    """Also the last one, of which no label tells."""
    shares = class_coverage(torch.arange(9).repeat(3))
    assert shares.shape == (10,)
    assert shares[9] == 0
    assert np.allclose(shares[:9], 1 / 9)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3), "must be integers"),
        (torch.zeros(3, 10).long(), r"of shape \(3, 10\)"),
        (torch.tensor([], dtype=torch.int64), "no labels"),
        (torch.tensor([0, 10]), "in 0 to 9, but these reach from 0 to 10"),
        (torch.tensor([-1, 3]), "reach from -1 to 3"),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(MetricsError, match=message):
        class_coverage(labels)
