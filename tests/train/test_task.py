"""A batch shared by several processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adain_runtime.errors import InputError
from adain_train.config import StudentConfig
from adain_train.loop import Trainer
from adain_train.runfolder import RunFolder
from adain_train.task import Share


def test_a_share_is_a_slice_and_the_slices_are_the_batch():
    shares = [Share(rank, 3).of(range(12, 18)) for rank in range(3)]
    assert shares == [range(12, 14), range(14, 16), range(16, 18)]


@pytest.mark.parametrize(
    ("processes", "every", "text"),
    [
        (3, 1, "^batch: 8 pairs can't"),
        (8, 1, "perceptual_batch: 4 pairs can't be shared by 8"),
        (2, 4, "perceptual_batch: every 4th of 4 pairs comes back, and shares of 2 would choose others"),
        (4, 4, "^batch: every 4th of 8 pairs comes back, and shares of 2"),
    ],
)
def test_every_batch_must_be_one_that_the_processes_can_share(machine, tmp_path, processes, every, text):
    """Before the first step: the second kind of batch comes when a third of the training is done."""
    task = SimpleNamespace(config=StudentConfig(batch=8, perceptual_batch=4, restore_every=every), sources={})
    fabric = SimpleNamespace(global_rank=0, world_size=processes)
    with pytest.raises(InputError, match=text):
        Trainer(fabric, task, machine, RunFolder(tmp_path / "run"), resume=False)
