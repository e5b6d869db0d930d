"""A batch shared by several processes."""

from __future__ import annotations

import pytest

from adain_runtime.errors import InputError
from adain_train.task import Share


def test_a_share_is_a_slice_and_the_slices_are_the_batch():
    shares = [Share(rank, 3).of(range(12, 18)) for rank in range(3)]
    assert shares == [range(12, 14), range(14, 16), range(16, 18)]
    with pytest.raises(InputError, match="batch of 6 can't be shared by 4 processes"):
        Share(0, 4).of(range(6))
